"""Interpolation along one axis at a time: what resampling is when two grids share their axes.

A filter is a (to, from) matrix per axis, so that applying it is a matrix product, which is what
the machine does best; an image of 512 x 512 x 160 takes well under a second.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64
from numpy.typing import NDArray
from torch import Tensor

# Half-width of each kernel in voxels, by order.
_REACH = {0: 0.5, 1: 1.0, 3: 2.0}
_PART_VOXELS = 2**20


def filter_matrix(
    positions: Float64[np.ndarray, "to"], size: int, order: int, shrink: float = 1.0
) -> Float32[np.ndarray, "to {size}"]:
    """Weights that give the values at `positions` from `size` samples at 0, 1, ..., size - 1.

    Beyond its ends a line goes on with its last value.

    Args:
        order: 0 nearest, 1 linear, 3 cubic convolution (Keys, IEEE TASSP 29(6), 1981, a = -1/2).
        shrink: New voxel size over old. Above 1 the interpolated line is averaged over a stretch
            around each position, so that nothing finer than the new grid is left to alias. Its
            width sqrt(shrink^2 - 1) adds what the new voxel's spread lacks: none at 1, all of the
            voxel far above. A mean over a symmetric stretch displaces nothing.
    """
    width = math.sqrt(max(1.0, shrink) ** 2 - 1)
    steps = 2 * math.ceil(4 * width) + 1
    offsets = (np.arange(steps) - (steps - 1) / 2) * (width / steps)
    matrix = np.zeros((len(positions), size))
    for offset in offsets:
        _add_weights(matrix, positions + offset, order)
    return (matrix / steps).astype(np.float32)


def _add_weights(
    matrix: Float64[np.ndarray, "to from"], positions: Float64[np.ndarray, "to"], order: int
) -> None:
    rows = np.arange(len(positions))
    nearest = np.floor(positions + 0.5).astype(np.int64)
    reach = math.ceil(_REACH[order])
    for sample in range(-reach, reach + 1):
        weight = _kernel(positions - (nearest + sample), order)
        matrix[rows, (nearest + sample).clip(0, matrix.shape[1] - 1)] += weight


def _kernel(distance: NDArray[np.float64], order: int) -> NDArray[np.float64]:
    away = np.abs(distance)
    if order == 0:
        # Half open, so that a position midway between two samples takes one of them, not both.
        return ((distance >= -0.5) & (distance < 0.5)).astype(np.float64)
    if order == 1:
        return np.maximum(0.0, 1.0 - away)
    near = (1.5 * away - 2.5) * away**2 + 1.0
    far = ((-0.5 * away + 2.5) * away - 4.0) * away + 2.0
    return np.where(away < 1, near, np.where(away < 2, far, 0.0))


def apply_filters(
    x: Float[Tensor, "c x1 y1 z1"], filters: Sequence[Float32[np.ndarray, "_ _"] | None]
) -> Float[Tensor, "c x2 y2 z2"]:
    """Applies a filter along each of x, y, z (None leaves an axis as it is), cheapest first."""
    growth = [1.0 if matrix is None else matrix.shape[0] / matrix.shape[1] for matrix in filters]
    for axis in np.argsort(growth, kind="stable"):
        matrix = filters[axis]
        if matrix is not None:
            x = _filtered(x, torch.from_numpy(matrix), int(axis))
    return x.contiguous()


def _filtered(
    x: Float[Tensor, "c x1 y1 z1"], matrix: Float32[Tensor, "to from"], axis: int
) -> Float[Tensor, "c x2 y2 z2"]:
    """Part by part along another axis: the product lays its operand out anew, and a copy of all of
    a large scan would not fit beside it."""
    size = list(x.shape)
    size[axis + 1] = len(matrix)
    found = x.new_empty(size)
    letter = "xyz"[axis]
    rule = f"o{letter},cxyz->c{'xyz'.replace(letter, 'o')}"
    slowest = max({1, 2, 3} - {axis + 1}, key=x.stride)
    planes = max(1, _PART_VOXELS * x.shape[slowest] // max(1, x.numel()))
    parts = (torch.split(each, planes, slowest) for each in (x, found))
    for part, to in zip(*parts, strict=True):
        to.copy_(torch.einsum(rule, matrix, part))
    return found


class LinearAxis:
    """Linear interpolation along one axis by its two neighbours, for positions that only rise.

    Attributes:
        lower: Sample at or before each position; `upper`: at or after it; `weight`: of `upper`.
        trivial: The positions are the samples.
    """

    def __init__(self, positions: Float64[np.ndarray, "to"], size: int) -> None:
        # 1e-6 of a voxel is rounding of the positions: a sample's own place gives the sample.
        held = positions.clip(0, size - 1)
        held = np.where(np.abs(held - held.round()) < 1e-6, held.round(), held)
        self.lower: NDArray[np.int64] = np.floor(held).astype(np.int64)
        self.upper: NDArray[np.int64] = np.ceil(held).astype(np.int64)
        self.weight: NDArray[np.float32] = (held - self.lower).astype(np.float32)
        self.trivial = len(held) == size and bool((held == np.arange(size)).all())
        self.growth = len(held) / size

    def along(self, x: Float[Tensor, "..."], dim: int) -> Float[Tensor, "..."]:
        """`x` interpolated along dimension `dim`."""
        if self.trivial:
            return x
        weight = torch.from_numpy(self.weight).reshape(-1, *[1] * (x.ndim - 1 - dim))
        lower = x.index_select(dim, torch.from_numpy(self.lower))
        return lower.lerp_(x.index_select(dim, torch.from_numpy(self.upper)), weight)
