"""The verb `unetr compare`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unetr.cli import talk

if TYPE_CHECKING:
    from unetr.evaluation import Comparison, Difference

_SHOWN = {"dice": ("Dice", 3), "hd95_mm": ("HD95, mm", 2), "nsd": ("NSD", 3)}


def compare(
    reports: Annotated[
        list[Path],
        typer.Argument(
            metavar="REPORT REPORT...",
            help="Folders that `unetr evaluate` or `unetr train` wrote; each is compared with the "
            "first.",
        ),
    ],
    seed: Annotated[int, typer.Option(help="Of the bootstrap intervals.")] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="All metrics as one JSON document on stdout.")
    ] = False,
) -> None:
    """Compare evaluations of the same cases: change or chance?

    Example: unetr compare scores_before scores_after
    """
    import json
    from dataclasses import asdict

    from unetr.errors import InputError
    from unetr.evaluation import compare as compared

    if len(reports) < 2:
        raise InputError(f"{reports[0]}: nothing to compare it with; give two reports")
    found = [compared(reports[0], other, seed) for other in reports[1:]]
    if as_json:
        typer.echo(json.dumps({"comparisons": [asdict(each) for each in found]}, indent=2))
        return
    for each in found:
        _show(each)


def _show(found: "Comparison") -> None:
    from unetr.cli.tables import shortened, show_table

    typer.echo(f"first: {found.first}\nsecond: {found.second}\n{len(found.cases)} common cases")
    for name, cases in (("first", found.only_first), ("second", found.only_second)):
        if cases:
            talk.say(f"only in the {name}: {len(cases)} cases: {shortened(cases)}")
    for note in found.notes:
        typer.echo(f"note: {note}", err=True)
    columns = ("", "n", "first", "second", "difference", "95 % interval", "p")
    for metric, (title, digits) in _SHOWN.items():
        differences = [each for each in found.differences if each.metric == metric]
        if not differences:
            continue
        typer.echo()
        show_table(title, columns, [_row(each, digits) for each in differences])
        for each in differences:
            changed = ", ".join(
                f"{one.case} {one.first:.{digits}f} to {one.second:.{digits}f}"
                for one in each.changed
            )
            typer.echo(f"changed most, {each.name}: {changed or 'none'}")
    typer.echo(
        "\nDifferences are second less first, over the cases where both are defined; p is of "
        "Wilcoxon's\nsigned-rank test, two-sided, not corrected for the number of tests."
    )


def _row(each: "Difference", digits: int) -> list[str]:
    from unetr.cli.tables import figure, interval

    signed = "-" if each.difference is None else f"{each.difference:+.{digits}f}"
    p = "-" if each.p is None else "<0.001" if each.p < 0.001 else f"{each.p:.3f}"
    means = (figure(each.first, digits), figure(each.second, digits))
    name = f"{each.label} {each.name}"
    return [name, str(each.n), *means, signed, interval(each.low, each.high, digits), p]
