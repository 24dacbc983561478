"""history.jsonl and curves.png: how the run went."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from unetr.errors import InputError
from unetr.files import written_whole

FILE = "history.jsonl"


class History:
    """A line of JSON per logging interval and per validation.

    Args:
        resumed_at: Lines of later steps are dropped: those steps will be done again.
        tensorboard: Also write TensorBoard's files into the run folder.
    """

    def __init__(self, run: Path, resumed_at: int = 0, tensorboard: bool = False) -> None:
        self.path = run / FILE
        kept = [line for line in read_history(run) if line["step"] <= resumed_at]
        with written_whole(self.path) as part:
            part.write_text("".join(json.dumps(line) + "\n" for line in kept))
        self._board = _board(run) if tensorboard else None

    def add(self, line: dict[str, Any]) -> None:
        """Appends one line; `step` is among its keys."""
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        if self._board is not None:
            for key, value in line.items():
                if isinstance(value, float):
                    self._board.add_scalar(key, value, line["step"])
            for label, value in line.get("labels", {}).items():
                if value is not None:
                    self._board.add_scalar(f"dice/{label}", value, line["step"])
            self._board.flush()


def read_history(run: Path) -> list[dict[str, Any]]:
    """The lines written so far; a torn last line, of a killed run, is left out."""
    path = run / FILE
    lines = []
    for text in path.read_text().splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            continue
    return lines


def draw_curves(run: Path) -> None:
    """Writes curves.png: loss and learning rate by step, and validation Dice per label."""
    from matplotlib.figure import Figure

    lines = read_history(run)
    steps = [line for line in lines if "loss" in line]
    validations = [line for line in lines if "dice" in line]
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([line["step"] for line in steps], [line["loss"] for line in steps])
    left.set(xlabel="step", ylabel="training loss")
    rate = left.twinx()
    rate.plot([line["step"] for line in steps], [line["lr"] for line in steps], "C7--", lw=0.8)
    rate.set_ylabel("learning rate (dashed)")
    at = [line["step"] for line in validations]
    for label in validations[0]["labels"] if validations else []:
        scores = [line["labels"][label] for line in validations]
        right.plot(at, [float("nan") if s is None else s for s in scores], "o-", label=label)
    means = [float("nan") if line["dice"] is None else line["dice"] for line in validations]
    right.plot(at, means, "ko-", lw=2, label="mean")
    right.set(xlabel="step", ylabel="validation Dice", ylim=(0, 1))
    right.legend(fontsize="small")
    with written_whole(run / "curves.png") as part:
        figure.savefig(part, dpi=120, format="png")


def check_tensorboard() -> None:
    """Raises InputError where the package is missing."""
    if find_spec("tensorboard") is None:
        raise InputError("--tensorboard needs: pip install 'unetr[tensorboard]'")


def _board(run: Path) -> Any:
    check_tensorboard()
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(run / "tensorboard"))
