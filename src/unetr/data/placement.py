"""Where the network's grid lies in a scan: axes, crop and spacing, and the way back."""

import math
from collections.abc import Sequence
from typing import Any

import nibabel as nib
import numpy as np
import torch
from jaxtyping import Float, Float32, Float64
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from unetr.data.interpolation import apply_filters, filter_matrix
from unetr.data.plan import Crop, Plan
from unetr.image.volume import Volume
from unetr.metrics.masks import NOWHERE, box_of

# A scan within 1% of the plan's spacing is taken as it is: no network sees that difference, but
# resampling would blur the scan and its labels.
SPACING_TOLERANCE = 0.01

_Row = tuple[float, float, float, float]
Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


class Placement(BaseModel):
    """How the network's grid lies in one scan. Plain numbers: `model_dump_json` keeps all of it.

    The network's axes are the scan's own, permuted and flipped to the plan's orientation, so an
    oblique scan stays oblique. Its grid has the crop's centre for centre, so that a mirrored scan
    gives mirrored input, and reaches at least to the centres of the crop's outermost voxels.

    Attributes:
        axes: The scan's axis that each network axis runs along.
        flips: Whether the network axis runs against it.
        box: Crop, [start, stop) per network axis, in voxels of the reoriented scan.
        shape: Voxels of the network's grid.
        ratio: Network voxel size over scan voxel size, per network axis; 1 is not resampled.
        source: The scan, for messages.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    native_shape: tuple[int, int, int]
    native_affine: tuple[_Row, _Row, _Row, _Row]
    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    box: Box
    shape: tuple[int, int, int]
    ratio: tuple[float, float, float]
    source: str

    @property
    def affine(self) -> Float64[np.ndarray, "4 4"]:
        """Network voxel index to millimetres in RAS+ patient space."""
        to_native = np.zeros((4, 4))
        to_native[3, 3] = 1.0
        for k, (axis, flip, ratio) in enumerate(
            zip(self.axes, self.flips, self.ratio, strict=True)
        ):
            start = self.box[k][0] + self.network_positions(k)[0]
            to_native[axis, k] = -ratio if flip else ratio
            to_native[axis, 3] = self.native_shape[axis] - 1 - start if flip else start
        affine: NDArray[np.float64] = np.array(self.native_affine) @ to_native
        return affine

    def network_positions(self, k: int) -> Float64[np.ndarray, "to"]:
        """Where the network's voxels lie on axis `k`, in voxels of the crop."""
        start, stop = self.box[k]
        from_centre = np.arange(self.shape[k]) - (self.shape[k] - 1) / 2
        return from_centre * self.ratio[k] + (stop - start - 1) / 2

    def crop_positions(self, k: int) -> Float64[np.ndarray, "to"]:
        """Where the crop's voxels lie on axis `k`, in voxels of the network's grid."""
        start, stop = self.box[k]
        from_centre = np.arange(stop - start) - (stop - start - 1) / 2
        return from_centre / self.ratio[k] + (self.shape[k] - 1) / 2

    def crop_of(self, array: NDArray[Any]) -> NDArray[Any]:
        """The reoriented crop, a view, of an array (..., x, y, z) on the scan's grid."""
        x, y, z = (slice(start, stop) for start, stop in self.box)
        return reorient(array, self.axes, self.flips)[..., x, y, z]

    def blank(self, channels: Sequence[int], dtype: Any) -> NDArray[Any]:
        """Zeros (*channels, x, y, z) on the scan's grid, laid out in memory as the network's.

        What comes plane by plane from the network is then written in one piece.
        """
        n = len(channels)
        laid = np.zeros((*channels, *(self.native_shape[axis] for axis in self.axes)), dtype)
        return laid.transpose(*range(n), *(n + i for i in np.argsort(self.axes)))

    def restore_map(self, x: Float[np.ndarray, "c x y z"]) -> Float32[np.ndarray, "c x2 y2 z2"]:
        """Any continuous map on the network's grid, on the scan's: linear; 0 outside the crop."""
        filters = [
            None
            if self.ratio[k] == 1
            else filter_matrix(self.crop_positions(k).clip(0, n - 1), n, order=1)
            for k, n in enumerate(self.shape)
        ]
        native = self.blank((len(x),), np.float32)
        found = apply_filters(torch.from_numpy(np.ascontiguousarray(x, np.float32)), filters)
        self.crop_of(native)[...] = found.numpy()
        return native


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
    found = NOWHERE
    if crop.kind != "none":
        inside = array[0] > crop.threshold if crop.kind == "above" else (array != 0).any(axis=0)
        found = box_of(inside)
    if found == NOWHERE:
        found = (slice(0, array.shape[1]), slice(0, array.shape[2]), slice(0, array.shape[3]))
    margins = [math.ceil(crop.margin_mm / side_mm) for side_mm in spacing_mm]
    x, y, z = (
        (max(0, side.start - margin), min(size, side.stop + margin))
        for side, margin, size in zip(found, margins, array.shape[1:], strict=True)
    )
    return x, y, z


def reorient(
    array: NDArray[Any], axes: tuple[int, int, int], flips: tuple[bool, bool, bool]
) -> NDArray[Any]:
    """A view of an array (..., x, y, z) with permuted, then flipped spatial axes."""
    n = array.ndim - 3
    turned = array.transpose(*range(n), *(n + axis for axis in axes))
    x, y, z = (slice(None, None, -1 if flip else None) for flip in flips)
    return turned[..., x, y, z]
