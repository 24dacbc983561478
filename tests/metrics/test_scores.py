"""Scores of masks whose values are known beforehand."""

import numpy as np
import pytest

from unetr.metrics import StructureScores, score, score_structures

SPACING_MM = (0.5, 1.0, 3.0)


def voxels(*places, shape=(6, 7, 5)):
    mask = np.zeros(shape, bool)
    for place in places:
        mask[place] = True
    return mask


def test_both_empty_leaves_all_but_the_volumes_undefined():
    found = score(voxels(), voxels(), SPACING_MM)
    assert found == StructureScores(None, None, None, None, None, None, 0.0, 0.0, 0.0, None)


def test_prediction_empty():
    found = score(voxels(), voxels((1, 2, 3)), SPACING_MM)
    assert found == StructureScores(0.0, 0.0, None, None, None, 0.0, 0.0, 0.0015, -0.0015, -1.0)


def test_reference_empty():
    found = score(voxels((1, 2, 3)), voxels(), SPACING_MM)
    assert found == StructureScores(0.0, 0.0, None, None, None, 0.0, 0.0015, 0.0, 0.0015, None)


def test_label_missing_in_one_and_a_region_of_several():
    prediction = voxels((1, 2, 3)) * np.uint8(200)
    reference = voxels((1, 2, 3)) * np.uint8(200) + voxels((5, 0, 0)) * np.uint8(7)
    found = score_structures(
        prediction, reference, {"large": [200], "both": [7, 200], "small": [7]}, SPACING_MM
    )
    assert list(found) == ["large", "both", "small"]
    assert found["large"].dice == 1
    assert found["large"].hd_mm == 0
    assert found["both"].dice == pytest.approx(2 / 3)
    assert found["both"].iou == pytest.approx(1 / 2)
    assert found["small"] == StructureScores(
        0.0, 0.0, None, None, None, 0.0, 0.0, 0.0015, -0.0015, -1.0
    )
