"""Chooses the network's grid in a scan by the plan's orientation, crop rule and spacing."""

import math
from collections.abc import Sequence
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from unetr.data.grid import Box, Placement, reorient
from unetr.data.plan import Crop, Plan
from unetr.image.volume import Volume

# A scan within 1% of the plan's spacing is taken as it is: no network sees that difference, but
# resampling would blur the scan and its labels.
SPACING_TOLERANCE = 0.01


def place(plan: Plan, volume: Volume) -> Placement:
    """Lays the network's grid into a scan by the plan's orientation, crop and spacing."""
    wanted = nib.orientations.axcodes2ornt(tuple(plan.orientation))
    change = nib.orientations.ornt_transform(nib.io_orientation(volume.affine), wanted)
    # `change[native axis]` is (network axis, sign).
    by_axis = np.argsort(change[:, 0])
    x, y, z = (int(axis) for axis in by_axis)
    fx, fy, fz = (bool(sign < 0) for sign in change[by_axis, 1])
    axes, flips = (x, y, z), (fx, fy, fz)
    spacing_mm = tuple(volume.spacing_mm[axis] for axis in axes)
    box = _crop_box(plan.crop, reorient(volume.array, axes, flips), spacing_mm)
    fitted = [
        _fit(stop - start, has, want)
        for (start, stop), has, want in zip(box, spacing_mm, plan.spacing_mm, strict=True)
    ]
    (nx, rx), (ny, ry), (nz, rz) = fitted
    a, b, c, d = ((float(p), float(q), float(r), float(s)) for p, q, r, s in volume.affine)
    return Placement(
        native_shape=volume.shape,
        native_affine=(a, b, c, d),
        axes=axes,
        flips=flips,
        box=box,
        shape=(nx, ny, nz),
        ratio=(rx, ry, rz),
        source=volume.source,
    )


def _fit(size: int, has_mm: float, want_mm: float) -> tuple[int, float]:
    """Voxels of the new grid over `size` old ones, and new voxel size over old."""
    ratio = want_mm / has_mm
    if abs(ratio - 1) <= SPACING_TOLERANCE:
        return size, 1.0
    # A thousandth of a voxel is rounding in the header, not a reason for one more voxel.
    return max(1, math.ceil(size / ratio - 1e-3)), ratio


def _crop_box(crop: Crop, array: NDArray[Any], spacing_mm: Sequence[float]) -> Box:
    """The box of the rule, grown by its margin; the whole scan where the rule finds nothing."""
    sizes = array.shape[1:]
    box = [(0, size) for size in sizes]
    if crop.kind != "none":
        inside = array[0] > crop.threshold if crop.kind == "above" else (array != 0).any(axis=0)
        for k in range(3):
            hit = np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {k})))
            if len(hit):
                margin = math.ceil(crop.margin_mm / spacing_mm[k])
                start, stop = int(hit[0]) - margin, int(hit[-1]) + 1 + margin
                box[k] = (max(0, start), min(sizes[k], stop))
    x, y, z = box
    return x, y, z
