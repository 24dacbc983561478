"""The sliding window: a network made for a patch, applied to a scan of any size.

Windows are ordered along x. Behind the last window that touches a plane, that plane is finished,
so only a slab of scores one patch thick is ever in memory.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

Forward = Callable[[Tensor], Tensor]
Activation = Literal["softmax", "sigmoid"]
Blend = Literal["gaussian", "constant"]

# MONAI's numbers: the width of the Gaussian in patches, and the least weight of a voxel.
SIGMA_PATCHES = 0.125
LEAST_IMPORTANCE = 1e-3


def sliding_window(
    forward: Forward,
    x: Float[Tensor, "channels X Y Z"],
    patch_voxels: Sequence[int],
    overlap: float = 0.5,
    blend: Blend = "gaussian",
    *,
    activation: Activation | None,
    batch: int = 1,
    device: torch.device | str = "cpu",
) -> Float[Tensor, "classes X Y Z"]:
    """Scores of the whole scan: the planes of `sliding_slabs`, joined. Same arguments, and:

    Args:
        activation: What makes scores of the network's logits before they are averaged: `softmax`
            over classes, `sigmoid` for overlapping regions, None where `forward` gives scores.
    """

    def scores(windows: Tensor) -> Tensor:
        return _activate(forward(windows), activation)

    slabs = sliding_slabs(scores, x, patch_voxels, overlap, blend, batch=batch, device=device)
    return torch.cat(list(slabs), dim=1)


def sliding_slabs(
    forward: Forward,
    x: Float[Tensor, "channels X Y Z"],
    patch_voxels: Sequence[int],
    overlap: float = 0.5,
    blend: Blend = "gaussian",
    *,
    batch: int = 1,
    device: torch.device | str = "cpu",
    accumulate_on: torch.device | str | None = None,
    planes: int = 32,
    inside: Bool[Tensor, "X Y Z"] | None = None,
    outside: Float[Tensor, " classes"] | None = None,
    on_window: Callable[[int, int], None] | None = None,
) -> Iterator[Float[Tensor, "classes planes Y Z"]]:
    """Finished planes of the scan's scores, in order along x.

    A voxel's score is the mean over the windows that contain it, weighted by `importance_map`.
    A scan smaller than the patch is padded with zeros on both sides, and the scores cropped back.
    Windows lie where MONAI's `sliding_window_inference` puts them.

    Args:
        forward: (b, channels, *patch) to scores (b, classes, *patch), on `device`.
        x: The preprocessed scan; it stays where it is, windows go to `device` one batch at a time.
        overlap: Share of the patch that neighbouring windows have in common, in [0, 1).
        batch: Windows per call of `forward`.
        accumulate_on: Where the slab of scores lies; default: `device`.
        planes: Most planes yielded at a time.
        inside: Where there is anything to see. Windows without such a voxel are not computed;
            they score `outside`, which must then be given.
        on_window: Told windows done and their total, after each.
    """
    patch = tuple(patch_voxels)
    size = tuple(x.shape[1:])
    before = [max(p - s, 0) // 2 for p, s in zip(patch, size, strict=True)]
    x = _padded(x, patch, before)
    if inside is not None:
        inside = _padded(inside[None], patch, before)[0]
    starts = window_starts(x.shape[1:], patch, overlap)
    importance = importance_map(patch, blend).to(accumulate_on or device)
    slab = _Slab(x.shape[2:], patch, importance)
    boxes = [_box(corner, patch) for corner in product(*starts)]
    done, crop = 0, tuple(slice(b, b + s) for b, s in zip(before, size, strict=True))

    def scores(seen: list[tuple[slice, ...]]) -> Iterator[Tensor]:
        windows = torch.stack([x[:, *box] for box in seen])
        return iter(forward(windows.to(device)))

    found = _in_order(boxes, scores, batch, inside, outside)
    for row, start in enumerate(starts[0]):
        for y, z in product(starts[1], starts[2]):
            slab.add(next(found).to(importance.device), y, z)
            done += 1
            if on_window:
                on_window(done, len(boxes))
        last = row + 1 == len(starts[0])
        finished = patch[0] if last else starts[0][row + 1] - start
        yield from slab.finished(finished, start, crop, planes)
        slab.forget(finished)


def _in_order(
    boxes: Sequence[tuple[slice, ...]],
    scores: Callable[[list[tuple[slice, ...]]], Iterator[Tensor]],
    batch: int,
    inside: Tensor | None,
    outside: Tensor | None,
) -> Iterator[Tensor]:
    """What each window adds, in their order; to be used before the next one is asked for.

    Computed `batch` windows at a time, across the rows: a row's odd window would else be computed
    alone, by a part of the device.
    """
    waiting: list[tuple[tuple[slice, ...], bool]] = []
    for number, box in enumerate(boxes, 1):
        waiting.append((box, inside is None or bool(inside[box].any())))
        seen = [each for each, is_seen in waiting if is_seen]
        if len(seen) == batch or number == len(boxes):
            computed = scores(seen) if seen else iter(())
            for _, is_seen in waiting:
                if is_seen:
                    yield next(computed)
                else:
                    assert outside is not None, "windows are skipped, but no scores are given"
                    yield outside[:, None, None, None]
            waiting = []


def window_starts(
    size: Sequence[int], patch_voxels: Sequence[int], overlap: float
) -> tuple[list[int], ...]:
    """First voxels of the windows per axis: MONAI's `dense_patch_slices`, the last one flush."""
    starts = []
    for voxels, patch in zip(size, patch_voxels, strict=True):
        step = max(int(patch * (1 - overlap)), 1)
        count = -(-max(voxels - patch, 0) // step) + 1
        starts.append([min(index * step, voxels - patch) for index in range(count)])
    return tuple(starts)


def importance_map(patch_voxels: Sequence[int], blend: Blend) -> Float[Tensor, "x y z"]:
    """Weight of each voxel of a window: 1, or a Gaussian of its distance from the centre.

    The Gaussian's sigma is SIGMA_PATCHES of the patch per axis. Weights below LEAST_IMPORTANCE, or
    below the map's own minimum where that is larger, are raised to it, so that a voxel in one
    window's corner only is still divided by something safe.
    """
    if blend == "constant":
        return torch.ones(tuple(patch_voxels))
    weights = torch.ones(())
    for voxels in patch_voxels:
        distance = torch.arange(voxels) - (voxels - 1) / 2
        axis = torch.exp(-(distance**2) / (2 * (SIGMA_PATCHES * voxels) ** 2))
        weights = weights[..., None] * axis
    return weights.clamp(min=max(float(weights.min()), LEAST_IMPORTANCE))


class _Slab:
    """Weighted scores and weights of the planes that windows still touch, one patch thick."""

    def __init__(self, face: Sequence[int], patch: tuple[int, ...], importance: Tensor) -> None:
        self.patch = patch
        self.face = tuple(face)
        self.importance = importance
        self.weights = importance.new_zeros((patch[0], *self.face))
        self.scores: Tensor | None = None

    def add(self, score: Tensor, y: int, z: int) -> None:
        """Adds one window's (classes, *patch) scores, or (classes, 1, 1, 1) for all its voxels."""
        if self.scores is None:
            self.scores = self.importance.new_zeros((len(score), self.patch[0], *self.face))
        place = (slice(None), slice(y, y + self.patch[1]), slice(z, z + self.patch[2]))
        self.scores[:, *place].addcmul_(score, self.importance)
        self.weights[place] += self.importance

    def finished(
        self, count: int, start: int, crop: tuple[slice, ...], planes: int
    ) -> Iterator[Tensor]:
        """The first `count` planes as means, without the padding; the slab begins at `start`."""
        assert self.scores is not None
        first, stop = max(crop[0].start - start, 0), min(crop[0].stop - start, count)
        for low in range(first, stop, planes):
            part = (slice(low, min(low + planes, stop)), crop[1], crop[2])
            yield self.scores[:, *part] / self.weights[part]

    def forget(self, count: int) -> None:
        """Moves the planes after the first `count` to the front and clears the rest."""
        assert self.scores is not None
        for buffer, axis in ((self.scores, 1), (self.weights, 0)):
            thick = self.patch[0]
            # Steps of `count` planes never overlap, so no copy of the slab is made.
            for low in range(count, thick, count):
                moved = buffer.narrow(axis, low, min(count, thick - low))
                buffer.narrow(axis, low - count, moved.shape[axis]).copy_(moved)
            buffer.narrow(axis, thick - count, count).zero_()


def _box(corner: Sequence[int], patch: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(c, c + p) for c, p in zip(corner, patch, strict=True))


def _padded(x: Tensor, patch: Sequence[int], before: Sequence[int]) -> Tensor:
    """(channels, x, y, z) grown to at least the patch; unchanged where it is large enough."""
    missing = [max(p - s, 0) for p, s in zip(patch, x.shape[1:], strict=True)]
    if not any(missing):
        return x
    sides = [side for b, m in zip(before, missing, strict=True) for side in (m - b, b)]
    # F.pad counts from the last axis.
    return F.pad(x, sides[::-1])


def _activate(logits: Tensor, activation: Activation | None) -> Tensor:
    """Scores in float32 whatever the network computed in."""
    if activation == "softmax":
        return logits.float().softmax(dim=1)
    if activation == "sigmoid":
        return logits.float().sigmoid()
    return logits.float()
