"""Where in a volume the masks lie, and whether two of them can be compared."""

from collections.abc import Collection, Iterable, Sequence

import numpy as np
from jaxtyping import Bool, Integer, Shaped
from scipy import ndimage

from unetr.errors import InputError

Box = tuple[slice, slice, slice]
NOWHERE: Box = (slice(0, 0), slice(0, 0), slice(0, 0))


def check_same_shape(
    prediction: Shaped[np.ndarray, "..."], reference: Shaped[np.ndarray, "..."]
) -> None:
    """Raises InputError where the two are not on one grid."""
    if prediction.shape != reference.shape:
        raise InputError(
            f"prediction and reference: shapes {prediction.shape} and {reference.shape} differ; "
            "bring both onto one grid"
        )


def as_masks(
    prediction: Shaped[np.ndarray, "x y z"], reference: Shaped[np.ndarray, "_ _ _"]
) -> tuple[Bool[np.ndarray, "x y z"], Bool[np.ndarray, "x y z"]]:
    """Both as booleans: what is not 0 belongs to the structure.

    Raises:
        InputError: the two are not on one grid.
    """
    check_same_shape(prediction, reference)
    return np.asarray(prediction, bool), np.asarray(reference, bool)


def check_spacing(spacing_mm: Sequence[float]) -> None:
    """Raises InputError unless there are three positive, finite distances."""
    spacing = np.asarray(spacing_mm, dtype=float)
    if spacing.shape != (3,) or not np.isfinite(spacing).all() or (spacing <= 0).any():
        raise InputError(f"spacing_mm: {tuple(spacing_mm)} is not three distances above 0; give mm")


def box_of(mask: Shaped[np.ndarray, "x y z"]) -> Box:
    """The smallest box around all that is not 0; NOWHERE without any."""
    box = []
    for axis in range(3):
        filled = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        if not len(filled):
            return NOWHERE
        box.append(slice(int(filled[0]), int(filled[-1]) + 1))
    return box[0], box[1], box[2]


def label_boxes(labels: Integer[np.ndarray, "x y z"], ids: Collection[int]) -> dict[int, Box]:
    """The smallest box around each of these labels, all found in one pass."""
    # The pass keeps a place for every number up to the greatest.
    passed = [label for label in ids if 0 < label <= np.iinfo(np.uint16).max]
    found = {label: box_of(labels == label) for label in set(ids).difference(passed)}
    if passed:
        inside = box_of(labels != 0)
        # It goes along memory.
        turned = labels.strides[0] < labels.strides[-1]
        part = labels[inside].T if turned else labels[inside]
        places = ndimage.find_objects(part, max_label=max(passed))
        for label in passed:
            place = places[label - 1]
            found[label] = _moved(place[::-1] if turned else place, inside) if place else NOWHERE
    return found


def union(boxes: Iterable[Box]) -> Box:
    """The smallest box around all."""
    ends = np.array([[(s.start, s.stop) for s in box] for box in boxes if box != NOWHERE])
    if not len(ends):
        return NOWHERE
    low, high = ends[..., 0].min(axis=0).tolist(), ends[..., 1].max(axis=0).tolist()
    return slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2])


def _moved(box: Box, inside: Box) -> Box:
    """A box found within another, in the whole volume."""
    x, y, z = (
        slice(start.start + side.start, start.start + side.stop)
        for start, side in zip(inside, box, strict=True)
    )
    return x, y, z
