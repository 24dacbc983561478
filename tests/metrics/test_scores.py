"""Every score of masks that are empty, of one voxel, or at the border."""

from dataclasses import asdict

import numpy as np
import pytest

from unetr.errors import InputError
from unetr.metrics import StructureScores, dice, iou, score, score_structures

from .shapes import cuboid

SPACING_MM = X, Y, Z = 0.5, 1.0, 3.0
VOXEL_ML = 0.0015
SHAPE = (9, 7, 5)


def voxels(*places):
    mask = np.zeros(SHAPE, bool)
    for place in places:
        mask[place] = True
    return mask


def assert_scores(found, **expected):
    assert asdict(found) == {
        name: value if value is None else pytest.approx(value, rel=1e-6, abs=1e-12)
        for name, value in expected.items()
    }


UNDEFINED = StructureScores(None, None, None, None, None, None, 0.0, 0.0, 0.0, None)
MISSED = StructureScores(0.0, 0.0, None, None, None, 0.0, 0.0, VOXEL_ML, -VOXEL_ML, -1.0)
INVENTED = StructureScores(0.0, 0.0, None, None, None, 0.0, VOXEL_ML, 0.0, VOXEL_ML, None)


def test_both_empty_leaves_all_but_the_volumes_undefined():
    assert score(voxels(), voxels(), SPACING_MM) == UNDEFINED
    assert dice(voxels(), voxels()) is None
    assert iou(voxels(), voxels()) is None


def test_prediction_empty():
    assert score(voxels(), voxels((1, 2, 3)), SPACING_MM) == MISSED


def test_reference_empty():
    assert score(voxels((1, 2, 3)), voxels(), SPACING_MM) == INVENTED


@pytest.mark.parametrize("place", [(4, 3, 2), (0, 0, 0), (8, 6, 4), (0, 3, 4)])
def test_one_voxel_found(place):
    found = score(voxels(place), voxels(place), SPACING_MM)
    assert found == StructureScores(1.0, 1.0, 0.0, 0.0, 0.0, 1.0, VOXEL_ML, VOXEL_ML, 0.0, 0.0)


def test_one_voxel_at_another_place():
    # Eight corners of equal area each: four are two voxels from the other's, four are three.
    found = score(voxels((0, 3, 2)), voxels((3, 3, 2)), SPACING_MM, tolerance_mm=2 * X)
    assert_scores(
        found,
        dice=0.0,
        iou=0.0,
        hd95_mm=3 * X,
        hd_mm=3 * X,
        assd_mm=2.5 * X,
        nsd=0.5,
        volume_ml=VOXEL_ML,
        reference_volume_ml=VOXEL_ML,
        volume_error_ml=0.0,
        relative_volume_error=0.0,
    )


def test_one_voxel_in_opposite_corners_of_the_volume():
    found = score(voxels((0, 0, 0)), voxels((8, 6, 4)), SPACING_MM)
    far = [(8 - i, 6 - j, 4 - k) for i in (0, 1) for j in (0, 1) for k in (0, 1)]
    far_mm = np.linalg.norm(np.array(far) * SPACING_MM, axis=1)
    assert_scores(
        found,
        dice=0.0,
        iou=0.0,
        hd95_mm=far_mm.max(),
        hd_mm=far_mm.max(),
        assd_mm=far_mm.mean(),
        nsd=0.0,
        volume_ml=VOXEL_ML,
        reference_volume_ml=VOXEL_ML,
        volume_error_ml=0.0,
        relative_volume_error=0.0,
    )


def test_one_voxel_of_two():
    # The pair's corner elements and the single one's are alike, those between them are edges.
    found = score(voxels((3, 3, 2)), voxels((3, 3, 2), (4, 3, 2)), SPACING_MM, tolerance_mm=0.4)
    corner = np.linalg.norm([Y * Z, Z * X, X * Y]) / 8
    edge = X * np.hypot(Y, Z) / 2
    # Single: 4 corners on the pair's, 4 on its edges. Pair: 4 corners, 4 edges, 4 corners at X.
    area = 8 * corner + 8 * corner + 4 * edge
    assert_scores(
        found,
        dice=2 / 3,
        iou=1 / 2,
        hd95_mm=X,
        hd_mm=X,
        assd_mm=4 * corner * X / area,
        nsd=1 - 4 * corner / area,
        volume_ml=VOXEL_ML,
        reference_volume_ml=2 * VOXEL_ML,
        volume_error_ml=-VOXEL_ML,
        relative_volume_error=-0.5,
    )


def test_a_structure_that_fills_the_volume_ends_at_its_border():
    whole = np.ones(SHAPE, bool)
    without_a_layer = cuboid(SHAPE, (1, 0, 0), (8, 7, 5))
    found = score(without_a_layer, whole, SPACING_MM, tolerance_mm=0.4)
    room = [np.pad(mask, 2) for mask in (without_a_layer, whole)]
    assert found == score(*room, SPACING_MM, tolerance_mm=0.4)
    assert found.hd_mm == found.hd95_mm == pytest.approx(X)
    assert found.dice == pytest.approx(16 / 17)
    assert found.iou == pytest.approx(8 / 9)
    assert found.relative_volume_error == pytest.approx(-1 / 9)
    assert score(whole, whole, SPACING_MM) == StructureScores(
        1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 315 * VOXEL_ML, 315 * VOXEL_ML, 0.0, 0.0
    )


LARGE, SMALL, ABSENT, BEYOND = 600, 7, 5, 70_000


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", [np.int32, np.uint32, np.int64])
def test_labels_regions_and_labels_missing_in_one_or_in_both(kind, order):
    prediction, reference = np.zeros((2, *SHAPE), kind)
    prediction[1, 2, 3], reference[1, 2, 3] = LARGE, LARGE
    reference[5, 0, 0] = SMALL
    prediction[8, 6, 0] = BEYOND
    structures = {
        "large": [LARGE],
        "region": [SMALL, LARGE],
        "small": [SMALL],
        "absent": [ABSENT],
        "beyond": [BEYOND],
        "background": [0],
    }
    found = score_structures(
        np.asarray(prediction, order=order),
        np.asarray(reference, order=order),
        structures,
        SPACING_MM,
    )
    assert list(found) == list(structures)
    assert found["small"] == MISSED
    assert found["beyond"] == INVENTED
    assert found["absent"] == UNDEFINED
    for name, ids in structures.items():
        masks = np.isin(prediction, ids), np.isin(reference, ids)
        assert found[name] == score(*masks, SPACING_MM)
    assert found["region"].dice == pytest.approx(2 / 3)


def test_small_integers_hold_no_great_label():
    labels = voxels((1, 2, 3)).astype(np.uint8)
    found = score_structures(labels, labels, {"one": [1], "257": [257]}, SPACING_MM)
    assert found["one"].dice == 1.0
    assert found["257"] == UNDEFINED


def test_calls_that_cannot_be_meant():
    mask = voxels((1, 2, 3))
    labels = mask.astype(np.uint8)
    for tolerance_mm in (-1.0, np.inf, np.nan):
        with pytest.raises(InputError, match="tolerance_mm"):
            score(mask, mask, SPACING_MM, tolerance_mm)
    with pytest.raises(InputError, match="differ"):
        dice(mask, mask[1:])
    with pytest.raises(InputError, match="differ"):
        iou(mask, mask[1:])
    with pytest.raises(InputError, match="differ"):
        score_structures(labels, labels[1:], {"one": [1]}, SPACING_MM)
    with pytest.raises(InputError, match="'none' covers no label"):
        score_structures(labels, labels, {"none": []}, SPACING_MM)
