"""`unetr inspect`: is this data set sound, what is in it, and what would be done with it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unetr.cli import talk

if TYPE_CHECKING:
    from unetr.data.cases import Dataset, Defect
    from unetr.data.fingerprint import Fingerprint
    from unetr.data.inspect import CaseReport
    from unetr.data.plan import Plan


def inspect(
    dataset: Annotated[Path, typer.Argument(help="Folder of the data set, or its dataset.json.")],
    labels: Annotated[
        Path | None, typer.Option(help="A labels.toml that names labels (and channels).")
    ] = None,
    memory: Annotated[
        float, typer.Option(metavar="GB", help="Memory that a training step may take.")
    ] = 8.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document on stdout instead of tables.")
    ] = False,
) -> None:
    """Check a data set; print its fingerprint and its plan.

    Every labelled case is read once. Each defect is one line that names the file, the field and
    the cure; any defect makes the exit code 1. Notes are unusual but no defects.

    Example: unetr inspect Task04_Hippocampus
    """
    from unetr.data.dataset import open_dataset
    from unetr.data.fingerprint import combine
    from unetr.data.inspect import compare_cases
    from unetr.data.planning import make_plan
    from unetr.data.regions import with_recognised_regions

    opened, why_regions = with_recognised_regions(open_dataset(dataset, labels))
    reports = _inspected(opened)
    found = [*opened.defects, *(defect for report in reports for defect in report.defects)]
    found += compare_cases(opened, reports)
    facts = [report.facts for report in reports if report.facts is not None]
    # The fingerprint is worth seeing beside defects too; without a readable case there is none.
    measured = combine(opened, facts) if facts else None
    plan = make_plan(opened, measured, memory_gb=memory) if measured else None
    if plan and why_regions:
        plan = plan.model_copy(update={"reasons": plan.reasons | {"regions": why_regions}})
    if as_json:
        typer.echo(json.dumps(_document(opened, found, measured, plan), indent=1))
    else:
        _show(opened, found, measured, plan)
    if any(defect.severity == "defect" for defect in found):
        raise typer.Exit(1)


def _inspected(dataset: "Dataset") -> "list[CaseReport]":
    """Inspects with a bar on a terminal, a line now and then elsewhere, both on stderr."""
    from rich.progress import track

    from unetr.data.inspect import inspect as inspect_cases

    console, total = talk.console(), len(dataset.cases)
    reports = inspect_cases(dataset)
    if console.is_terminal:
        return list(track(reports, "Reading cases", total, console=console))
    done = []
    for report in reports:
        done.append(report)
        if len(done) % max(1, total // 5) == 0:
            talk.say(f"read {len(done)} of {total} cases")
    return done


def _document(
    dataset: "Dataset",
    found: "list[Defect]",
    measured: "Fingerprint | None",
    plan: "Plan | None",
) -> dict[str, Any]:
    return {
        "root": str(dataset.root),
        "layout": dataset.layout,
        "channels": list(dataset.channels),
        "labels": [label.model_dump() for label in dataset.labels],
        "regions": [region.model_dump() for region in dataset.regions],
        "cases": [case.name for case in dataset.cases],
        "test": [case.name for case in dataset.test],
        "defects": [
            {
                "severity": defect.severity,
                "file": str(defect.file),
                "field": defect.field,
                "problem": defect.problem,
                "cure": defect.cure,
            }
            for defect in found
        ],
        "fingerprint": measured.model_dump(mode="json") if measured else None,
        "plan": plan.model_dump(mode="json") if plan else None,
    }


_LAYOUTS = {"msd": "MSD", "nnunet": "nnU-Net", "folders": "plain folders"}


def _show(
    dataset: "Dataset",
    found: "list[Defect]",
    measured: "Fingerprint | None",
    plan: "Plan | None",
) -> None:
    defects = [defect for defect in found if defect.severity == "defect"]
    typer.echo(
        f"{dataset.root} ({_LAYOUTS[dataset.layout]}): {len(dataset.cases)} labelled cases, "
        f"{len(dataset.test)} without labels; {len(defects)} defects"
    )
    for defect in found:
        typer.echo(f"{defect.severity}: {defect}")
    if measured is None or plan is None:
        typer.echo("No case could be measured: no fingerprint, no plan.")
        return
    _show_fingerprint(measured)
    _show_plan(plan)


def _show_fingerprint(measured: "Fingerprint") -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    scans = Table("", "least", "median", "most", title="Scans, along the patient's x, y, z")
    for name, spread in (
        ("size, voxels", measured.size_voxels),
        ("spacing, mm", measured.spacing_mm),
        ("extent, mm", measured.extent_mm),
        ("labelled, mm", measured.foreground_mm),
    ):
        scans.add_row(name, *map(_across, (spread.minimum, spread.median, spread.maximum)))
    console.print(scans)
    counts = ", ".join(f"{name} {count}" for name, count in measured.orientations.items())
    typer.echo(f"Orientations: {counts}")
    channels = Table(
        "channel", "kind", "mean", "std", "0.5%", "99.5%", title="Intensities of labelled voxels"
    )
    for channel in measured.channels:
        numbers = (channel.mean, channel.std, channel.percentile_00_5, channel.percentile_99_5)
        channels.add_row(
            escape(channel.name), channel.modality, *(f"{number:.5g}" for number in numbers)
        )
    console.print(channels)
    labels = Table("id", "label", "cases", "% of voxels", "median ml", title="Labels")
    for label in measured.labels:
        share = f"{100 * label.voxel_fraction:.3g}"
        name, volume = escape(label.name), _short(label.median_ml)
        labels.add_row(str(label.id), name, str(label.cases), share, volume)
    console.print(labels)


def _show_plan(plan: "Plan") -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    axes = " ".join("xyz"[axis] for axis in plan.mirror_axes) or "none"
    crop = plan.crop.kind if plan.crop.threshold is None else f"above {plan.crop.threshold:.3g}"
    kinds = [
        f"{each.kind} over {each.over}" if each.kind == "zscore" else each.kind
        for each in plan.normalisation
    ]
    choices = {
        "orientation": plan.orientation,
        "crop": crop,
        "spacing_mm": _across(plan.spacing_mm),
        "patch_voxels": _across(plan.patch_voxels),
        "token_voxels": _across(plan.token_voxels),
        "normalisation": "\n".join(kinds),
        "image_order": _across(plan.image_order),
        "mirror_axes": axes,
    }
    if plan.postprocessing:
        names = {label.id: label.name for label in plan.labels}
        kept = ", ".join(names[rule.label] for rule in plan.postprocessing)
        choices["postprocessing"] = f"largest component: {kept}"
    if plan.regions:
        choices["regions"] = "\n".join(region.name for region in plan.regions)
    table = Table("field", "choice", "because", title="Plan", show_lines=True)
    for field, choice in choices.items():
        table.add_row(field, escape(choice), escape(plan.reasons.get(field, "")))
    Console().print(table)


def _across(values: tuple[float, float, float] | tuple[int, int, int]) -> str:
    return " x ".join(_short(float(value)) for value in values)


def _short(value: float) -> str:
    """Three digits at least, never an exponent where a person reads millimetres or millilitres."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
