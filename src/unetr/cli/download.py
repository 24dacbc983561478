"""The verb `unetr download`."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unetr.cli import talk

if TYPE_CHECKING:
    from unetr.data.download import Listener

_SECONDS_BETWEEN_LINES = 10.0


def download(
    name: Annotated[
        str, typer.Argument(help="Such as Task09_Spleen, spleen or 9; `list` shows all.")
    ],
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="FOLDER", help="Default: unetr's in the user's cache."),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option("--from", metavar="URL", help="Another address of the archive."),
    ] = None,
    md5: Annotated[
        str | None,
        typer.Option("--md5", metavar="SUM", help="Of the archive there, where it is another."),
    ] = None,
) -> None:
    """Download a task of the Medical Segmentation Decathlon.

    The data (CC-BY-SA 4.0) is checked and unpacked. A download that was stopped or broken goes on
    where it was.

    Example: unetr download Task09_Spleen
    """
    from unetr.data.archive import download_task
    from unetr.data.msd import TASKS, find_task
    from unetr.files import cache_folder

    if name == "list":
        for task in TASKS:
            typer.echo(f"{task.name:21} {task.shows}")
        return
    task = find_task(name)
    try:
        with _listening() as listener:
            folder = download_task(task, to or cache_folder(), listener, address, md5)
    except KeyboardInterrupt:
        talk.say("stopped; the same command goes on from here")
        raise typer.Exit(130) from None
    typer.echo(str(folder))


@contextmanager
def _listening() -> "Iterator[Listener]":
    """A bar on a terminal, plain lines elsewhere, both on stderr."""
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    console = talk.console()
    if not console.is_terminal:
        yield _Lines()
        return
    columns = (DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(
        TextColumn("{task.description}"), BarColumn(), *columns, console=console, transient=True
    ) as bar:
        yield _Bar(bar)


class _Lines:
    """A line at the start of each stretch of work, and then now and again."""

    def __init__(self) -> None:
        self._what = ""
        self._told = 0.0

    def say(self, line: str) -> None:
        """One line for the user."""
        talk.say(line)

    def moved(self, what: str, done: int, total: int | None) -> None:
        """How far it is."""
        from unetr.machine import told_bytes

        waited = time.monotonic() - self._told >= _SECONDS_BETWEEN_LINES
        if what == self._what and not waited and done != total:
            return
        self._what, self._told = what, time.monotonic()
        of = f" of {told_bytes(total)}" if total is not None else ""
        talk.say(f"{what}: {told_bytes(done)}{of}")


class _Bar:
    """One bar, which begins anew with each stretch of work."""

    def __init__(self, bar: object) -> None:
        from rich.progress import Progress

        assert isinstance(bar, Progress)
        self._bar = bar
        self._what = ""
        self._task = bar.add_task("connecting", total=None)

    def say(self, line: str) -> None:
        """One line above the bar."""
        self._bar.console.print(line, markup=False)

    def moved(self, what: str, done: int, total: int | None) -> None:
        """How far it is."""
        if what != self._what:
            self._what = what
            # Speed and time left are counted from here: an earlier call's bytes are none of ours.
            self._bar.reset(self._task, description=what, total=total, completed=done)
        self._bar.update(self._task, completed=done, total=total)
