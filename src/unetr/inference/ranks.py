"""The processes that torchrun starts, among which the scans are shared."""

import os
import time


def rank_and_count() -> tuple[int, int]:
    """This process's number, from 0, and how many there are: (0, 1) without torchrun."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


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
