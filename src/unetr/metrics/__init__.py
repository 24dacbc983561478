"""How far a segmentation is from a reference: overlap, surfaces, volumes, lesions.

Pure functions on masks and voxel spacing; docs/metrics.md has the definitions.
"""

from unetr.metrics.lesions import LesionScores, score_lesions
from unetr.metrics.overlap import dice, iou
from unetr.metrics.scores import StructureScores, score, score_structures
from unetr.metrics.surface import (
    SurfaceDistances,
    average_symmetric_surface_distance_mm,
    hausdorff_mm,
    normalised_surface_dice,
    surface_distances,
)

__all__ = [
    "LesionScores",
    "StructureScores",
    "SurfaceDistances",
    "average_symmetric_surface_distance_mm",
    "dice",
    "hausdorff_mm",
    "iou",
    "normalised_surface_dice",
    "score",
    "score_lesions",
    "score_structures",
    "surface_distances",
]
