"""What the header of a model file says, in words: for `unetr info` and the model card."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from unetr.checkpoint.header import Header, NetworkConfig
from unetr.data.plan import Normalisation, Plan

# Why a plan has the rules of post-processing that it has, where training chose them at its end.
CHOSEN_BY_VALIDATION = "by what it changes on the validation cases"


@dataclass(frozen=True)
class Scores:
    """Mean Dice on validation cases: all, and by structure; None where it is undefined.

    Attributes:
        cases: Their names; none where the file does not say.
        seen: Whether training saw some of them, as with a single case it must.
        chosen: Whether the model may be the best of several by these scores.
        rules_chosen: Whether its post-processing was chosen by them.
    """

    dice: float | None
    structures: dict[str, float | None]
    cases: tuple[str, ...]
    seen: bool
    chosen: bool
    rules_chosen: bool


def network_words(network: NetworkConfig) -> str:
    """`UNETR: 8 blocks of width 256 with 8 heads, tokens of 8 x 4 x 16 voxels, feature size 16`."""
    config = network.config
    if network.name != "unetr":
        return f"{network.name} ({listed(config)})"
    parts = [
        f"{config.get('num_layers', 12)} blocks of width {config.get('hidden_size', 768)} "
        f"with {config.get('num_heads', 12)} heads",
        f"tokens of {times(config.get('patch_size', 16))} voxels",
        *_perceptrons(config),
        f"feature size {config.get('feature_size', 16)}",
        f"skips after blocks {listed(config.get('skip_layers', (3, 6, 9)))}",
    ]
    if config.get("decoder", "unetr") != "unetr":
        parts.append(f"decoder {config['decoder']}")
    kind = "UNETR with modern blocks" if config.get("block") == "modern" else "UNETR"
    return f"{kind}: {', '.join(parts)}"


def _perceptrons(config: dict[str, Any]) -> list[str]:
    """Their width, where it is not the usual four times that of the transformer."""
    width, wide = config.get("hidden_size", 768), config.get("mlp_dim", 3072)
    return [] if wide == 4 * width else [f"perceptrons of width {wide}"]


def plan_words(plan: Plan) -> Iterator[tuple[str, str]]:
    """(step, what is done) from a scan to its labels, in the order in which it is done."""
    spacing = " x ".join(f"{mm:g}" for mm in plan.spacing_mm)
    if plan.crop.kind == "nonzero":
        yield "Crop", "to where any channel differs from zero"
    elif plan.crop.kind == "above":
        yield "Crop", f"to where the first channel exceeds {plan.crop.threshold:g}"
    yield "Grid", f"{spacing} mm, axes {plan.orientation}"
    for channel, rule in zip(plan.channels, plan.normalisation, strict=True):
        yield "Intensity", f"{channel}: {_normalisation(rule)}"
    patch = times(plan.patch_voxels)
    yield "Windows", f"{patch} voxels, overlap {plan.overlap:g}, {plan.blend} blending"
    mirrored = ", ".join("xyz"[axis] for axis in plan.mirror_axes)
    yield "Mirroring", f"{mirrored or 'none'} (with --tta)"
    names = {label.id: label.name for label in plan.labels}
    for step in plan.postprocessing:
        parts = [
            *(["largest component"] if step.largest_component else []),
            *([f"at least {step.minimum_mm3:g} mm3"] if step.minimum_mm3 else []),
            *(["holes filled"] if step.fill_holes else []),
        ]
        yield "Then", f"{names.get(step.label, step.label)}: {', '.join(parts)}"


def _normalisation(rule: Normalisation) -> str:
    if rule.kind == "range":
        return f"{rule.low:g} to {rule.high:g} becomes 0 to 1"
    if rule.kind == "standard":
        ends = ["" if end is None else f"{end:g}" for end in (rule.low, rule.high)]
        clipped = f"clipped to {'..'.join(ends)}, " if any(ends) else ""
        return f"{clipped}minus {rule.mean:g}, over {rule.std:g}"
    return f"minus the image's mean, over its standard deviation ({rule.over} voxels)"


def scores_of(header: Header) -> Scores | None:
    """What the file says of its validation; None where it says nothing."""
    provenance = header.provenance
    if "dice_per_label" not in provenance:
        return None
    cases = tuple(provenance.get("validation", ()))
    return Scores(
        provenance.get("dice"),
        dict(provenance["dice_per_label"]),
        cases,
        seen=not set(cases).isdisjoint(provenance.get("train", ())),
        chosen=len(provenance.get("history", ())) != 1,
        rules_chosen=header.plan.reasons.get("postprocessing") == CHOSEN_BY_VALIDATION,
    )


def training_words(header: Header) -> str:
    """`recipe auto, 60 steps in 2.5 minutes, bf16, seed 0`; what is not known is left out."""
    provenance = header.provenance
    recipe = provenance.get("recipe")
    minutes = provenance.get("minutes")
    took = f" in {minutes:g} minutes" if minutes is not None else ""
    fold = provenance.get("fold")
    parts = [
        f"recipe {recipe['name'] if isinstance(recipe, dict) else recipe}" if recipe else "",
        f"fold {fold}" if fold is not None else "",
        f"{provenance['step']} steps{took}" if "step" in provenance else "",
        str(provenance.get("precision", "")),
        f"seed {provenance['seed']}" if "seed" in provenance else "",
        f"begun with the weights of {provenance['init']}" if provenance.get("init") else "",
    ]
    return ", ".join(part for part in parts if part)


def counted(count: int, one: str) -> str:
    """1 case, 2 cases."""
    return f"{count} {one}" if count == 1 else f"{count} {one}s"


def dice_words(value: float | None) -> str:
    """To four places."""
    return "undefined" if value is None else f"{value:.4f}"


def times(sizes: int | Sequence[int]) -> str:
    """64 x 24 x 128."""
    return " x ".join(map(str, (sizes,) * 3 if isinstance(sizes, int) else sizes))


def listed(value: Any) -> str:
    """A value of any depth on one line."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {listed(one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        return f"{len(value)} entries" if len(value) > 8 else ", ".join(map(listed, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
