"""What is done to a finished segmentation: pieces that cannot be right are taken out or filled."""

from collections.abc import Iterable, Sequence
from typing import Any

import cc3d
import numpy as np
from jaxtyping import Integer
from scipy import ndimage

from unetr.data.plan import Postprocessing

Labels = Integer[np.ndarray, "x y z"]


def postprocess(
    labels: Labels, spacing_mm: Sequence[float], rules: Iterable[Postprocessing]
) -> Labels:
    """Applies the rules in order and returns a new array; without rules, `labels` itself.

    Args:
        labels: Native label ids on the scan's own grid, 0 where there is nothing.
        spacing_mm: Of that grid, for volumes in mm3.
        rules: Each touches its own label only. Removed voxels become 0; holes are filled where
            they are 0, so another structure inside stays.
    """
    rules = tuple(rules)
    if not rules:
        return labels
    result = labels.copy()
    # No rule makes its label's box larger.
    boxes = dict(enumerate(ndimage.find_objects(result), 1))
    for rule in rules:
        if (box := boxes.get(rule.label)) is None:
            continue
        part = result[box]
        mask = part == rule.label
        kept = _kept(mask, rule, float(np.prod(spacing_mm)))
        part[mask & ~kept] = 0
        if rule.fill_holes:
            part[ndimage.binary_fill_holes(kept) & (part == 0)] = rule.label
    return result


def _kept(mask: Any, rule: Postprocessing, voxel_mm3: float) -> Any:
    """The components (26-connected) of the mask that the rule keeps."""
    if not rule.largest_component and rule.minimum_mm3 <= 0:
        return mask
    components, count = cc3d.connected_components(mask, connectivity=26, return_N=True)
    sizes = cc3d.statistics(components, no_slice_conversion=True)["voxel_counts"]
    sizes[0] = 0
    # One of exactly the minimum stays, however the product of the sides is rounded.
    keep = sizes * voxel_mm3 >= max(rule.minimum_mm3 * (1 - 1e-6), voxel_mm3 / 2)
    if rule.largest_component:
        keep &= np.arange(count + 1) == sizes.argmax()
    kept = np.empty(mask.shape, dtype=bool)
    for plane, numbers in zip(kept, components, strict=True):
        # At once, numpy would make indices of eight bytes of all voxels.
        plane[...] = keep[numbers]
    return kept
