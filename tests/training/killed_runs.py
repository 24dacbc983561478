"""Starts a run again and again and kills it at random moments: `killed_runs.py FOLDER KILLS`.

Prints a line of JSON per kill: the last step that the run told of, and the one it resumed from. The
last start is left alone, and `whole` is a run that never was killed. Each is forked from this
process, which has imported all and computed nothing.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
import torch._dynamo  # which optimisers import at their first use: once here, not in each run
from tiny import tiny_job

from unetr.training.folder import clear_parts
from unetr.training.loop import train
from unetr.training.progress import Silence
from unetr.training.state import load_state, state_path

STEPS, SAVE_STEPS = 40, 2


class Telling(Silence):
    """Sends a byte per step."""

    def __init__(self, pipe: int) -> None:
        self.pipe = pipe

    def stepped(self, moment, logged):
        os.write(self.pipe, b".")


def start(run: Path, pipe: int) -> int:
    """Forks a process that trains, and gives its number."""
    if child := os.fork():
        return child
    torch.set_num_threads(1)
    resume = state_path(run).exists()
    clear_parts(run)  # as `unetr train --resume` does before it trains
    job = tiny_job(run, resume=resume, max_steps=STEPS, accumulate=1, save_steps=SAVE_STEPS)
    job.watcher = Telling(pipe)
    train(job)
    os._exit(0)


def killed(run: Path, dice: random.Random) -> tuple[int, int]:
    """Kills a run some steps on, anywhere between two of them."""
    before = load_state(run).step if state_path(run).exists() else 0
    ours, theirs = os.pipe()
    child = start(run, theirs)
    os.close(theirs)
    wanted = dice.randrange(5)
    told = 0
    while told < wanted and os.read(ours, 1):
        told += 1
    time.sleep(dice.random() * 0.03)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while os.read(ours, 1):
        told += 1
    os.close(ours)
    return before + told, load_state(run).step if state_path(run).exists() else 0


def main() -> None:
    folder, kills = Path(sys.argv[1]), int(sys.argv[2])
    dice = random.Random(0)
    for _ in range(kills):
        reached, resumed = killed(folder / "killed", dice)
        tell(reached=reached, resumed=resumed)
    silent = os.open(os.devnull, os.O_WRONLY)
    for name in ("killed", "whole"):
        _, status = os.waitpid(start(folder / name, silent), 0)
        tell(status=status)


def tell(**found: int) -> None:
    """One line of JSON."""
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
