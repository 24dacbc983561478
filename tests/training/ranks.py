"""One of the processes that torchrun starts: `ranks.py RUN [KILL_AT_STEP]`.

The first process prints each step's loss over all of them; the second may kill itself.
"""

import os
import signal
import sys
from pathlib import Path

import torch
from tiny import tiny_job, tiny_unetr

from unetr.training.distributed import joined
from unetr.training.errors import TrainingError
from unetr.training.loop import train
from unetr.training.progress import Silence
from unetr.training.state import state_path, stop_on_signals


class Rank(Silence):
    """Prints losses; dies where it is told to."""

    def __init__(self, rank: int, kill_at: int) -> None:
        self.rank, self.kill_at = rank, kill_at

    def stepped(self, moment, logged):
        if self.rank == 0:
            sys.stdout.write(f"{moment.step} {moment.loss!r}\n")
            sys.stdout.flush()
        if self.rank == 1 and moment.step == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    run = Path(sys.argv[1])
    kill_at = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    torch.set_num_threads(1)
    try:
        # As the command does: torchrun asks the others to end when one is lost.
        with stop_on_signals(), joined(torch.device("cpu")) as processes:
            resume = state_path(run).exists()
            network = tiny_unetr(dropout=0.0)
            job = tiny_job(
                run, resume=resume, network=network, max_steps=5, log_steps=1, save_steps=1
            )
            job.processes, job.watcher = processes, Rank(processes.rank, kill_at)
            train(job)
    except TrainingError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
