"""Augmentation in space: patches cut flipped, turned by quarters, rotated and scaled.

Rotation and scale read the patch straight from the scan through one affine grid, so that its
corners show the scan; MONAI's RandAffined pads (benchmarks/augmentation.py prints what both take).
MONAI's flips and quarter turns are the tests' oracle.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Shaped
from torch import Tensor
from torch.nn import functional as F

from unetr.data.plan import Plan
from unetr.training.intensity import change_intensity, other_structures
from unetr.training.recipe import Augmentation
from unetr.training.sampling import Starts, TrainingCase, cut

_THICK = 3.0
"""Spacing ratio from which slices count as thick, as in the plan (nnU-Net's)."""


def augmented_patch(
    case: TrainingCase,
    start: Starts,
    plan: Plan,
    augmentation: Augmentation,
    rng: np.random.Generator,
) -> tuple[Float[Tensor, "c x y z"], Shaped[Tensor, "*r x y z"]]:
    """The patch from `start` on, changed as the recipe says; image and labels alike in space."""
    matrix = draw_affine(plan.spacing_mm, augmentation, rng)
    if matrix is None:
        image = torch.from_numpy(cut(case.image, start, plan.patch_voxels))
        labels = torch.from_numpy(cut(case.labels, start, plan.patch_voxels))
    else:
        image, labels = affine_patch(case, start, plan.patch_voxels, matrix)
    axes = plan.mirror_axes if augmentation.flip_axes == "plan" else (0, 1, 2)
    flips = [axis - 3 for axis in axes if rng.random() < augmentation.flip_p]
    if flips:
        image, labels = image.flip(flips), labels.flip(flips)
    if rng.random() < augmentation.rot90_p and (
        planes := square_planes(plan, augmentation.rot90_planes)
    ):
        plane = planes[rng.integers(len(planes))]
        turns = int(rng.integers(1, 4))
        image, labels = image.rot90(turns, plane), labels.rot90(turns, plane)
    # Drawn in any case, so that the plan does not change what others draw; `plan` has become a
    # number when a run begins.
    often = 0.0 if augmentation.structure_p == "plan" else augmentation.structure_p
    if rng.random() < often and not plan.calibrated:
        image = other_structures(image, labels, augmentation.structure, rng)
    return change_intensity(image, augmentation, rng, plan.calibrated), labels.contiguous()


def square_planes(plan: Plan, planes: Literal["all", "axial"] = "all") -> list[tuple[int, int]]:
    """Pairs of axes, counted from the last, between which a quarter turn keeps the grid."""
    pairs = ((0, 1), (0, 2), (1, 2)) if planes == "all" else ((0, 1),)
    same = [
        (a, b)
        for a, b in pairs
        if plan.patch_voxels[a] == plan.patch_voxels[b]
        and abs(plan.spacing_mm[a] - plan.spacing_mm[b]) < 0.01 * plan.spacing_mm[a]
    ]
    return [(a - 3, b - 3) for a, b in same]


def draw_affine(
    spacing_mm: Sequence[float], augmentation: Augmentation, rng: np.random.Generator
) -> Float[np.ndarray, "3 3"] | None:
    """Rotation and scale drawn as the recipe says: voxel offsets in the patch to those in the scan.

    The rotation is one in millimetres. Where one axis is thick, it is about that axis alone:
    others would mix slices that have little in common.

    Returns:
        None where nothing is to be done.
    """
    # Always the same number of draws, so that one setting does not change what others draw.
    angles = np.deg2rad(augmentation.rotate_degrees) * rng.uniform(-1, 1, 3)
    stretch = np.log1p(augmentation.scale) * rng.uniform(-1, 1)
    rotate, scale = rng.random(2) < (augmentation.rotate_p, augmentation.scale_p)
    if not rotate and not scale:
        return None
    spacing = np.asarray(spacing_mm)
    thick = int(spacing.argmax())
    if spacing[thick] > _THICK * np.delete(spacing, thick).max():
        angles[np.arange(3) != thick] = 0
    turn = rotation(angles) if rotate else np.eye(3)
    matrix: Float[np.ndarray, "3 3"] = turn * spacing[None] / spacing[:, None]
    return matrix * (np.exp(stretch) if scale else 1.0)


def rotation(angles: Float[np.ndarray, " 3"]) -> Float[np.ndarray, "3 3"]:
    """Rotation by angles in radians about x, then y, then z."""
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = [k for k in range(3) if k != axis]
        about = np.eye(3)
        about[a, a] = about[b, b] = np.cos(angle)
        about[a, b], about[b, a] = -np.sin(angle), np.sin(angle)
        matrix = about @ matrix
    return matrix


def affine_patch(
    case: TrainingCase,
    start: Starts,
    patch_voxels: Sequence[int],
    matrix: Float[np.ndarray, "3 3"],
) -> tuple[Float32[Tensor, "c x y z"], Shaped[Tensor, "*r x y z"]]:
    """The patch about the same centre, its voxel offsets mapped by `matrix` into the scan.

    Image and labels are interpolated linearly. Only the box that the mapped patch needs is read.
    """
    patch = np.asarray(patch_voxels)
    centre = np.asarray(start) + (patch - 1) / 2
    reach = np.abs(matrix) @ (patch / 2) + 1
    first = np.floor(centre - reach).astype(int)
    size = np.ceil(centre + reach).astype(int) - first + 1
    image = torch.from_numpy(cut(case.image, first.tolist(), size.tolist()))
    labels = torch.from_numpy(cut(case.labels, first.tolist(), size.tolist()))
    # Coordinates of grid_sample run from -1 to 1 between the outer faces of the voxels.
    linear = matrix * (patch / 2)[None] * (2 / size)[:, None]
    shift = (centre - first - (size - 1) / 2) * 2 / size
    grid = affine_grid(linear, shift, patch_voxels)[None]
    image = F.grid_sample(image[None], grid, mode="bilinear", align_corners=False)[0]
    return image, labels_at(labels, grid)


def labels_at(
    labels: Shaped[Tensor, "*r x y z"], grid: Float32[Tensor, "1 x2 y2 z2 3"]
) -> Shaped[Tensor, "*r x2 y2 z2"]:
    """Labels read between voxels: the one with the largest share by linear interpolation.

    So outlines stay as smooth as they were, where the nearest neighbour makes steps. The same as
    interpolating a mask of each class and taking the largest, at a cost that does not grow with the
    number of classes. Of a region's mask it is what has half a share or more.
    """
    if labels.ndim > 3:
        shares = F.grid_sample(labels.float()[None], grid, mode="bilinear", align_corners=False)[0]
        return (shares >= 0.5).to(labels.dtype)
    sizes, strides = labels.shape, labels.contiguous().stride()
    places = [grid[0, ..., 2 - k].flatten() * (n / 2) + (n - 1) / 2 for k, n in enumerate(sizes)]
    lower = [at.long().clamp_(0, n - 2) for at, n in zip(places, sizes, strict=True)]
    first = lower[0] * strides[0] + lower[1] * strides[1] + lower[2]
    found = labels.flatten()[first]
    # Most voxels have one label all around.
    mixed = (~_uniform(labels)).flatten()[first].nonzero()[:, 0]
    x, y, z = (
        torch.stack([1 - part, part])
        for part in ((at - low)[mixed] for at, low in zip(places, lower, strict=True))
    )
    weights = (x[:, None, None] * y[:, None] * z).flatten(0, 2)
    corners = torch.cartesian_prod(*[torch.arange(2)] * 3) @ torch.tensor(strides)
    around = labels.flatten()[first[mixed] + corners[:, None]]
    shares = torch.stack([(weights * (around == one)).sum(0) for one in around])
    found[mixed] = around.gather(0, shares.argmax(0, keepdim=True))[0]
    return found.reshape(grid.shape[1:4])


def _uniform(labels: Shaped[Tensor, "x y z"]) -> Bool[Tensor, "x y z"]:
    """Whether a voxel has the label of the seven that follow it along the axes."""
    same = torch.ones_like(labels, dtype=torch.bool)
    for axis in range(3):
        # Of lines, then faces, then cubes.
        n = labels.shape[axis] - 1
        low, high = (labels.narrow(axis, start, n) for start in (0, 1))
        follows = same.narrow(axis, 1, n).clone()
        same.narrow(axis, 0, n).logical_and_(low == high).logical_and_(follows)
    return same


def affine_grid(
    linear: Float[np.ndarray, "3 3"], shift: Float[np.ndarray, " 3"], size: Sequence[int]
) -> Float32[Tensor, "x y z 3"]:
    """As torch's, which multiplies a matrix for each voxel where sums of three lines suffice."""
    # grid_sample counts axes from the last.
    columns = torch.from_numpy(linear[::-1].T.astype(np.float32))
    lines = [(2 * torch.arange(n) + 1)[:, None] / n - 1 for n in size]
    x, y, z = (line * column for line, column in zip(lines, columns, strict=True))
    z = z + torch.from_numpy(shift[::-1].astype(np.float32))
    grid: Tensor = x[:, None, None] + (y[:, None] + z)
    return grid
