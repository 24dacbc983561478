"""Post-processing on shapes whose answer is plain."""

import numpy as np

from unetr.data.plan import Postprocessing
from unetr.inference.postprocess import postprocess


def scene() -> np.ndarray:
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[2:10, 2:10, 2:10] = 5
    labels[5, 5, 5] = 0  # a hole
    labels[6, 6, 6] = 3  # another structure inside
    labels[12:14, 2:4, 2:4] = 5  # 8 voxels apart
    labels[18, 18, 18] = 5  # 1 voxel
    labels[16, 2:6, 2] = 3  # touches nothing
    return labels


def test_without_rules_nothing_changes():
    labels = scene()
    assert postprocess(labels, (1.0, 1.0, 1.0), ()) is labels


def test_largest_component_leaves_other_labels():
    labels = scene()
    found = postprocess(labels, (1.0, 1.0, 1.0), [Postprocessing(label=5, largest_component=True)])
    expected = scene()
    expected[10:17][expected[10:17] == 5] = 0
    expected[18, 18, 18] = 0
    assert np.array_equal(found, expected)
    assert np.array_equal(labels, scene())


def test_a_structure_of_one_voxel_is_its_own_largest():
    labels = np.zeros((3, 3, 3), np.uint8)
    labels[1, 1, 1] = 5
    rule = Postprocessing(label=5, largest_component=True, fill_holes=True)
    assert np.array_equal(postprocess(labels, (1.0, 1.0, 1.0), [rule]), labels)


def test_minimum_volume_is_in_mm3():
    rule = Postprocessing(label=5, minimum_mm3=8.0)
    one_mm = postprocess(scene(), (1.0, 1.0, 1.0), [rule])
    assert one_mm[12, 2, 2] == 5
    assert one_mm[18, 18, 18] == 0
    two_mm = postprocess(scene(), (2.0, 2.0, 2.0), [rule])
    assert two_mm[18, 18, 18] == 5
    half_mm = postprocess(scene(), (0.5, 1.0, 1.0), [rule])
    assert half_mm[12, 2, 2] == 0


def test_holes_are_filled_but_structures_inside_stay():
    found = postprocess(scene(), (1.0, 1.0, 1.0), [Postprocessing(label=5, fill_holes=True)])
    assert found[5, 5, 5] == 5
    assert found[6, 6, 6] == 3
    assert (found == 5).sum() == (scene() == 5).sum() + 1


def test_diagonal_neighbours_are_one_component():
    labels = np.zeros((4, 4, 4), np.uint8)
    labels[0, 0, 0] = labels[1, 1, 1] = labels[3, 3, 3] = 1
    found = postprocess(labels, (1.0, 1.0, 1.0), [Postprocessing(label=1, largest_component=True)])
    assert (found[0, 0, 0], found[1, 1, 1], found[3, 3, 3]) == (1, 1, 0)


def test_absent_label_is_no_error():
    labels = scene()
    rules = [Postprocessing(label=9, largest_component=True, fill_holes=True)]
    assert np.array_equal(postprocess(labels, (1.0, 1.0, 1.0), rules), labels)


def test_a_piece_of_exactly_the_minimum_stays():
    labels = np.zeros((20, 4, 4), np.uint8)
    labels[2:12, 1, 1] = 1
    for least, left in ((3.43, 10), (3.44, 0)):
        rule = Postprocessing(label=1, minimum_mm3=least)
        assert (postprocess(labels, (0.7, 0.7, 0.7), [rule]) == 1).sum() == left
