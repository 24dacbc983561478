"""What an exact resume needs, in one file that is there whole or not at all."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from types import FrameType
from typing import Any

import torch

from unetr.errors import InputError
from unetr.files import written_whole


@dataclass
class State:
    """A moment between two steps. Random numbers are functions of the seed and the step, so the
    step is also the state of all random generators and of the sampler.

    Attributes:
        step: Steps that are done.
        validations: How many of the validations on the way have had their time.
        best_dice, best_step: Of the validation whose model was kept; -1 before the first.
        validated_step: Of the last validation; -1 before the first.
    """

    step: int
    elapsed_s: float
    validations: int
    best_dice: float
    network: dict[str, Any]
    optimizer: dict[str, Any]
    ema: list[torch.Tensor] = field(default_factory=list)
    scaler: dict[str, Any] = field(default_factory=dict)
    best_step: int = -1
    validated_step: int = -1


def state_path(run: Path) -> Path:
    """Where the state of a run lies."""
    return run / "last" / "state.pt"


def save_state(run: Path, state: State) -> None:
    """Replaces the run's state.

    Raises:
        InputError: the folder cannot be written to, or the disk is full.
    """
    # asdict would copy every tensor.
    content = {key: getattr(state, key) for key in State.__dataclass_fields__}
    with written_whole(state_path(run)) as part:
        try:
            torch.save(content, part)
        except RuntimeError as error:
            # Torch's writer hides the operating system's error behind its own.
            if not any(word in str(error) for word in ("PytorchStreamWriter", "inline_container")):
                raise
            raise InputError(
                f"{state_path(run)}: cannot be written, most likely because the disk is full; "
                "free some space and continue with --resume"
            ) from error


def load_state(run: Path) -> State:
    """Reads the run's state into the host's memory, and clears away what killed writers left.

    Raises:
        InputError: there is none, or it is of another version.
    """
    path = state_path(run)
    if not path.exists():
        raise InputError(f"{run}: no saved state to resume from; start anew with --overwrite")
    for part in path.parent.glob(".part-*"):
        part.unlink(missing_ok=True)
    try:
        return State(**torch.load(path, map_location="cpu", weights_only=True))
    except (TypeError, RuntimeError, EOFError, UnpicklingError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{path}: not a whole state of this version ({reason}); start anew with --overwrite"
        ) from error


class StopRequest:
    """Whether SIGINT or SIGTERM came; a second SIGINT interrupts at once.

    SIGTERM may come any number of times: Slurm sends it to every process, and torchrun passes it
    on. Only somebody at the keyboard means more by the second.

    Attributes:
        signal: The first that came; 0 before, and where another process was asked.
    """

    def __init__(self) -> None:
        self.requested = False
        self.signal = 0
        self._interrupted = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        if number == signal.SIGINT:
            if self._interrupted:
                raise KeyboardInterrupt
            self._interrupted = True
        if not self.requested:
            self.requested, self.signal = True, number


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Within the block the first SIGINT, and any SIGTERM, only sets a flag.

    Python delivers signals to the main thread alone; elsewhere the flag stays for the caller.
    """
    stop = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
