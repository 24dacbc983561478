"""From a scan to network input and exactly back: two inverses, side by side.

Both ways go through one `Placement` (placement.py): axes, crop and spacing of the network's grid in
the scan. `preprocess` makes the input, `Restorer` brings class scores back to the scan's voxels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float16, Float32, Integer, Num, UInt
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from unetr.data.interpolation import LinearAxis, apply_filters, filter_matrix
from unetr.data.normalise import normalise_
from unetr.data.placement import Placement, place
from unetr.data.plan import Plan
from unetr.errors import InputError
from unetr.image.volume import Volume

Scores = Num[Tensor, "c n y z"] | Num[np.ndarray, "c n y z"]
Indices = Integer[Tensor, "x y z"] | Integer[np.ndarray, "x y z"]


def preprocess(
    plan: Plan, volume: Volume, placement: Placement | None = None
) -> tuple[Float32[np.ndarray, "c x y z"], Placement]:
    """A scan as network input: reoriented, cropped, normalised, resampled.

    Args:
        volume: One channel per channel of the plan, in its order.
        placement: What `place` says, where it was asked before.

    Returns:
        The input on the network's grid, and where that grid lies in the scan.

    Raises:
        InputError: the scan has another number of channels than the plan, or voxels that float32
            does not hold.
    """
    channels = volume.array.shape[0]
    if channels != len(plan.channels):
        raise InputError(
            f"{volume.source}: channels: {channels}, but the model takes {len(plan.channels)} "
            f"({', '.join(plan.channels)}); give these, in this order"
        )
    placement = placement or place(plan, volume)
    # order="K" keeps the file's memory layout: the copy is then quick, and the matrix products of
    # resampling take any layout.
    with np.errstate(over="ignore"):  # refused below
        x = torch.from_numpy(placement.crop_of(volume.array).astype(np.float32, order="K"))
    for channel, how in zip(x, plan.normalisation, strict=True):
        _check_finite(channel, volume.source)
        normalise_(channel, how)
    filters = [_to_network(placement, k, plan.image_order[k]) for k in range(3)]
    return apply_filters(x, filters).numpy(), placement


def preprocess_labels(plan: Plan, labels: Volume, placement: Placement) -> NDArray[Any]:
    """A scan's labels on the network's grid of `placement`.

    A voxel gets the class that fills most of it, so no class can appear that was not there.

    Args:
        labels: (1, x, y, z) native ids on the scan's grid.

    Returns:
        (x, y, z) class indices 0..N-1 in the order of the plan's labels; if the plan has regions,
        (region, x, y, z) uint8, 1 where the region fills more than half of the voxel.

    Raises:
        InputError: another grid than the scan's, values that are no integers or not in the plan.
    """
    if labels.shape != placement.native_shape or labels.array.shape[0] != 1:
        raise InputError(
            f"{labels.source}: shape {labels.array.shape} is not one channel on the grid "
            f"{placement.native_shape} of {placement.source}; resample the labels onto the image"
        )
    ids = placement.crop_of(labels.array[0])
    index = _class_indices(plan, ids, labels.source)
    filters = [_to_network(placement, k, order=1) for k in range(3)]
    if not plan.regions:
        return _resample_classes(index, placement.shape, filters)
    masks = np.zeros((len(plan.regions), *placement.shape), np.uint8)
    for mask, region in zip(masks, plan.regions, strict=True):
        inside = torch.from_numpy(np.isin(ids, region.members).astype(np.float32, order="C"))
        mask[...] = apply_filters(inside[None], filters)[0].numpy() > 0.5
    return masks


@dataclass(frozen=True)
class Restored:
    """A segmentation on the scan's own grid.

    Attributes:
        labels: Native label ids, in the smallest unsigned type that holds the plan's.
        probabilities: Per class (or region), if they were asked for.
    """

    labels: UInt[np.ndarray, "x y z"]
    probabilities: Float16[np.ndarray, "c x y z"] | None = None


class Restorer:
    """Brings class scores from the network's grid to the scan's, in bounded memory.

    Scores are interpolated linearly plane by plane, and each finished plane of the scan is labelled
    at once: two planes of all classes are held, never the volume. How the scores are cut into
    slabs does not change one bit of the result.

    Args:
        probabilities: Keep them too: classes x native size in float16.
    """

    def __init__(self, plan: Plan, placement: Placement, probabilities: bool = False) -> None:
        self.plan = plan
        self.placement = placement
        self._x, self._y, self._z = (
            LinearAxis(placement.crop_positions(k), size) for k, size in enumerate(placement.shape)
        )
        self._needed = np.zeros(placement.shape[0], bool)
        self._needed[self._x.lower] = self._needed[self._x.upper] = True
        ids = np.array([label.id for label in plan.labels])
        self._ids = ids.astype(np.min_scalar_type(int(ids.max())))
        self._labels = placement.blank((), self._ids.dtype)
        self._labels[...] = self._ids[0]
        self._probabilities = None
        if probabilities:
            self._probabilities = placement.blank((plan.out_channels,), np.float16)
            if not plan.regions:
                self._probabilities[0] = 1.0  # outside the crop there is background
        self._seen = 0
        self._written = 0
        self._previous = torch.empty(0)

    def push(self, scores: Scores) -> None:
        """Takes the next n planes along x of the network's grid.

        Args:
            scores: Probabilities in [0, 1] per class (softmax) or region (sigmoid).
        """
        slab = torch.as_tensor(scores).detach()
        x, y, z = self.placement.shape
        have = (slab.shape[0], *slab.shape[2:])
        if have != (self.plan.out_channels, y, z) or self._seen + slab.shape[1] > x:
            raise ValueError(
                f"scores {tuple(slab.shape)} after {self._seen} planes do not fit "
                f"{self.plan.out_channels} classes on the grid {self.placement.shape}"
            )
        for plane in slab.unbind(1):
            if self._needed[self._seen]:
                self._take(plane)
            self._seen += 1

    def _take(self, plane: Num[Tensor, "c y z"]) -> None:
        """Interpolates one plane in y and z, and finishes what lies between it and the last."""
        current = plane.float().cpu().contiguous()
        first, second = sorted(((self._y, 1), (self._z, 2)), key=lambda pair: pair[0].growth)
        for axis, dim in (first, second):
            current = axis.along(current, dim)
        while self._written < len(self._x.upper) and self._x.upper[self._written] == self._seen:
            weight = float(self._x.weight[self._written])
            self._write(torch.lerp(self._previous, current, weight) if weight else current)
            self._written += 1
        self._previous = current

    def _write(self, scores: Float[Tensor, "c y z"]) -> None:
        """Labels the next plane of the crop."""
        plane = self.placement.crop_of(self._labels)[self._written]
        if self.plan.regions:
            for region, probability in zip(self.plan.regions, scores.numpy(), strict=True):
                plane[probability > 0.5] = region.paint
        else:
            plane[...] = self._ids[scores.max(dim=0).indices.numpy()]
        if self._probabilities is not None:
            self.placement.crop_of(self._probabilities)[:, self._written] = scores.half().numpy()

    def finish(self) -> Restored:
        """The result, once all planes were pushed."""
        if self._seen != self.placement.shape[0]:
            raise ValueError(f"{self._seen} of {self.placement.shape[0]} planes were pushed")
        return Restored(self._labels, self._probabilities)


def restore(
    plan: Plan, scores: Scores | Indices, placement: Placement
) -> UInt[np.ndarray, "x2 y2 z2"]:
    """The way back: `Restorer` in one step.

    Args:
        scores: Probabilities (class, x, y, z) as `Restorer.push` takes them, or what
            `preprocess_labels` gives: class indices (x, y, z), or regions (region, x, y, z).

    Returns:
        Native ids (x, y, z) on the scan's grid.
    """
    restorer = Restorer(plan, placement)
    if scores.ndim == 3:
        # Each class as a score of 0 or 1, one plane at a time. Voxels that are half background were
        # given to it by `preprocess_labels`; on the way back they go to the structure, so that a
        # round trip neither shrinks nor grows it.
        classes = torch.arange(len(plan.labels))[:, None, None, None]
        weight = torch.where(classes == 0, 1 - 1e-4, 1.0)
        for plane in torch.as_tensor(scores):
            restorer.push((plane == classes) * weight)
    else:
        restorer.push(torch.as_tensor(scores))
    return restorer.finish().labels


def _to_network(placement: Placement, k: int, order: int) -> Float32[np.ndarray, "_ _"] | None:
    """The filter from the crop to the network's grid along axis `k`; None where they are one."""
    ratio = placement.ratio[k]
    if ratio == 1:
        return None
    start, stop = placement.box[k]
    return filter_matrix(placement.network_positions(k), stop - start, order, ratio)


def _check_finite(channel: Float[Tensor, "x y z"], source: str) -> None:
    """Refuses what would spread from window to window. Files were looked at as they are read; not
    so arrays from elsewhere, nor what only float64 holds."""
    low, high = torch.aminmax(channel)
    if not (torch.isfinite(low) and torch.isfinite(high)):
        raise InputError(
            f"{source}: voxels: some are NaN, infinite or beyond float32; replace them, for "
            "example by the background's value"
        )


def _class_indices(plan: Plan, ids: NDArray[Any], source: str) -> Integer[np.ndarray, "x y z"]:
    """Native ids as 0..N-1."""
    if not np.issubdtype(ids.dtype, np.integer):
        raise InputError(f"{source}: labels are {ids.dtype}, not integers; round and save them so")
    known = [label.id for label in plan.labels]
    dtype = np.uint8 if len(known) <= 256 else np.int16
    table = np.zeros(max(known) + 2, dtype)
    table[known] = np.arange(len(known))
    index: NDArray[Any] = table[ids.clip(0, max(known) + 1)]
    # Background is where the table gives 0: any other id found there is not the plan's.
    strange = np.unique(ids[(index == 0) & (ids != known[0])])
    if len(strange):
        raise InputError(
            f"{source}: label values {', '.join(map(str, strange[:8]))} are not in the plan "
            f"({', '.join(map(str, known))}); correct the file or name them in the data set"
        )
    return index


def _resample_classes(
    index: Integer[np.ndarray, "x y z"],
    shape: tuple[int, int, int],
    filters: list[Float32[np.ndarray, "_ _"] | None],
) -> Integer[np.ndarray, "x2 y2 z2"]:
    """The class that fills most of each new voxel; of equals the first, background foremost."""
    if all(matrix is None for matrix in filters):
        return np.ascontiguousarray(index)
    found = torch.zeros(shape, dtype=torch.from_numpy(index[:0].copy()).dtype)
    best, rest = torch.zeros(shape), torch.ones(shape)
    # Only the box of each class is looked at: organs are small beside the scan.
    for k, box in enumerate(ndimage.find_objects(index.astype(np.int32)), start=1):
        if box is None:
            continue
        parts, cut = zip(*map(_within, filters, box), strict=True)
        inside = torch.from_numpy((index[box] == k).astype(np.float32, order="C"))
        share = apply_filters(inside[None], parts)[0]
        wins = share > best[cut]
        best[cut] = torch.where(wins, share, best[cut])
        found[cut] = found[cut].masked_fill(wins, k)
        rest[cut] -= share
    # Rounding must not decide between halves.
    return found.masked_fill_(rest >= best - 1e-5, 0).numpy()


def _within(
    matrix: Float32[np.ndarray, "_ _"] | None, box: slice
) -> tuple[Float32[np.ndarray, "_ _"] | None, slice]:
    """The part of a filter that sees the samples of `box`, and the new voxels it reaches."""
    if matrix is None:
        return None, box
    rows = np.flatnonzero(matrix[:, box].any(axis=1))
    cut = slice(int(rows[0]), int(rows[-1]) + 1) if len(rows) else slice(0, 0)
    return np.ascontiguousarray(matrix[cut, box]), cut
