"""Lesions found, missed and invented: connected components matched one to one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cc3d
import numpy as np
from jaxtyping import Bool, Float64
from scipy.optimize import linear_sum_assignment

from unetr.errors import InputError
from unetr.metrics.masks import check_same_shape, check_spacing


@dataclass(frozen=True)
class LesionScores:
    """Counts of lesions and what follows from them; None where a score is undefined.

    Attributes:
        true_positives: Lesions of the reference that the prediction has too.
        false_positives: Lesions of the prediction without one in the reference.
        missed: Lesions of the reference without one in the prediction.
        sensitivity: Share of the reference's lesions found; undefined where it has none.
        precision: Share of the prediction's lesions that are real; undefined where it has none.
        f1: 2 TP / (2 TP + FP + missed); undefined where neither has any.
    """

    true_positives: int
    false_positives: int
    missed: int
    sensitivity: float | None
    precision: float | None
    f1: float | None


def score_lesions(
    prediction: Bool[np.ndarray, "x y z"],
    reference: Bool[np.ndarray, "_ _ _"],
    spacing_mm: Sequence[float],
    *,
    least_iou: float = 0.1,
    minimum_mm3: float = 0.0,
) -> LesionScores:
    """Counts lesions, 26-connected components, that were found, missed and invented.

    Lesions are matched one to one, as Metrics Reloaded (Maier-Hein et al. 2024, Nature Methods 21)
    recommends: a pair may match from `least_iou` on, and of all matchings the one with the most
    pairs, and then the greatest sum of IoU, is taken. A prediction that joins two lesions so finds
    one and misses one; one that breaks a lesion in two finds one and invents one.

    Args:
        spacing_mm: Distance between voxel centres along x, y, z.
        least_iou: In (0, 1]; low by default, because the IoU of small lesions is.
        minimum_mm3: Smaller components of either mask are left out before the matching.

    Raises:
        InputError: shapes that differ, a spacing that is none, an IoU out of range.
    """
    check_same_shape(prediction, reference)
    check_spacing(spacing_mm)
    if not 0 < least_iou <= 1:
        raise InputError(f"least_iou: {least_iou} is not within (0, 1]; the default is 0.1")
    voxels = minimum_mm3 / float(np.prod(np.asarray(spacing_mm, dtype=float)))
    overlap = _ious(_components(prediction, voxels), _components(reference, voxels))
    predicted, referred = overlap.shape
    # A pair more outweighs any sum of IoU.
    worth = np.where(overlap >= least_iou, min(predicted, referred) + overlap, 0.0)
    rows, columns = linear_sum_assignment(worth, maximize=True)
    found = int(np.count_nonzero(worth[rows, columns]))
    return LesionScores(
        true_positives=found,
        false_positives=predicted - found,
        missed=referred - found,
        sensitivity=found / referred if referred else None,
        precision=found / predicted if predicted else None,
        f1=2 * found / (predicted + referred) if predicted + referred else None,
    )


def _components(mask: Bool[np.ndarray, "x y z"], least_voxels: float) -> Any:
    """Component numbers from 1 on, without gaps, 0 where there is none."""
    labels = cc3d.connected_components(mask, connectivity=26)
    sizes = np.bincount(labels.ravel())
    keep = sizes >= least_voxels
    keep[0] = False
    return np.where(keep, np.cumsum(keep), 0)[labels]


def _ious(prediction: Any, reference: Any) -> Float64[np.ndarray, "p r"]:
    """IoU of every component of the one with every of the other."""
    shape = (int(prediction.max(initial=0)) + 1, int(reference.max(initial=0)) + 1)
    pairs = np.bincount((prediction * shape[1] + reference).ravel(), minlength=shape[0] * shape[1])
    both = pairs.reshape(shape)
    either = both.sum(axis=1, keepdims=True) + both.sum(axis=0, keepdims=True) - both
    ious: Float64[np.ndarray, "p r"] = both[1:, 1:] / either[1:, 1:]
    return ious
