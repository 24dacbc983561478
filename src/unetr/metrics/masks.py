"""Where in a volume the masks lie, and whether two of them can be compared."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Shaped

from unetr.errors import InputError

Box = tuple[slice, slice, slice]


def check_same_shape(
    prediction: Shaped[np.ndarray, "..."], reference: Shaped[np.ndarray, "..."]
) -> None:
    """Raises InputError where the two are not on one grid."""
    if prediction.shape != reference.shape:
        raise InputError(
            f"prediction and reference: shapes {prediction.shape} and {reference.shape} differ; "
            "bring both onto one grid"
        )


def check_spacing(spacing_mm: Sequence[float]) -> None:
    """Raises InputError unless there are three positive, finite distances."""
    spacing = np.asarray(spacing_mm, dtype=float)
    if spacing.shape != (3,) or not np.isfinite(spacing).all() or (spacing <= 0).any():
        raise InputError(f"spacing_mm: {tuple(spacing_mm)} is not three distances above 0; give mm")


def box_of(mask: Bool[np.ndarray, "x y z"]) -> Box | None:
    """The smallest box around the mask; None where it is empty."""
    box = []
    for axis in range(3):
        filled = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        if not len(filled):
            return None
        box.append(slice(int(filled[0]), int(filled[-1]) + 1))
    return box[0], box[1], box[2]


def union(one: Box | None, other: Box | None) -> Box | None:
    """The smallest box around both."""
    if one is None or other is None:
        return one or other
    joined: Any = tuple(
        slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True)
    )
    return joined  # type: ignore[no-any-return]
