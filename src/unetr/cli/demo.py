"""The verb `unetr demo`: every step of the work once, on a brain that a package ships."""

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from unetr.cli import talk

_OURS = {"mni152", "run", "segmentations", "report", "picture.png"}


def demo(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to write into.")] = Path(
        "unetr-demo"
    ),
    max_minutes: Annotated[
        float, typer.Option("--max-minutes", "--minutes", help="How long it trains.")
    ] = 2.5,
    max_steps: Annotated[int | None, typer.Option(help="Train so many steps instead.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SECTION.KEY=VALUE", help="As of unetr train."),
    ] = None,
) -> None:
    """Train, predict and evaluate on a real brain, in minutes.

    Offline: the scan, an average of 152 people's, ships with the nilearn package (pip install
    'unetr[demo]'). Stopped anywhere, the same command goes on; once more, it shows the result.

    Example: unetr demo -o unetr-demo
    """
    _claim(out)
    data, run, found, report = (out / name for name in ("mni152", "run", "segmentations", "report"))
    end = ("--max-steps", max_steps) if max_steps else ("--max-minutes", f"{max_minutes:g}")
    changes = [word for setting in settings or () for word in ("--set", setting)]
    talk.say("1 of 4: the scan. A brain's left half in eight blocks; training never sees two.")
    _write_scan(data)
    try:
        talk.say("2 of 4: training")
        _call("train", data, "-o", run, *end, *changes, "--resume")
        talk.say("3 of 4: predicting the two blocks that training never saw")
        _call("predict", run, data / "imagesTs", "-o", found, "--overwrite")
        talk.say("4 of 4: comparing with what is known of them")
        _call("evaluate", found, data / "labelsTs", "--images", data / "imagesTs", "-o", report)
    except _StoppedError as stopped:
        talk.say("the demo goes on from here when the same command is given again")
        raise typer.Exit(stopped.code) from None
    _draw(data, found, out / "picture.png")
    for line in _closing(out):
        typer.echo(line)


class _StoppedError(Exception):
    """A step ended before its time."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def _claim(out: Path) -> None:
    from unetr.errors import InputError

    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; give another folder with -o")
    names = {path.name for path in out.iterdir()} if out.exists() else set()
    foreign = {name for name in names - _OURS if not name.startswith(".")}
    if foreign:
        raise InputError(
            f"{out}: holds {min(foreign)}, which no demo wrote; give another folder with -o"
        )


def _write_scan(data: Path) -> None:
    from unetr.data.mni152 import write_mni152

    write_mni152(data)


def _draw(data: Path, found: Path, path: Path) -> None:
    from unetr.report.demo import draw_demo

    draw_demo(data, found, path)


def _call(*words: object) -> None:
    """Runs a verb as if it had been typed, which is also shown.

    Raises:
        _StoppedError: it did not end well.
    """
    from unetr.cli.main import app

    typed = [str(word) for word in words]
    talk.say(f"$ unetr {shlex.join(typed)}")
    loudness = [] if talk.loudness() is talk.Loudness.normal else [f"--{talk.loudness().name}"]
    with _typed(typed):
        code = app(args=[*loudness, *typed], prog_name="unetr", standalone_mode=False)
    if code:
        raise _StoppedError(code)


@contextmanager
def _typed(words: Sequence[str]) -> Iterator[None]:
    """What a run notes as its command, and tells whoever stopped it to type."""
    before = sys.argv
    sys.argv = ["unetr", *words]
    try:
        yield
    finally:
        sys.argv = before


def _closing(out: Path) -> Iterator[str]:
    rows = (
        ("report/report.html", "the scores, and pictures of the best and the worst"),
        ("picture.png", "what was found where"),
        ("segmentations", "the label files that were predicted"),
        ("run", "the model, its curves, and all that it was made with"),
        ("mni152", "the scan and its labels, laid out as yours may be"),
    )
    width = max(len(str(out / name)) for name, _ in rows)
    yield ""
    yield from (f"{out / name!s:{width}}  {what}" for name, what in rows)
    yield ""
    yield "The scores are of blocks that training never saw. But they are of the same brain as"
    yield "the others, the average of 152 people's, in which brightness alone nearly tells grey"
    yield "from white matter. That the program works is all this shows; clinically one brain"
    yield "proves nothing."
    yield ""
    yield "With your own scans, in a folder my-scans with images/ and labels/ (docs/datasets.md):"
    yield "  unetr inspect my-scans"
    yield "  unetr train my-scans -o my-run --max-minutes 480"
    yield "  unetr predict my-run new-scans -o segmentations"
