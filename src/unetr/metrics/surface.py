"""Distances between the surfaces of two masks, each surface element weighted by its area.

The definition is that of DeepMind's surface-distance (Nikolov et al., arXiv:1809.04430): the
elements are the 2 x 2 x 2 neighbourhoods that hold voxels of both kinds, what lies beyond the
volume counting as outside; their places are the neighbourhoods' middles, their areas those of
`surface_areas_mm2`. The distance of an element is that to the nearest element of the other mask.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import edt
import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8

from unetr.errors import InputError
from unetr.machine import cores
from unetr.metrics.masks import as_masks, box_of, check_spacing
from unetr.metrics.surface_elements import surface_areas_mm2

# Relative errors: of distances, computed in single precision, and of sums of areas.
_DISTANCE_ROUNDING, _AREA_ROUNDING = 1e-6, 1e-9


@dataclass(frozen=True)
class SurfaceDistances:
    """Distance and area of every surface element of two masks.

    Attributes:
        prediction_mm: From the prediction's elements to the nearest of the reference.
        reference_mm: From the reference's elements to the nearest of the prediction.
        prediction_mm2, reference_mm2: The areas of those elements, in the same order.

    Distances are infinite where the other mask is empty; an empty mask has no elements.
    """

    prediction_mm: Float[np.ndarray, " p"]
    prediction_mm2: Float[np.ndarray, " p"]
    reference_mm: Float[np.ndarray, " r"]
    reference_mm2: Float[np.ndarray, " r"]


def surface_distances(
    prediction: Shaped[np.ndarray, "x y z"],
    reference: Shaped[np.ndarray, "_ _ _"],
    spacing_mm: Sequence[float],
) -> SurfaceDistances:
    """Measures each surface element of one mask against the other mask's surface.

    Raises:
        InputError: shapes that differ, or a spacing that is none.
    """
    prediction, reference = as_masks(prediction, reference)
    check_spacing(spacing_mm)
    box = box_of(prediction | reference)
    areas = surface_areas_mm2(spacing_mm)
    p_code, r_code = neighbour_codes(prediction[box]), neighbour_codes(reference[box])
    p_surface, r_surface = is_surface(p_code), is_surface(r_code)
    return SurfaceDistances(
        prediction_mm=_distances_mm(p_surface, r_surface, spacing_mm),
        prediction_mm2=areas[p_code[p_surface]],
        reference_mm=_distances_mm(r_surface, p_surface, spacing_mm),
        reference_mm2=areas[r_code[r_surface]],
    )


def neighbour_codes(mask: Bool[np.ndarray, "x y z"]) -> UInt8[np.ndarray, "_ _ _"]:
    """Code of each 2 x 2 x 2 neighbourhood that touches the volume, beyond which nothing is."""
    code: UInt8[np.ndarray, "_ _ _"] = np.pad(mask.view(np.uint8), 1)
    for axis, bits in ((2, 1), (1, 2), (0, 4)):
        low = code[(slice(None),) * axis + (slice(None, -1),)]
        high = code[(slice(None),) * axis + (slice(1, None),)]
        code = (low << np.uint8(bits)) | high
    return code


def is_surface(code: UInt8[np.ndarray, "x y z"]) -> Bool[np.ndarray, "x y z"]:
    """Where a neighbourhood holds voxels of both kinds: its code is neither 0 nor 255."""
    # Below 0 comes 255.
    found: Bool[np.ndarray, "x y z"] = (code - np.uint8(1)) < 254
    return found


def hausdorff_mm(distances: SurfaceDistances, percentile: float = 95.0) -> float | None:
    """The greater of the two directed percentiles; 100 gives the Hausdorff distance proper.

    A directed percentile is the least distance within which that share of the surface's area lies,
    as in DeepMind's `compute_robust_hausdorff`. None where a mask is empty.

    Raises:
        InputError: a percentile outside of (0, 100].
    """
    if not 0 < percentile <= 100:
        raise InputError(f"percentile: {percentile} is not within (0, 100]; 95 is customary")
    if not len(distances.prediction_mm) or not len(distances.reference_mm):
        return None
    return max(
        _percentile(distances.prediction_mm, distances.prediction_mm2, percentile),
        _percentile(distances.reference_mm, distances.reference_mm2, percentile),
    )


def average_symmetric_surface_distance_mm(distances: SurfaceDistances) -> float | None:
    """Mean distance over both surfaces together, by area; None where a mask is empty.

    Heimann et al. 2009, IEEE TMI 28(8), with areas in the place of counts.
    """
    if not len(distances.prediction_mm) or not len(distances.reference_mm):
        return None
    total = np.dot(distances.prediction_mm, distances.prediction_mm2) + np.dot(
        distances.reference_mm, distances.reference_mm2
    )
    return float(total / (distances.prediction_mm2.sum() + distances.reference_mm2.sum()))


def normalised_surface_dice(distances: SurfaceDistances, tolerance_mm: float) -> float | None:
    """Share of both surfaces' area that lies within the tolerance of the other surface.

    Nikolov et al., arXiv:1809.04430, equation 1. None where both masks are empty, 0 where one is.
    """
    total = distances.prediction_mm2.sum() + distances.reference_mm2.sum()
    if not total:
        return None
    # An element at just the tolerance counts, however its distance was rounded.
    reach_mm = tolerance_mm * (1 + _DISTANCE_ROUNDING)
    within = (
        distances.prediction_mm2[distances.prediction_mm <= reach_mm].sum()
        + distances.reference_mm2[distances.reference_mm <= reach_mm].sum()
    )
    return float(within / total)


def _percentile(
    distance_mm: Float[np.ndarray, " n"], area_mm2: Float[np.ndarray, " n"], percentile: float
) -> float:
    order = np.argsort(distance_mm)
    reached = np.cumsum(area_mm2[order])
    # A share reached exactly counts, in whichever order its areas were added up.
    place = np.searchsorted(reached, percentile / 100 * (1 - _AREA_ROUNDING) * reached[-1])
    return float(distance_mm[order[place]])


def _distances_mm(
    surface: Bool[np.ndarray, "x y z"],
    other: Bool[np.ndarray, "x y z"],
    spacing_mm: Sequence[float],
) -> Float[np.ndarray, " n"]:
    """From each element of the surface to the nearest of the other."""
    if not other.any():
        return np.full(np.count_nonzero(surface), np.inf)
    # A thread for less than this many voxels costs more than it saves.
    threads = max(1, min(cores(), other.size // 50_000))
    # Squares of all, roots of a few; the volume's border is no surface.
    squares = edt.edtsq(~other, anisotropy=tuple(spacing_mm), black_border=False, parallel=threads)
    found: Float[np.ndarray, " n"] = np.sqrt(squares[surface], dtype=np.float64)
    return found
