"""How a training run shows on a terminal, and in a log."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from unetr.cli import talk

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from unetr.training.progress import Moment, Validated, Watcher


SECONDS_BETWEEN_LINES = 20.0


@contextmanager
def watching() -> "Iterator[Watcher]":
    """A live display on a terminal; plain lines elsewhere. Both on stderr."""
    console = talk.console()
    if not console.is_terminal:
        yield Lines()
        return
    with bar(console) as progress:
        yield Live(console, progress)


def bar(console: "Console") -> "Progress":
    """One line: what is done, how far it is, and how long it will still take."""
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}"))
    return Progress(*columns, console=console, transient=True)


class Lines:
    """A line per event worth one: logged steps, validations, long work now and then."""

    def __init__(self) -> None:
        self._told = time.monotonic()

    def say(self, line: str) -> None:
        """One line for the user."""
        talk.say(line)

    def preparing(self, what: str, done: int, total: int) -> None:
        """A line every now and then."""
        if time.monotonic() - self._told >= SECONDS_BETWEEN_LINES:
            self._told = time.monotonic()
            talk.say(f"{what}: {done} of {total} cases")

    def stepped(self, moment: "Moment", logged: bool) -> None:
        """A line for logged steps."""
        if logged:
            talk.say(described(moment))

    def validated(self, step: int, found: "Validated", best: bool) -> None:
        """A line with the mean Dice and that of each label."""
        talk.say(scored(step, found, best))


class Live(Lines):
    """One bar that is redrawn, and a line per validation above it."""

    def __init__(self, console: "Console", progress: "Progress") -> None:
        super().__init__()
        self._console, self._progress = console, progress
        self._task: TaskID = progress.add_task("starting", total=None, told="")
        self._dice = ""
        self._redrawn = 0.0

    def say(self, line: str) -> None:
        """One line above the bar."""
        self._console.print(line, markup=False)

    def preparing(self, what: str, done: int, total: int) -> None:
        """The bar shows the cases."""
        self._progress.update(
            self._task, description=what, completed=done, total=total, told=f"{done}/{total}"
        )

    def stepped(self, moment: "Moment", logged: bool) -> None:
        """The bar shows the step; a few times a second at most."""
        if logged or time.monotonic() - self._redrawn > 0.3:
            self._redrawn = time.monotonic()
            told = described(moment) + (f", Dice {self._dice}" if self._dice else "")
            self._progress.update(
                self._task, description="training", completed=moment.done, total=1.0, told=told
            )

    def validated(self, step: int, found: "Validated", best: bool) -> None:
        """A line above the bar, and the scores beside it from then on."""
        self._dice = " ".join(_number(value) for value in found.labels.values())
        self.say(scored(step, found, best))


def described(moment: "Moment") -> str:
    """Step, loss, learning rate, speed and time left."""
    return (
        f"step {moment.step}, loss {moment.loss:.4f}, lr {moment.lr:.2e}, "
        f"{moment.samples_per_s:.2f} samples/s, {duration(moment.left_s)} left"
    )


def scored(step: int, found: "Validated", best: bool) -> str:
    """The mean Dice and that of each label."""
    labels = ", ".join(f"{name} {_number(value)}" for name, value in found.labels.items())
    kept = "; the best so far, kept" if best else ""
    return (
        f"validated after step {step}: Dice {_number(found.dice)} ({labels}), "
        f"{len(found.cases)} cases in {duration(found.seconds)}{kept}"
    )


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


def duration(seconds: float) -> str:
    """1:02:03, 2:03, or 3 s."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{left:02d}" if hours else f"{minutes}:{left:02d}"
