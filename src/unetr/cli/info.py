"""The verb `unetr info`."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from unetr.checkpoint.header import Header

# Told in words of their own.
_TOLD = {
    "dataset", "dice", "dice_per_label", "fingerprint", "fold", "history", "init", "licence",
    "minutes", "notes", "precision", "recipe", "seed", "step", "train", "validation", "versions",
}  # fmt: skip


def info(
    model: Annotated[
        Path,
        typer.Argument(help="A model file, a run folder, an exported network, or hippocampus."),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="All of the header as JSON.")] = False,
    card: Annotated[bool, typer.Option("--card", help="A model card in Markdown.")] = False,
) -> None:
    """Say what a model segments, from what, and how well.

    Also how it was trained, and the way from a scan to its labels. `--card` is a page to give along
    with the model.

    Example: unetr info run/model.safetensors
    """
    path, header = _read(model)
    if as_json:
        typer.echo(header.model_dump_json(indent=2))
    elif card:
        from unetr.checkpoint.card import model_card

        name = path.parent.resolve().name if path.stem == "model" else path.stem
        typer.echo(model_card(header, name), nl=False)
    else:
        for title, text in _facts(header):
            typer.echo(f"{title:10} {text}")


def _read(model: Path) -> "tuple[Path, Header]":
    """The file that a model is, and its header; torch is needed for exported ones alone."""
    from unetr.checkpoint.header import model_file, read_header

    path = model_file(model)
    if path.suffix not in (".onnx", ".xml") and not (model.is_dir() and not path.exists()):
        return path, read_header(path)
    from unetr.inference.exported import any_model_file, load_exported

    path = any_model_file(model)
    return path, load_exported(path).header


def _facts(header: "Header") -> "Iterator[tuple[str, str]]":
    from unetr.checkpoint.words import listed, network_words, plan_words

    plan = header.plan
    yield "Segments", ", ".join(f"{label.id} {label.name}" for label in plan.labels[1:])
    if plan.regions:
        yield "Regions", ", ".join(region.name for region in plan.regions)
    yield "From", ", ".join(plan.channels)
    yield from _history(header)
    yield "Network", network_words(header.network)
    yield from plan_words(plan)
    for key, value in header.provenance.items():
        if key not in _TOLD:
            yield key.replace("_", " ").capitalize(), listed(value)


def _history(header: "Header") -> "Iterator[tuple[str, str]]":
    """How well, on what, and how it came about."""
    from unetr.checkpoint.words import counted, dice_words, listed, scores_of, training_words

    provenance = header.provenance
    if scores := scores_of(header):
        by_structure = ", ".join(f"{name} {dice_words(v)}" for name, v in scores.structures.items())
        on = f" on {counted(len(scores.cases), 'validation case')}" if scores.cases else ""
        yield "Dice", f"{dice_words(scores.dice)}{on}: {by_structure}"
    if "dataset" in provenance:
        train, sum_ = provenance.get("train", ()), provenance.get("fingerprint", "unknown")
        count = counted(len(train), "case")
        yield "Trained on", f"{count} of {provenance['dataset']}, fingerprint {sum_}"
    if trained := training_words(header):
        yield "Trained by", trained
    if provenance.get("licence"):
        yield "Licence", f"{provenance['licence']} (of the data)"
    for note in provenance.get("notes", ()):
        yield "Note", str(note)
    if "versions" in provenance:
        yield "Versions", listed(provenance["versions"])
