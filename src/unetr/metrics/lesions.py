"""Lesions found, missed and invented: connected components matched one to one."""

from collections.abc import Sequence
from dataclasses import dataclass

import cc3d
import numpy as np
from jaxtyping import Bool, Integer, Shaped
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from unetr.errors import InputError
from unetr.metrics.masks import as_masks, box_of, check_spacing


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
    prediction: Shaped[np.ndarray, "x y z"],
    reference: Shaped[np.ndarray, "_ _ _"],
    spacing_mm: Sequence[float],
    *,
    least_iou: float = 0.1,
    minimum_mm3: float = 0.0,
) -> LesionScores:
    """Counts lesions, 26-connected components, that were found, missed and invented.

    Lesions are matched one to one, an assignment described in Metrics Reloaded (Maier-Hein et al.
    2024, Nature Methods 21): a pair may match from `least_iou` on, and as many pairs are made as
    can be. So a prediction that joins two lesions finds one and misses one; one that breaks a
    lesion in two finds one and invents one.

    Args:
        spacing_mm: Distance between voxel centres along x, y, z.
        least_iou: In (0, 1]; low by default, because the IoU of small lesions is.
        minimum_mm3: Smaller components of either mask are left out before the matching.

    Raises:
        InputError: shapes that differ, a spacing that is none, an IoU out of range.
    """
    prediction, reference = as_masks(prediction, reference)
    check_spacing(spacing_mm)
    if not 0 < least_iou <= 1:
        raise InputError(f"least_iou: {least_iou} is not within (0, 1]; the default is 0.1")
    voxel_mm3 = float(np.prod(np.asarray(spacing_mm, dtype=float)))
    # A lesion of exactly the minimum counts, however the product of the sides is rounded.
    least_voxels = minimum_mm3 / voxel_mm3 * (1 - 1e-6)
    box = box_of(prediction | reference)
    p_lesions, predicted = _lesions(prediction[box], least_voxels)
    r_lesions, referred = _lesions(reference[box], least_voxels)
    found = _most_pairs(p_lesions, r_lesions, least_iou)
    return LesionScores(
        true_positives=found,
        false_positives=predicted - found,
        missed=referred - found,
        sensitivity=found / referred if referred else None,
        precision=found / predicted if predicted else None,
        f1=2 * found / (predicted + referred) if predicted + referred else None,
    )


def _lesions(
    mask: Bool[np.ndarray, "x y z"], least_voxels: float
) -> tuple[Integer[np.ndarray, "x y z"], int]:
    """Lesions numbered from 1 on without gaps, 0 where there is none, and how many there are."""
    # Without voxels cc3d would give truth values, no numbers.
    components = cc3d.connected_components(mask, connectivity=26, out_dtype=np.uint32)
    kept = np.bincount(components.ravel()) >= least_voxels
    kept[:1] = False
    numbers: Integer[np.ndarray, " n"] = np.where(kept, np.cumsum(kept), 0)
    return numbers[components], int(kept.sum())


def _most_pairs(
    prediction: Integer[np.ndarray, "x y z"], reference: Integer[np.ndarray, "x y z"], least: float
) -> int:
    """In how many pairs of enough IoU lesions can stand, none in two of them."""
    common = (prediction > 0) & (reference > 0)
    # One number a pair: rows of two take far longer to sort.
    base = int(reference.max(initial=0)) + 1
    pairs, both = np.unique(
        prediction[common].astype(np.int64) * base + reference[common], return_counts=True
    )
    p, r = np.divmod(pairs, base)
    either = np.bincount(prediction.ravel())[p] + np.bincount(reference.ravel())[r] - both
    may = both / either >= least
    if not may.any():
        return 0
    graph = csr_array((np.ones(may.sum()), (p[may], r[may])))
    return int(np.count_nonzero(maximum_bipartite_matching(graph) >= 0))
