"""Lesions found, missed and invented."""

import numpy as np
import pytest

from unetr.errors import InputError
from unetr.metrics import LesionScores, score_lesions

SPACING_MM = (1.0, 1.0, 2.0)


def lesions(*boxes, shape=(20, 20, 12)):
    mask = np.zeros(shape, bool)
    for x, y, z, side in boxes:
        mask[x : x + side, y : y + side, z : z + side] = True
    return mask


def test_found_missed_and_invented():
    reference = lesions((0, 0, 0, 3), (10, 10, 5, 4), (16, 0, 8, 2))
    prediction = lesions((1, 0, 0, 3), (10, 10, 5, 4), (0, 16, 8, 2), (8, 0, 0, 1))
    assert score_lesions(prediction, reference, SPACING_MM) == LesionScores(
        2, 2, 1, 2 / 3, 1 / 2, 4 / 7
    )


def test_two_lesions_joined_are_one_found_and_one_missed():
    reference = lesions((0, 0, 0, 3), (4, 0, 0, 3))
    joined = reference | lesions((2, 1, 1, 2))
    assert score_lesions(joined, reference, SPACING_MM) == LesionScores(1, 0, 1, 1 / 2, 1.0, 2 / 3)
    # And the other way about: a lesion broken in two is one found and one invented.
    assert score_lesions(reference, joined, SPACING_MM) == LesionScores(1, 1, 0, 1.0, 1 / 2, 2 / 3)


def test_a_chain_is_matched_to_the_most_pairs():
    # The second piece overlaps both lesions, the first one more than the first piece does: taking
    # the greatest overlap first would leave a lesion without a partner.
    reference, prediction = np.zeros((2, 12, 1, 1), bool)
    reference[0:4], reference[5:9] = True, True
    prediction[0:1], prediction[2:6] = True, True
    found = score_lesions(prediction, reference, SPACING_MM)
    assert (found.true_positives, found.false_positives, found.missed) == (2, 0, 0)


def test_the_iou_decides():
    # 1 voxel of 10, then of 11.
    prediction, reference = lesions((0, 0, 0, 1)), np.zeros((20, 20, 12), bool)
    reference[:10, 0, 0] = True
    assert score_lesions(prediction, reference, SPACING_MM).true_positives == 1
    assert score_lesions(prediction, reference, SPACING_MM, least_iou=0.11).true_positives == 0
    reference[10, 0, 0] = True
    assert score_lesions(prediction, reference, SPACING_MM).true_positives == 0


def test_voxels_that_touch_at_corners_are_one_lesion():
    diagonal = lesions((0, 0, 0, 1), (1, 1, 1, 1), (2, 2, 2, 1))
    assert score_lesions(diagonal, diagonal, SPACING_MM).true_positives == 1


def test_small_ones_left_out_of_both():
    reference = lesions((0, 0, 0, 3), (10, 10, 5, 1))
    prediction = lesions((0, 0, 0, 3), (10, 10, 5, 1), (0, 16, 8, 1))
    least = {"minimum_mm3": 2.1}  # a voxel has 2 mm3
    assert score_lesions(prediction, reference, SPACING_MM, **least) == LesionScores(
        1, 0, 0, 1.0, 1.0, 1.0
    )
    assert score_lesions(prediction, reference, SPACING_MM, minimum_mm3=2.0) == LesionScores(
        2, 1, 0, 1.0, 2 / 3, 4 / 5
    )


def test_a_lesion_of_exactly_the_minimum_counts():
    """Though 3.43 / 0.7**3 is a little more than 10."""
    ten = np.zeros((20, 4, 4), bool)
    ten[2:12, 1, 1] = True
    assert score_lesions(ten, ten, (0.7, 0.7, 0.7), minimum_mm3=3.43).true_positives == 1
    assert score_lesions(ten, ten, (0.7, 0.7, 0.7), minimum_mm3=3.44).true_positives == 0


def test_none_on_one_side_or_on_both():
    some, none = lesions((0, 0, 0, 3), (10, 10, 5, 4)), lesions()
    assert score_lesions(none, some, SPACING_MM) == LesionScores(0, 0, 2, 0.0, None, 0.0)
    assert score_lesions(some, none, SPACING_MM) == LesionScores(0, 2, 0, None, 0.0, 0.0)
    assert score_lesions(none, none, SPACING_MM) == LesionScores(0, 0, 0, None, None, None)


def test_many_specks_take_no_square_of_memory():
    shape = (96, 96, 96)
    specks = np.zeros(shape, bool)
    specks[::2, ::2, ::2] = True
    found = score_lesions(specks, specks, SPACING_MM)
    assert (found.true_positives, found.false_positives, found.missed) == (48**3, 0, 0)


@pytest.mark.parametrize("least_iou", [0.0, -0.1, 1.5])
def test_an_iou_out_of_range_is_refused(least_iou):
    with pytest.raises(InputError, match="least_iou"):
        score_lesions(lesions(), lesions(), SPACING_MM, least_iou=least_iou)
