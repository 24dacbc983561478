"""Where patches come from: a case, a centre in it, and the voxels around."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Num, Shaped
from numpy.typing import NDArray

from unetr.training.recipe import Sampling

Starts = tuple[int, int, int]
_TRIES = 20


@runtime_checkable
class TrainingCase(Protocol):
    """A preprocessed case as `unetr.data.cache` keeps it.

    Attributes:
        image: (channels, x, y, z) float32, memory-mapped.
        labels: (x, y, z) class indices, or (regions, x, y, z) masks.
        foreground: Per class that is not background, or per region, some of its voxels (n, 3).
        labelled: Some voxels (n, 3) of all of them together: of large structures more.
    """

    @property
    def image(self) -> NDArray[Any]: ...
    @property
    def labels(self) -> NDArray[Any]: ...
    @property
    def foreground(self) -> Sequence[NDArray[Any]]: ...
    @property
    def labelled(self) -> NDArray[Any]: ...


@dataclass(frozen=True)
class Draw:
    """One sample of the endless sequence that a seed defines.

    Attributes:
        case: Index of the case.
        rng: The sample's own random numbers; all that happens to the patch is drawn from it.
    """

    case: int
    rng: np.random.Generator


def draw(seed: int, number: int, cases: int, crops_per_case: int) -> Draw:
    """Sample `number`, a pure function of its arguments.

    So the sampler's position is the step alone: a resumed run, or one split over processes, sees
    what a single uninterrupted one sees. Each epoch goes through all cases in a new order.

    Args:
        seed: Of the run.
        number: From 0: step * batch + place in the batch.
        cases: Number of training cases.
        crops_per_case: Consecutive samples from one case.
    """
    visit = number // crops_per_case
    epoch, place = divmod(visit, cases)
    order = np.random.default_rng([seed, 0, epoch]).permutation(cases)
    return Draw(int(order[place]), np.random.default_rng([seed, 1, number]))


def patch_start(
    case: TrainingCase, patch_voxels: Sequence[int], sampling: Sampling, rng: np.random.Generator
) -> Starts:
    """First voxel of a patch around a drawn centre, within the scan.

    The centre is a labelled voxel with probability `sampling.foreground`, else one of the
    background (the paper's 1 : 1). Along an axis on which the scan is smaller than the patch, the
    start is negative, so that the scan lies in the middle, as in prediction.
    """
    size = case.image.shape[1:]
    present = [voxels for voxels in case.foreground if len(voxels)]
    if present and rng.random() < sampling.foreground:
        voxels = present[rng.integers(len(present))] if sampling.by_class else case.labelled
        centre = voxels[rng.integers(len(voxels))]
    else:
        centre = _background(case, size, rng)
    starts = []
    for at, voxels, patch in zip(centre, size, patch_voxels, strict=True):
        inside = min(max(int(at) - patch // 2, 0), max(voxels - patch, 0))
        starts.append(inside if voxels > patch else -((patch - voxels) // 2))
    return (starts[0], starts[1], starts[2])


def _background(case: TrainingCase, size: Sequence[int], rng: np.random.Generator) -> NDArray[Any]:
    """A voxel without a label; any voxel where labels fill nearly everything."""
    labels = case.labels
    for _ in range(_TRIES):
        at = rng.integers(size)
        if not np.any(labels[..., at[0], at[1], at[2]]):
            break
    return at


def cut(
    array: Shaped[np.ndarray, "*c x y z"], start: Sequence[int], size: Sequence[int]
) -> Num[np.ndarray, "*c x2 y2 z2"]:
    """A copy of the box of `size` voxels from `start` on; zeros where it leaves the array."""
    whole = array.shape[-3:]
    patch = np.zeros((*array.shape[:-3], *size), array.dtype)
    source: list[Any] = [...]
    target: list[Any] = [...]
    for first, length, voxels in zip(start, size, whole, strict=True):
        low, high = max(first, 0), min(first + length, voxels)
        source.append(slice(low, max(low, high)))
        target.append(slice(low - first, max(low, high) - first))
    patch[tuple(target)] = array[tuple(source)]
    return patch
