"""The verb `unetr info`."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from unetr.checkpoint.header import Header
    from unetr.data.plan import Normalisation, Plan


def info(
    model: Annotated[Path, typer.Argument(help="A model file or a run folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="All of the header as JSON.")] = False,
) -> None:
    """Say what a model segments, from what and how well.

    Example: unetr info run/model.safetensors
    """
    from unetr.checkpoint.header import read_header

    path = model / "model.safetensors" if model.is_dir() else model
    header = read_header(path)
    if as_json:
        typer.echo(header.model_dump_json(indent=2))
        return
    for line in _lines(header):
        typer.echo(line)


def _lines(header: "Header") -> Iterator[str]:
    plan = header.plan
    labels = ", ".join(f"{label.id} {label.name}" for label in plan.labels[1:])
    yield f"Segments   {labels}"
    if plan.regions:
        yield f"Regions    {', '.join(region.name for region in plan.regions)}"
    yield f"From       {', '.join(plan.channels)}"
    yield f"Network    {header.network.name}, {_short(header.network.config)}"
    yield from _plan(plan)
    for key, value in header.provenance.items():
        yield f"{_title(key):10} {_short(value)}"


def _plan(plan: "Plan") -> Iterator[str]:
    spacing = " x ".join(f"{mm:g}" for mm in plan.spacing_mm)
    patch = " x ".join(map(str, plan.patch_voxels))
    yield f"Grid       {spacing} mm, axes {plan.orientation}"
    if plan.crop.kind == "nonzero":
        yield "Crop       to where any channel differs from zero"
    elif plan.crop.kind == "above":
        yield f"Crop       to where the first channel exceeds {plan.crop.threshold:g}"
    for channel, rule in zip(plan.channels, plan.normalisation, strict=True):
        yield f"Intensity  {channel}: {_normalisation(rule)}"
    yield f"Windows    {patch} voxels, overlap {plan.overlap:g}, {plan.blend} blending"
    mirrored = ", ".join("xyz"[axis] for axis in plan.mirror_axes)
    yield f"Mirroring  {mirrored or 'none'}"
    names = {label.id: label.name for label in plan.labels}
    for step in plan.postprocessing:
        parts = [
            *(["largest component"] if step.largest_component else []),
            *([f"at least {step.minimum_mm3:g} mm3"] if step.minimum_mm3 else []),
            *(["holes filled"] if step.fill_holes else []),
        ]
        yield f"Then       {names.get(step.label, step.label)}: {', '.join(parts)}"


def _normalisation(rule: "Normalisation") -> str:
    if rule.kind == "range":
        return f"{rule.low:g} to {rule.high:g} becomes 0 to 1"
    if rule.kind == "standard":
        return f"clipped to {rule.low:g}..{rule.high:g}, minus {rule.mean:g}, over {rule.std:g}"
    if rule.kind == "percentile":
        return f"the image's percentiles {rule.low:g} to {rule.high:g} become 0 to 1"
    return f"minus the image's mean, over its standard deviation ({rule.over} voxels)"


def _title(key: str) -> str:
    return key.replace("_", " ").capitalize()


def _short(value: Any) -> str:
    """A value of any depth on one line."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_short(one)}" for key, one in value.items())
    if isinstance(value, list):
        return f"{len(value)} entries" if len(value) > 8 else ", ".join(map(_short, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
