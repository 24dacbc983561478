"""Tables that fit 80 columns on a terminal, and are plain lines elsewhere."""

from collections.abc import Sequence

import typer
from rich import box
from rich.console import Console
from rich.table import Table

# Where lines go to a file or another program, none is broken or cut.
_UNBROKEN = 10_000
# Names that are listed of many.
_MOST_NAMES = 5


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints to stdout: the first column is left-aligned text, the others are figures."""
    console = Console(highlight=False, markup=False)
    if plain := not console.is_terminal:
        console.width = _UNBROKEN
    table = Table(
        title=title,
        title_justify="left",
        box=None if plain else box.SIMPLE_HEAD,
        pad_edge=not plain,
    )
    for place, column in enumerate(columns):
        table.add_column(
            column,
            justify="right" if place else "left",
            no_wrap=plain or place > 0,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*row)
    if not plain:
        console.print(table)
        return
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        typer.echo(line.rstrip())


def figure(value: float | None, digits: int = 3) -> str:
    """A number, or a dash where it is undefined."""
    return "-" if value is None else f"{value:.{digits}f}"


def interval(low: float | None, high: float | None, digits: int = 3) -> str:
    """`0.801 to 0.912`, or a dash."""
    if low is None or high is None:
        return "-"
    return f"{low:.{digits}f} to {high:.{digits}f}"


def shortened(names: Sequence[str]) -> str:
    """The first names in a row, and how many more there are."""
    rest = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {rest} more" if rest > 0 else "")
