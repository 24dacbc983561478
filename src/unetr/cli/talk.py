"""What the command says besides its results: on stderr, and as loud as asked."""

import warnings
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console


class Loudness(IntEnum):
    """How much is said."""

    quiet = 0  # warnings and errors
    normal = 1  # also what is done, and how far it is
    verbose = 2  # also what the rooms below log
    debug = 3  # everything, and the traceback of an error


_loudness = Loudness.normal


def set_loudness(loudness: Loudness) -> None:
    """From now on; warnings are single lines, too."""
    global _loudness
    _loudness = loudness
    warnings.showwarning = _show_warning
    if loudness >= Loudness.verbose:
        _show_log()


def loudness() -> Loudness:
    """As it was set."""
    return _loudness


def say(line: str) -> None:
    """One line of talk."""
    if _loudness > Loudness.quiet:
        typer.echo(line, err=True)


def console() -> "Console":
    """Where progress is shown; it is no terminal where the command is quiet."""
    from rich.console import Console

    quiet = _loudness is Loudness.quiet
    terminal = False if quiet else None
    return Console(
        stderr=True, highlight=False, soft_wrap=True, quiet=quiet, force_terminal=terminal
    )


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    """A warning on one line; what only programmers can mend is for those who ask for more."""
    for_programmers = issubclass(category, FutureWarning | DeprecationWarning)
    if for_programmers and _loudness < Loudness.verbose:
        return
    where = f" ({filename}:{lineno})" if _loudness is Loudness.debug else ""
    typer.echo(f"warning: {' '.join(str(message).split())}{where}", err=True)


def _show_log() -> None:
    """What the rooms below log becomes talk."""
    import logging

    class Talk(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            detail = record.levelno < logging.INFO
            if _loudness >= (Loudness.debug if detail else Loudness.verbose):
                say(self.format(record))

    log = logging.getLogger("unetr")
    log.setLevel(logging.DEBUG)
    log.handlers[:] = [Talk()]
