"""One process of one or many: what they agree on, and who writes."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
from torch import distributed as dist

from unetr.errors import InputError
from unetr.training.errors import Stopped, TrainingError

T = TypeVar("T")

_PATIENCE = timedelta(minutes=60)
"""How long a process waits for a message: rank 0 takes the fingerprint alone at first. NCCL, which
only exchanges gradients, keeps its own, shorter time."""


@dataclass(frozen=True)
class Processes:
    """This process among its peers. `control` carries small messages on the host, so that they
    never make an accelerator wait."""

    rank: int = 0
    world: int = 1
    control: Any = None

    @property
    def writes(self) -> bool:
        """Whether this process writes the run folder."""
        return self.rank == 0

    def agree(self, values: list[float]) -> list[float]:
        """The values of rank 0."""
        if self.world == 1:
            return values
        message = torch.tensor(values, dtype=torch.float64)
        dist.broadcast(message, 0, group=self.control)
        return [float(value) for value in message]

    def mean(self, values: list[float]) -> list[float]:
        """The mean over the processes, value by value."""
        if self.world == 1:
            return values
        message = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(message, group=self.control)
        return [float(value) for value in message / self.world]

    def gather(self, value: T) -> list[T]:
        """The values of all processes, in the order of their ranks."""
        if self.world == 1:
            return [value]
        found: list[Any] = [None] * self.world
        dist.all_gather_object(found, value, group=self.control)
        return found

    def wait(self) -> None:
        """Until all processes are here."""
        self.gather(None)

    def lead(self, work: Callable[[], T]) -> T:
        """What rank 0 finds, in all processes; what it raises for bad input, too."""
        if self.world == 1:
            return work()
        found: T | InputError | None = None
        if self.rank == 0:
            try:
                found = work()
            except InputError as error:
                found = error
        found = self.first(found)
        if isinstance(found, InputError):
            raise found
        return cast(T, found)

    def each(self, work: Callable[[], object]) -> None:
        """Each process does its share and waits for the others; bad input that one of them finds
        all of them raise."""
        failed: InputError | None = None
        try:
            work()
        except InputError as error:
            failed = error
        for found in self.gather(failed):
            if found is not None:
                raise found

    def first(self, value: T) -> T:
        """The value of rank 0."""
        if self.world == 1:
            return value
        box: list[Any] = [value]
        dist.broadcast_object_list(box, 0, group=self.control)
        found: T = box[0]
        return found


@contextmanager
def joined(device: torch.device) -> Iterator[Processes]:
    """Joins the processes that torchrun started; alone where it did not.

    Raises:
        TrainingError: within the block another process was lost.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1 or "RANK" not in os.environ:
        yield Processes()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    nccl = device.type == "cuda"
    dist.init_process_group("nccl" if nccl else "gloo", timeout=None if nccl else _PATIENCE)
    together = not nccl
    try:
        control = dist.new_group(backend="gloo", timeout=_PATIENCE)
        yield Processes(dist.get_rank(), dist.get_world_size(), control)
        together = True
    except Stopped:
        together = True
        raise
    except RuntimeError as error:
        if not _is_lost(error):
            raise
        reason = (str(error).strip().splitlines() or [""])[-1][:200]
        raise TrainingError(
            "another process of the run is gone; start all of them again with --resume "
            f"(torch says: {reason})"
        ) from error
    finally:
        # NCCL would wait for processes that did not fail and do not leave.
        if together:
            dist.destroy_process_group()


def _is_lost(error: RuntimeError) -> bool:
    """Whether a message between processes failed; gloo says so in words alone."""
    words = ("gloo", "Connection", "closed by peer", "Broken pipe", "NCCL")
    return isinstance(error, dist.DistError) or any(word in str(error) for word in words)
