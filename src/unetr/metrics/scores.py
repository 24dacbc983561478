"""Every score of a structure at once, and of all structures of a label volume."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Integer, Shaped

from unetr.errors import InputError
from unetr.metrics.masks import (
    as_masks,
    box_of,
    check_same_shape,
    check_spacing,
    label_boxes,
    union,
)
from unetr.metrics.overlap import counts, dice_of_counts, iou_of_counts
from unetr.metrics.surface import (
    average_symmetric_surface_distance_mm,
    hausdorff_mm,
    normalised_surface_dice,
    surface_distances,
)


@dataclass(frozen=True)
class StructureScores:
    """How well one structure was segmented; None where a score is undefined.

    Attributes:
        hd95_mm, hd_mm: 95th and 100th percentile of the Hausdorff distance.
        assd_mm: Average symmetric surface distance.
        nsd: Normalised surface Dice at the tolerance.
        volume_error_ml: Prediction less reference.
        relative_volume_error: That error over the reference's volume.

    Both masks empty: every score but the volumes is undefined. One empty: Dice, IoU and NSD are 0,
    distances undefined. Reference empty: the relative volume error is undefined.
    """

    dice: float | None
    iou: float | None
    hd95_mm: float | None
    hd_mm: float | None
    assd_mm: float | None
    nsd: float | None
    volume_ml: float
    reference_volume_ml: float
    volume_error_ml: float
    relative_volume_error: float | None


def score(
    prediction: Shaped[np.ndarray, "x y z"],
    reference: Shaped[np.ndarray, "_ _ _"],
    spacing_mm: Sequence[float],
    tolerance_mm: float = 1.0,
) -> StructureScores:
    """Scores one structure's mask.

    Args:
        spacing_mm: Distance between voxel centres along x, y, z.
        tolerance_mm: Of the normalised surface Dice.

    Raises:
        InputError: shapes that differ, a spacing that is none, a negative tolerance.
    """
    prediction, reference = as_masks(prediction, reference)
    check_spacing(spacing_mm)
    if not 0 <= tolerance_mm < np.inf:
        raise InputError(f"tolerance_mm: {tolerance_mm} is no distance; give 0 or more mm")
    box = box_of(prediction | reference)
    prediction, reference = prediction[box], reference[box]
    predicted, referred, both = counts(prediction, reference)
    voxel_ml = float(np.prod(np.asarray(spacing_mm, dtype=float))) / 1000
    distances = surface_distances(prediction, reference, spacing_mm)
    return StructureScores(
        dice=dice_of_counts(predicted, referred, both),
        iou=iou_of_counts(predicted, referred, both),
        hd95_mm=hausdorff_mm(distances, 95.0),
        hd_mm=hausdorff_mm(distances, 100.0),
        assd_mm=average_symmetric_surface_distance_mm(distances),
        nsd=normalised_surface_dice(distances, tolerance_mm),
        volume_ml=predicted * voxel_ml,
        reference_volume_ml=referred * voxel_ml,
        volume_error_ml=(predicted - referred) * voxel_ml,
        relative_volume_error=(predicted - referred) / referred if referred else None,
    )


def score_structures(
    prediction: Integer[np.ndarray, "x y z"],
    reference: Integer[np.ndarray, "_ _ _"],
    structures: Mapping[str, Sequence[int]],
    spacing_mm: Sequence[float],
    tolerance_mm: float = 1.0,
) -> dict[str, StructureScores]:
    """Scores structures of label volumes, in the order given.

    Args:
        structures: Name to the label ids that it covers: one, or several for a region.
        spacing_mm: Distance between voxel centres along x, y, z.
        tolerance_mm: Of the normalised surface Dice.

    Raises:
        InputError: shapes that differ, a spacing that is none, a negative tolerance, or a structure
            without labels.
    """
    check_same_shape(prediction, reference)
    for name, covered in structures.items():
        if not len(covered):
            raise InputError(f"structures: {name!r} covers no label; give its ids")
    ids = {label for covered in structures.values() for label in covered}
    boxes = [label_boxes(labels, ids) for labels in (prediction, reference)]
    found = {}
    for name, covered in structures.items():
        box = union(place[label] for place in boxes for label in covered)
        masks = [_mask(labels[box], covered) for labels in (prediction, reference)]
        found[name] = score(masks[0], masks[1], spacing_mm, tolerance_mm)
    return found


def _mask(labels: Integer[np.ndarray, "x y z"], ids: Sequence[int]) -> Bool[np.ndarray, "x y z"]:
    """Where any of the labels is."""
    mask: Bool[np.ndarray, "x y z"] = labels == ids[0]
    for label in ids[1:]:
        mask |= labels == label
    return mask
