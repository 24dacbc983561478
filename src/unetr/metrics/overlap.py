"""How much two masks overlap, from their voxel counts."""

import numpy as np
from jaxtyping import Bool, Shaped

from unetr.metrics.masks import as_masks


def dice(
    prediction: Shaped[np.ndarray, "x y z"], reference: Shaped[np.ndarray, "_ _ _"]
) -> float | None:
    """Dice 1945, Ecology 26(3): 2 |P and R| / (|P| + |R|); None where both are empty."""
    return dice_of_counts(*counts(*as_masks(prediction, reference)))


def iou(
    prediction: Shaped[np.ndarray, "x y z"], reference: Shaped[np.ndarray, "_ _ _"]
) -> float | None:
    """Jaccard 1912, New Phytologist 11(2): |P and R| / |P or R|; None where both are empty."""
    return iou_of_counts(*counts(*as_masks(prediction, reference)))


def counts(
    prediction: Bool[np.ndarray, "x y z"], reference: Bool[np.ndarray, "x y z"]
) -> tuple[int, int, int]:
    """Voxels of the prediction, of the reference, and of both."""
    both = np.count_nonzero(prediction & reference)
    return int(np.count_nonzero(prediction)), int(np.count_nonzero(reference)), int(both)


def dice_of_counts(predicted: int, referred: int, both: int) -> float | None:
    """`dice` from what `counts` gives."""
    return 2 * both / (predicted + referred) if predicted + referred else None


def iou_of_counts(predicted: int, referred: int, both: int) -> float | None:
    """`iou` from what `counts` gives."""
    return both / (predicted + referred - both) if predicted + referred else None
