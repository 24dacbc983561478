"""Batches prepared in the background while the network computes."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier

import torch
from jaxtyping import Float32, Shaped
from torch import Tensor

from unetr.data.plan import Plan
from unetr.machine import cores
from unetr.training.augmentation import augmented_patch
from unetr.training.recipe import Recipe
from unetr.training.sampling import TrainingCase, draw, patch_start

_HOST = torch.device("cpu")
# More threads than this wait for memory and for each other.
_MOST_WORKERS = 8


@dataclass(frozen=True)
class Batch:
    """Patches of one step on this process.

    Attributes:
        y: Class indices (b, x, y, z), or region masks (b, regions, x, y, z).
        names: The cases that they come from.
    """

    x: Float32[Tensor, "b c x y z"]
    y: Shaped[Tensor, "b *r x y z"]
    names: tuple[str, ...]


class Batches:
    """The endless sequence of batches from number `first` on; used as a context manager.

    Threads suffice: reading from memory maps, interpolation and convolution all release
    Python's lock, cases stay shared, and no worker process can die.

    Args:
        names: Of the training cases; `get` gives one of them by its index.
        batch: Patches per batch over all processes; this one prepares every `world`-th.
        device: Where `take` puts batches. A GPU copies them in the background, from page-locked
            memory.
        workers: Threads that prepare them.
    """

    def __init__(
        self,
        names: Sequence[str],
        get: Callable[[int], TrainingCase],
        plan: Plan,
        recipe: Recipe,
        batch: int,
        *,
        first: int = 0,
        rank: int = 0,
        world: int = 1,
        workers: int = 1,
        device: torch.device = _HOST,
    ) -> None:
        self._names, self._get, self._plan, self._recipe = names, get, plan, recipe
        self._batch, self._rank, self._world, self._device = batch, rank, world, device
        self._pool = _one_core_each(workers)
        self._waiting: deque[Future[Batch]] = deque()
        self._next = first
        for _ in range(workers + 1):
            self._ask()

    def __enter__(self) -> "Batches":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def take(self) -> Batch:
        """The next batch; waits for it if it is not ready."""
        self._ask()
        made = self._waiting.popleft().result()
        # Only from pinned memory: the rest may be let go, and used again, before it is copied.
        pinned = self._device.type == "cuda"
        x, y = (part.to(self._device, non_blocking=pinned) for part in (made.x, made.y))
        return Batch(x, y, made.names)

    def take_several(self, count: int) -> list[Batch]:
        """The next batches."""
        return [self.take() for _ in range(count)]

    def _ask(self) -> None:
        self._waiting.append(self._pool.submit(self._make, self._next))
        self._next += 1

    def _make(self, number: int) -> Batch:
        places = range(self._rank, self._batch, self._world)
        drawn = [self._sample(number * self._batch + place) for place in places]
        images, labels, names = zip(*drawn, strict=True)
        x, y = torch.stack(images), torch.stack(labels)
        if self._device.type == "cuda":
            x, y = x.pin_memory(), y.pin_memory()
        return Batch(x, y, names)

    def _sample(self, number: int) -> tuple[Tensor, Tensor, str]:
        sampling = self._recipe.sampling
        seed = self._recipe.training.seed
        sample = draw(seed, number, len(self._names), sampling.crops_per_case)
        case = self._get(sample.case)
        start = patch_start(case, self._plan.patch_voxels, sampling, sample.rng)
        image, labels = augmented_patch(
            case, start, self._plan, self._recipe.augmentation, sample.rng
        )
        return image, labels, self._names[sample.case]


def workers_for(device: torch.device, processes_here: int) -> int:
    """Threads that prepare batches: one where the network itself needs the cores, else those of
    this process's share of the machine, but for the one that leads the accelerator."""
    if device.type == "cpu":
        return 1
    return max(1, min(_MOST_WORKERS, cores() // processes_here - 1))


def _one_core_each(workers: int) -> ThreadPoolExecutor:
    """Threads that compute on one core each: the network has the others.

    What a thread sets also holds for MKL in all of them, and for threads yet to come. So it is put
    back once the last thread has set it, and not before: else sums of the network are taken in
    another order in some runs, and a resumed run is not the same to the last bit.
    """
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(workers, initializer=_compute_on_one_core)
    all_there = Barrier(workers + 1)
    for _ in range(workers):
        pool.submit(all_there.wait)
    all_there.wait()
    torch.set_num_threads(threads)
    return pool


def _compute_on_one_core() -> None:
    """In the thread that calls this.

    More OpenMP threads than cores, though asleep, also make those of the network fall asleep
    between any two operations: waking them takes as long as a small network's step.
    """
    torch.set_num_threads(1)
    # The first question in a thread sets it to what holds for all then; so it is asked now.
    torch.get_num_threads()
