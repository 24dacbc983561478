"""What a run tells about itself while it goes; the command line shows it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from unetr.training.errors import Stopped


@dataclass(frozen=True)
class Moment:
    """The run after a step.

    Attributes:
        done: Share of the run, in [0, 1].
        loss: Mean since the last telling.
    """

    step: int
    done: float
    loss: float
    lr: float
    samples_per_s: float
    left_s: float


@dataclass(frozen=True)
class Validated:
    """All validation cases, predicted on their own grids.

    Attributes:
        dice: Mean over cases and labels (or regions), undefined ones left out; None where all are.
        labels: Per label, the mean over cases; None where no case has it or was given it.
        cases: Per case, the mean over labels.
    """

    dice: float | None
    labels: Mapping[str, float | None]
    cases: Mapping[str, float | None]
    seconds: float


@runtime_checkable
class Watcher(Protocol):
    """Whoever is told."""

    def say(self, line: str) -> None:
        """One line for the user."""

    def preparing(self, what: str, done: int, total: int) -> None:
        """Work before or after training, such as reading cases."""

    def stepped(self, moment: Moment, logged: bool) -> None:
        """A step is done; `logged` ones are written to the history too."""

    def validated(self, step: int, found: Validated, best: bool) -> None:
        """All validation cases are scored; `best` ones are kept."""


class Silence:
    """Tells nobody: for processes that do not write, and for programs."""

    def say(self, line: str) -> None:
        """Nothing."""

    def preparing(self, what: str, done: int, total: int) -> None:
        """Nothing."""

    def stepped(self, moment: Moment, logged: bool) -> None:
        """Nothing."""

    def validated(self, step: int, found: Validated, best: bool) -> None:
        """Nothing."""


class Stoppable:
    """Tells another watcher, and raises Stopped between two cases of long work where it is asked
    to: while cases are prepared, validated or post-processed. Nothing is lost by that.
    """

    def __init__(self, watcher: Watcher, requested: Callable[[], bool]) -> None:
        self._requested = requested
        self.say, self.stepped, self.validated = watcher.say, watcher.stepped, watcher.validated
        self._preparing = watcher.preparing

    def preparing(self, what: str, done: int, total: int) -> None:
        """Raises Stopped, or passes it on."""
        if self._requested():
            raise Stopped
        self._preparing(what, done, total)
