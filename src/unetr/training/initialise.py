"""Fine-tuning: a trained model's weights in a network for other labels or channels."""

from typing import Any

from torch import Tensor, nn

from unetr.checkpoint.model import Model
from unetr.checkpoint.networks import build_network
from unetr.data.plan import Plan
from unetr.errors import InputError


def inherited_plan(plan: Plan, model: Model) -> Plan:
    """The new data set's plan on the grid that the model's weights have learned.

    Spacing, orientation, patch, token and interpolation are the model's; so is the normalisation
    where the number of channels is the same.
    """
    old = model.plan
    names = ["spacing_mm", "orientation", "patch_voxels", "token_voxels", "image_order"]
    if len(old.channels) == len(plan.channels):
        names.append("normalisation")
    told = dict.fromkeys(names, f"as {model.source} was trained")
    changed = plan.model_dump() | {name: getattr(old, name) for name in names}
    return Plan.model_validate(changed | {"reasons": plan.reasons | told})


def inherited_network(model: Model, plan: Plan) -> tuple[nn.Module, dict[str, Any], list[str]]:
    """The model's network with inputs and outputs for `plan`, and its weights where they fit.

    Outputs are taken over only where all labels (or regions) are the same by name and order, and
    the first layer only where the number of channels is the same.

    Returns:
        The network, its configuration, and one line per thing not taken over.

    Raises:
        InputError: the model does not carry the arguments of its network.
    """
    config = dict(model.header.network.config)
    if not {"in_channels", "out_channels"} <= config.keys():
        raise InputError(f"{model.source}: its network's channels are not known; train anew")
    config |= {"in_channels": len(plan.channels), "out_channels": plan.out_channels}
    network = build_network(model.name, config)
    fresh, trained = network.state_dict(), model.network.state_dict()
    outputs = _dependent(model.name, config, "out_channels")
    left: list[str] = []
    same_outputs = _outputs(plan) == _outputs(model.plan)
    if not same_outputs:
        left.append(
            f"output layers start anew: labels are {', '.join(_outputs(plan))}, "
            f"the model's {', '.join(_outputs(model.plan))}"
        )
    if len(plan.channels) != len(model.plan.channels):
        left.append(
            f"input layers start anew: {len(plan.channels)} channels, "
            f"the model's {len(model.plan.channels)}"
        )
    taken: dict[str, Tensor] = {}
    for key, value in fresh.items():
        fits = key in trained and trained[key].shape == value.shape
        taken[key] = trained[key] if fits and (same_outputs or key not in outputs) else value
    network.load_state_dict(taken)
    return network, config, left


def _outputs(plan: Plan) -> list[str]:
    return [each.name for each in plan.regions or plan.labels]


def _dependent(name: str, config: dict[str, Any], argument: str) -> set[str]:
    """The weights whose shape follows that argument."""
    now = build_network(name, config).state_dict()
    more = build_network(name, config | {argument: config[argument] + 1}).state_dict()
    return {key for key, value in now.items() if more[key].shape != value.shape}
