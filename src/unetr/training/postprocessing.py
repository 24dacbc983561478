"""Post-processing, chosen by what it changes on the validation cases."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Integer
from scipy import ndimage

from unetr.data.plan import Label, Postprocessing
from unetr.evaluation.statistics import mean_defined
from unetr.inference.postprocess import postprocess
from unetr.metrics.overlap import dice_of_counts

Labels = Integer[np.ndarray, "x y z"]

# A rule must be worth it on the mean, and fewer cases could not tell.
_LEAST_GAIN = 0.001
_LEAST_CASES = 3
# Of those that do the same the first is taken, so of sizes the smallest.
_REMOVALS: tuple[dict[str, Any], ...] = (
    {},
    {"largest_component": True},
    {"minimum_mm3": 10.0},
    {"minimum_mm3": 100.0},
    {"minimum_mm3": 1000.0},
)


def choose_rules(
    labels: Sequence[Label],
    cases: Iterable[tuple[Labels, Labels, Sequence[float]]],
    tell: Callable[[], None] = lambda: None,
    planned: Sequence[Postprocessing] = (),
) -> tuple[tuple[Postprocessing, ...], dict[str, float]]:
    """Per label, what to remove (all but its largest component, or small ones) and whether to fill
    its holes; each only where it raises the label's mean Dice over that with the planned rule.

    Args:
        labels: Without the background.
        cases: (prediction, reference, spacing_mm) of validation cases, native label ids.
        tell: Called after each case.
        planned: Rules to keep the largest component, kept unless others, or none, are better.

    Returns:
        The rules, and per label name what its rule adds to its mean Dice.
    """
    dice: dict[int, list[list[float]]] = {label.id: [] for label in labels}
    for prediction, reference, spacing_mm in cases:
        boxes = ndimage.find_objects(prediction)
        for label in labels:
            box = boxes[label.id - 1] if label.id <= len(boxes) else None
            total = int((reference == label.id).sum())
            if box is not None:
                # No rule reaches beyond the label's box, which is far smaller than the scan.
                part = (prediction[box], reference[box], spacing_mm)
                dice[label.id].append([_dice(*part, rule, total) for rule in _rules(label.id)])
            elif total:
                dice[label.id].append([0.0] * len(_rules(label.id)))
        tell()
    rules, gains = [], {}
    for label in labels:
        candidates = _rules(label.id)
        whole = Postprocessing(label=label.id, largest_component=True)
        first = candidates.index(whole) if whole in planned else 0
        if len(dice[label.id]) < _LEAST_CASES:
            rules += [whole] if first else []
            continue
        means = [mean_defined(values) or 0.0 for values in zip(*dice[label.id], strict=True)]
        if best := _best(means, first):
            rules.append(candidates[best])
            gains[label.name] = means[best] - means[0]
    return tuple(rules), gains


def _rules(label: int) -> list[Postprocessing]:
    """The first does nothing; the second half is the first with holes filled, too."""
    return [
        Postprocessing(label=label, fill_holes=filled, **removal)
        for filled in (False, True)
        for removal in _REMOVALS
    ]


def _best(means: Sequence[float], first: int) -> int:
    """The rule to take, by the mean Dice of each; the first where none is worth it."""
    half = len(_REMOVALS)
    removal = max(range(half), key=means.__getitem__)
    if means[removal] - means[first] < _LEAST_GAIN:
        removal = first
    filled = means[half + removal] - means[removal] >= _LEAST_GAIN
    return removal + half * filled


def _dice(
    prediction: Labels,
    reference: Labels,
    spacing_mm: Sequence[float],
    rule: Postprocessing,
    total: int,
) -> float:
    """Dice after the rule; `total` counts the reference's voxels in the whole scan."""
    found = postprocess(prediction, spacing_mm, [rule]) == rule.label
    both = int((found & (reference == rule.label)).sum())
    dice = dice_of_counts(int(found.sum()), total, both)
    return float("nan") if dice is None else dice
