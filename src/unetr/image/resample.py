"""A volume on another grid, wherever both lie in space."""

from dataclasses import replace
from typing import Literal

import numpy as np
from jaxtyping import Float64, Num, Shaped
from numpy.typing import NDArray
from scipy import ndimage

from unetr.image.volume import Volume

Order = Literal[0, 1, 3]
# Steps between samples from which on they would miss what lies between them.
_SHRINKS = 1.5


def resample_image(
    volume: Volume,
    affine: Float64[np.ndarray, "4 4"],
    shape: tuple[int, int, int],
    order: Order = 1,
    outside: float = 0.0,
) -> Volume:
    """The scan's intensities at the voxel centres of another grid.

    Args:
        affine: Of the new grid, voxel index to RAS+ millimetres; it may turn, flip and shear.
        order: 0 nearest, 1 linear, 3 cubic spline.
        outside: Value beyond the scan, which ends half a voxel after its outermost centres.

    Returns:
        (channel, *shape) float32; smoothed before where the new voxels are much larger.
    """
    matrix = np.linalg.inv(volume.affine) @ affine
    array = np.empty((volume.array.shape[0], *shape), np.float32)
    beyond = _beyond(matrix, volume.shape, shape)
    for new, old in zip(array, volume.array, strict=True):
        source = old.astype(np.float32)
        if order:
            source = ndimage.gaussian_filter(source, _blur(matrix), mode="nearest", truncate=3)
        new[...] = _sample(source, matrix, shape, order)
        if beyond is not None:
            new[beyond] = outside
    return replace(volume, array=array, affine=np.array(affine), header=None)


def resample_labels(
    volume: Volume, affine: Float64[np.ndarray, "4 4"], shape: tuple[int, int, int]
) -> Volume:
    """Labels on another grid: each voxel gets the label that fills most of it.

    No label can appear that was not there. Beyond the scan there is background.

    Args:
        volume: (1, x, y, z) integers.
        affine: Of the new grid, voxel index to RAS+ millimetres.
    """
    matrix = np.linalg.inv(volume.affine) @ affine
    labels = volume.array[0]
    found = np.zeros(shape, labels.dtype)
    best = np.zeros(shape, np.float32)
    for value in np.unique(labels):
        # Background comes first and wins where all are equal.
        inside = (labels == value).astype(np.float32)
        smooth = ndimage.gaussian_filter(inside, _blur(matrix), mode="nearest", truncate=3)
        share = _sample(smooth, matrix, shape, 1)
        wins = share > best + 1e-5
        found[wins], best[wins] = value, share[wins]
    beyond = _beyond(matrix, volume.shape, shape)
    if beyond is not None:
        found[beyond] = 0
    return replace(volume, array=found[None], affine=np.array(affine), header=None)


def _sample(
    source: Num[np.ndarray, "a b c"],
    matrix: NDArray[np.float64],
    shape: tuple[int, int, int],
    order: int,
) -> NDArray[np.float32]:
    sampled: NDArray[np.float32] = ndimage.affine_transform(
        source, matrix[:3, :3], matrix[:3, 3], shape, np.float32, order=order, mode="nearest"
    )
    return sampled


def _blur(matrix: Float64[np.ndarray, "4 4"]) -> list[float]:
    """Standard deviation in old voxels per old axis: half of what a new voxel has more."""
    steps = np.abs(matrix[:3, :3]).max(axis=1)
    return [(step - 1) / 2 if step > _SHRINKS else 0.0 for step in steps]


def _beyond(
    matrix: Float64[np.ndarray, "4 4"], old: tuple[int, int, int], new: tuple[int, int, int]
) -> Shaped[np.ndarray, "x y z"] | None:
    """Which new voxels have their centre outside of the old ones; None if none has."""
    corners = np.stack(np.meshgrid(*[[0, n - 1] for n in new], indexing="ij"), -1).reshape(-1, 3)
    places = corners @ matrix[:3, :3].T + matrix[:3, 3]
    limit = np.array(old) - 0.5
    if (places >= -0.5).all() and (places <= limit).all():
        return None
    outside = np.zeros(new, bool)
    axes = [np.arange(n, dtype=np.float32) for n in new]
    for row, most in zip(matrix[:3], limit, strict=True):
        place = (
            row[0] * axes[0][:, None, None]
            + row[1] * axes[1][None, :, None]
            + row[2] * axes[2][None, None, :]
            + row[3]
        )
        outside |= (place < -0.5) | (place > most)
    return outside
