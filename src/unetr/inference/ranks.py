"""The processes and machines among which the scans are shared."""

import os
import re
import time
from collections.abc import Sequence
from typing import TypeVar

from unetr.errors import InputError

T = TypeVar("T")


def rank_and_count() -> tuple[int, int]:
    """This process's number, from 0, and how many there are: (0, 1) without torchrun.

    torchrun sets both. A number of processes alone, as some job scripts set it, says nothing of who
    does what: each would take the first part.
    """
    if not {"RANK", "WORLD_SIZE"} <= os.environ.keys():
        return 0, 1
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


def shard(jobs: Sequence[T], part: str | None) -> list[T]:
    """Every Nth job from the Ith, for `part` I/N; under torchrun the ranks share these in turn.

    Raises:
        InputError: not of the form I/N with I in 1..N.
    """
    if part is not None:
        match = re.fullmatch(r"(\d+)/(\d+)", part)
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise InputError(f"--shard {part}: write I/N with I from 1 to N, such as 1/4")
        jobs = jobs[int(match[1]) - 1 :: int(match[2])]
    rank, count = rank_and_count()
    return list(jobs[rank::count])


def processes_here() -> int:
    """How many of them run on this machine, this one included."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def wait_for_others(failed: bool) -> None:
    """Says that this process is through; if it `failed`, waits until all others are.

    torchrun stops every process as soon as one ends with an error, so one scan that fails would
    stop all that the others still have to do.
    """
    _, count = rank_and_count()
    if count == 1 or "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    from torch.distributed.rendezvous import rendezvous

    store, _, _ = next(rendezvous("env://"))
    through = store.add("unetr/through", 1)
    while failed and through < count:
        time.sleep(0.2)
        through = store.add("unetr/through", 0)
