"""The verb `unetr evaluate`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unetr.cli import talk

if TYPE_CHECKING:
    from unetr.evaluation import Evaluation
    from unetr.evaluation.scoring import OnCase


def evaluate(
    predictions: Annotated[
        Path, typer.Argument(metavar="PREDICTIONS", help="A label file or a folder of them.")
    ],
    references: Annotated[
        Path,
        typer.Argument(metavar="REFERENCES", help="A label file, a folder of them, or a data set."),
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="REPORT", help="Folder to write into.")
    ],
    labels: Annotated[
        Path | None, typer.Option(help="A labels.toml that names labels and regions.")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="The scans, for the report's pictures; a data set brings its own."),
    ] = None,
    resample: Annotated[
        bool, typer.Option("--resample", help="Bring predictions onto the references' grids.")
    ] = False,
    tolerance: Annotated[
        float, typer.Option(metavar="MM", help="Of the normalised surface Dice (NSD).")
    ] = 1.0,
    lesions: Annotated[
        bool, typer.Option("--lesions", help="Also count lesions found, missed and invented.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the bootstrap intervals.")] = 0,
    workers: Annotated[
        int | None, typer.Option(help="Threads; default: as cores and memory allow.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="summary.json on stdout instead of tables.")
    ] = False,
) -> None:
    """Score predictions against references of the same name.

    Writes summary.json, cases.csv and report.html, which opens in any browser.

    Example: unetr evaluate segmentations Task04_Hippocampus -o scores
    """
    import json

    from unetr.evaluation import evaluate as evaluated
    from unetr.evaluation import summary, write_evaluation
    from unetr.files import check_writable
    from unetr.report import write_report

    check_writable(out)
    with _progress() as on_case:
        found = evaluated(
            predictions,
            references,
            labels=labels,
            images=images,
            resample=resample,
            lesions=lesions,
            tolerance_mm=tolerance,
            seed=seed,
            workers=workers,
            on_case=on_case,
        )
    write_evaluation(out, found)
    (out / "report.html").unlink(missing_ok=True)  # of scores that were replaced
    write_report(out / "report.html", found)
    if as_json:
        typer.echo(json.dumps(summary(found), indent=2))
    else:
        show(found)
        typer.echo(str(out / "report.html"))
    _tell_what_is_missing(found)
    if found.failures or found.unmatched_predictions:
        raise typer.Exit(1)


@contextmanager
def _progress() -> "Iterator[OnCase]":
    """A bar on a terminal, on stderr; nothing elsewhere."""
    from rich.progress import Progress

    console = talk.console()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("scoring", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def show(found: "Evaluation") -> None:
    """Means per structure with their intervals, the worst cases, what was undefined."""
    from unetr.cli.tables import show_table

    cases = "1 case" if len(found.cases) == 1 else f"{len(found.cases)} cases"
    rows = [_row(found, index) for index in range(len(found.structures))]
    if len(found.structures) > 1:
        rows.append(_row(found, None))
    columns = ("", "n", "Dice", "95 % interval", "median", "HD95 mm", "NSD")
    title = f"{cases}; means; NSD at {found.tolerance_mm:g} mm"
    show_table(title, columns, rows)
    if found.lesions:
        _show_lesions(found)
    for structure in found.structures:
        worst = ", ".join(f"{case} {dice:.3f}" for case, dice in found.ranked(structure)[:3])
        typer.echo(f"worst Dice, {structure.name}: {worst or 'none is defined'}")
        undefined = [
            f"{name} in {count}"
            for metric, name in (("dice", "Dice"), ("hd95_mm", "HD95"))
            if (count := found.statistics(metric, structure).undefined)
        ]
        if undefined:
            typer.echo(f"undefined, {structure.name}: {', '.join(undefined)} of {cases}")


def _row(found: "Evaluation", index: int | None) -> list[str]:
    """One structure, or all of them."""
    from unetr.cli.tables import figure, interval

    structure = None if index is None else found.structures[index]
    dice, hd95, nsd = (found.statistics(m, structure) for m in ("dice", "hd95_mm", "nsd"))
    name = "all" if structure is None else f"{structure.label} {structure.name}"
    return [
        name,
        str(dice.n),
        figure(dice.mean),
        interval(dice.low, dice.high),
        figure(dice.median),
        figure(hd95.mean, 2),
        figure(nsd.mean),
    ]


def _show_lesions(found: "Evaluation") -> None:
    import numpy as np

    from unetr.cli.tables import figure, show_table

    rows = []
    for structure in found.structures:
        counts = [
            f"{np.nansum(found.values(f'lesion_{name}', [structure])):.0f}"
            for name in ("true_positives", "missed", "false_positives")
        ]
        shares = [
            figure(found.statistics(f"lesion_{name}", structure).mean)
            for name in ("sensitivity", "precision", "f1")
        ]
        rows.append([f"{structure.label} {structure.name}", *counts, *shares])
    columns = ("", "found", "missed", "invented", "sensitivity", "precision", "F1")
    show_table("lesions: sums; means over cases", columns, rows)


def _tell_what_is_missing(found: "Evaluation") -> None:
    from unetr.cli.tables import shortened

    if found.resampled:
        talk.say(f"resampled onto the reference: {shortened(found.resampled)}")
    if found.unmatched_references:
        count = len(found.unmatched_references)
        talk.say(f"no prediction for {count} references: {shortened(found.unmatched_references)}")
    if found.unmatched_predictions:
        count = len(found.unmatched_predictions)
        names = shortened(found.unmatched_predictions)
        typer.echo(f"no reference for {count} predictions: {names}", err=True)
    if found.failures:
        total = len(found.failures) + len(found.cases)
        typer.echo(f"{len(found.failures)} of {total} failed:", err=True)
        for case, message in found.failures.items():
            typer.echo(f"  {case}: {message}", err=True)
