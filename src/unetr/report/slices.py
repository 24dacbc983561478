"""One case around one structure, cut along the patient's three axes."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
from contourpy import contour_generator
from jaxtyping import Bool, Float32, Shaped
from matplotlib.image import imsave
from numpy.typing import NDArray

from unetr.evaluation.matching import Pair
from unetr.image import (
    Volume,
    read_image,
    read_labels,
    resample_image,
    resample_labels,
    same_grid,
)
from unetr.metrics.masks import box_of

# Name, the axis that is cut, and what lies to the left and at the top, of R A S to L P I.
_VIEWS = (("axial", 2, "R", "A"), ("coronal", 1, "R", "S"), ("sagittal", 0, "A", "S"))
_LEAST_MARGIN_MM = 10.0
_MARGIN = 0.4
# More would not show on a page.
_MOST_PIXELS = 320


@dataclass(frozen=True)
class Slice:
    """What is drawn: an image, if there is one, and outlines over it, in mm from the top left.

    Attributes:
        left, top: The patient's side there: R, A, S.
        image: A PNG as data: address; empty where there is no scan.
        prediction, reference: Paths of SVG.
    """

    view: str
    left: str
    top: str
    width_mm: float
    height_mm: float
    image: str
    prediction: str
    reference: str


@dataclass(frozen=True, eq=False)
class Shown:
    """A case turned so that x runs to the right, y to the front, z up, as far as axes allow."""

    prediction: NDArray[Any]
    reference: NDArray[Any]
    image: NDArray[Any] | None
    spacing_mm: tuple[float, float, float]


def read_shown(pair: Pair) -> Shown:
    """Reads a case; everything is brought onto the reference's grid.

    Raises:
        InputError: a file cannot be read.
    """
    reference, prediction = read_labels(pair.reference), read_labels(pair.prediction)
    if same_grid(reference, prediction):
        prediction = resample_labels(prediction, reference.affine, reference.shape)
    image = None
    if pair.images:
        image = read_image(pair.images[0])
        if same_grid(reference, image):
            image = resample_image(image, reference.affine, reference.shape)
    turn = nib.orientations.io_orientation(reference.affine)
    x, y, z = np.array(reference.spacing_mm)[np.argsort(turn[:, 0])].tolist()
    return Shown(
        _turned(prediction, turn),
        _turned(reference, turn),
        None if image is None else _turned(image, turn),
        (x, y, z),
    )


def _turned(volume: Volume, turn: NDArray[Any]) -> NDArray[Any]:
    turned: NDArray[Any] = nib.orientations.apply_orientation(volume.array[0], turn)
    return turned


def slices(shown: Shown, members: Sequence[int]) -> list[Slice]:
    """Axial, coronal and sagittal, each where the reference (else the prediction) is largest."""
    prediction, reference = np.isin(shown.prediction, members), np.isin(shown.reference, members)
    through = reference if reference.any() else prediction
    at = [int(np.argmax(through.sum(axis=tuple({0, 1, 2} - {axis})))) for axis in range(3)]
    box = _around(prediction | reference, shown.spacing_mm)
    image = None if shown.image is None else _grey(shown.image[box])
    views = []
    for view, axis, left, top in _VIEWS:
        cut: list[Any] = [slice(None)] * 3
        cut[axis] = at[axis] - box[axis].start
        sides = [shown.spacing_mm[other] for other in range(3) if other != axis]
        masks = [_laid(mask[box][tuple(cut)]) for mask in (prediction, reference)]
        height, width = masks[0].shape
        views.append(
            Slice(
                view,
                left,
                top,
                float(f"{width * sides[0]:.5g}"),
                float(f"{height * sides[1]:.5g}"),
                "" if image is None else png_address(_laid(image[tuple(cut)])),
                *(outline(mask, sides[0], sides[1]) for mask in masks),
            )
        )
    return views


def _around(
    mask: Bool[np.ndarray, "x y z"], spacing_mm: Sequence[float]
) -> tuple[slice, slice, slice]:
    """The mask's box and what lies around it."""
    box = []
    for size, filled, side_mm in zip(mask.shape, box_of(mask), spacing_mm, strict=True):
        margin_mm = max(_LEAST_MARGIN_MM, _MARGIN * (filled.stop - filled.start) * side_mm)
        margin = round(margin_mm / side_mm)
        box.append(slice(max(0, filled.start - margin), min(size, filled.stop + margin)))
    return box[0], box[1], box[2]


def _grey(image: Shaped[np.ndarray, "x y z"]) -> Float32[np.ndarray, "x y z"]:
    """The box's intensities, its 1st to 99th percentile as 0 to 1."""
    low, high = np.percentile(image, (1, 99))
    grey = (image.astype(np.float32) - low) / max(float(high - low), 1e-6)
    shown: NDArray[np.float32] = np.clip(grey, 0, 1).astype(np.float32)
    return shown


def _laid(plane: NDArray[Any]) -> NDArray[Any]:
    """(row, column) with the patient's right or front at the left, front or head at the top."""
    laid: NDArray[Any] = plane[::-1, ::-1].T
    return laid


def png_address(grey: Float32[np.ndarray, "rows columns"]) -> str:
    """A PNG inside of an address."""
    step = -(-max(grey.shape) // _MOST_PIXELS)
    held = io.BytesIO()
    imsave(held, grey[::step, ::step], cmap="gray", vmin=0, vmax=1, format="png")
    return "data:image/png;base64," + base64.b64encode(held.getvalue()).decode()


def outline(mask: Bool[np.ndarray, "rows columns"], width_mm: float, height_mm: float) -> str:
    """The mask's contours as an SVG path in mm; a voxel's corner is cut, its sides are exact.

    Args:
        width_mm, height_mm: Of a voxel.
    """
    if not mask.any():
        return ""
    padded = np.pad(mask, 1).astype(np.float32)
    x = (np.arange(padded.shape[1]) - 0.5) * width_mm
    y = (np.arange(padded.shape[0]) - 0.5) * height_mm
    parts = []
    for line in contour_generator(x, y, padded).lines(0.5):
        points = " ".join(f"{column:.5g},{row:.5g}" for column, row in np.asarray(line)[:-1])
        parts.append(f"M{points}Z")
    return "".join(parts)
