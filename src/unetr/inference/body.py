"""Where in a preprocessed scan there is anything to see, by the plan's crop rule."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unetr.data.plan import Plan


def inside(plan: Plan, x: Float[Tensor, "channels x y z"]) -> Bool[Tensor, "x y z"] | None:
    """What the crop rule looks for, found again in network input; None where it cannot be told.

    The rule is meant for the scan's own intensities, so it can be told only where the plan's
    normalisation keeps the threshold or the zeros in a known place.
    """
    if plan.crop.kind == "nonzero":
        return (x != 0).any(dim=0) if all(n.over == "nonzero" for n in plan.normalisation) else None
    threshold, how = plan.crop.threshold, plan.normalisation[0]
    if plan.crop.kind == "none" or threshold is None:
        return None
    if how.low is not None and threshold < how.low:
        return None  # what lies between the two looks like air
    if how.high is not None and threshold >= how.high:
        return None  # all that lies above is clipped to below it
    if how.kind == "range" and how.low is not None and how.high is not None:
        return x[0] > (threshold - how.low) / (how.high - how.low)
    if how.kind == "standard" and how.mean is not None and how.std is not None:
        return x[0] > (threshold - how.mean) / how.std
    return None


def outside_scores(plan: Plan, channels: int) -> Float[Tensor, " channels"]:
    """Scores where nothing is seen: background for certain, no region, no entropy."""
    scores = torch.zeros(channels)
    if not plan.regions:
        scores[0] = 1.0
    return scores
