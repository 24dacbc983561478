"""Surface distances of cuboids and balls, and what follows from given distances."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unetr.errors import InputError
from unetr.metrics import (
    average_symmetric_surface_distance_mm,
    hausdorff_mm,
    normalised_surface_dice,
    score,
    surface_distances,
)

from .shapes import ball, corner_mm2, cuboid, cuboid_mm2, edges_mm2, elements, faces_mm2

spacings = st.tuples(*[st.floats(0.3, 5.0)] * 3)
sizes = st.tuples(*[st.integers(1, 6)] * 3)


@given(sizes, spacings)
def test_a_cuboid_has_the_area_of_its_faces_edges_and_corners(size, spacing_mm):
    mask = cuboid((8, 8, 8), (1, 1, 1), size)
    found = surface_distances(mask, mask, spacing_mm)
    assert found.prediction_mm2.sum() == pytest.approx(cuboid_mm2(size, spacing_mm))
    np.testing.assert_array_equal(found.reference_mm2, found.prediction_mm2)
    assert not found.prediction_mm.any()
    assert not found.reference_mm.any()


def test_a_cuboid_shifted_by_one_voxel():
    # Along the finest axis, so that nothing else of the surface is nearer.
    size, spacing_mm = (9, 12, 8), (0.8, 1.5, 3.0)
    x, y, z = spacing_mm
    reference = cuboid((14, 14, 10), (1, 1, 1), size)
    found = score(np.roll(reference, 1, axis=0), reference, spacing_mm, tolerance_mm=0.5)
    # One end stands out with its edges and corners; the other lies inside, its edges on the sides.
    end = faces_mm2(size, spacing_mm)[0]
    edges = edges_mm2(size, spacing_mm)
    away = end + 2 * edges[1] + 2 * edges[2] + 4 * corner_mm2(spacing_mm) + end
    share = away / cuboid_mm2(size, spacing_mm)
    assert share > 0.05
    assert found.hd_mm == pytest.approx(x)
    assert found.hd95_mm == pytest.approx(x)
    assert found.assd_mm == pytest.approx(share * x)
    assert found.nsd == pytest.approx(1 - share)
    assert found.dice == pytest.approx(8 / 9)
    assert found.iou == pytest.approx(8 / 10)
    assert (
        found.volume_ml == found.reference_volume_ml == pytest.approx(9 * 12 * 8 * x * y * z / 1e3)
    )
    assert found.volume_error_ml == found.relative_volume_error == 0


def test_a_cuboid_grown_by_one_voxel():
    # No spacing is twice another, so that the nearest is that straight outwards.
    x, y, z = spacing_mm = (2.0, 3.0, 3.5)
    inner, outer = (14, 11, 12), (16, 13, 14)
    reference = cuboid((18, 18, 18), (2, 3, 1), inner)
    prediction = cuboid((18, 18, 18), (1, 2, 0), outer)

    def by_part(size, at_faces, at_edges, at_corners):
        areas = [2 * face for face in faces_mm2(size, spacing_mm)]
        areas += [4 * edge for edge in edges_mm2(size, spacing_mm)]
        return list(
            zip(
                [*at_faces, *at_edges, at_corners],
                [*areas, 8 * corner_mm2(spacing_mm)],
                strict=True,
            )
        )

    outwards = by_part(
        outer,
        (x, y, z),
        (np.hypot(y, z), np.hypot(z, x), np.hypot(x, y)),
        np.hypot(np.hypot(x, y), z),
    )
    inwards = by_part(inner, (x, y, z), (y, x, x), x)
    both = outwards + inwards
    area = sum(part for _, part in both)
    found = score(prediction, reference, spacing_mm, tolerance_mm=3.0)
    assert found.hd_mm == pytest.approx(np.sqrt(x**2 + y**2 + z**2))
    assert found.assd_mm == pytest.approx(sum(mm * part for mm, part in both) / area)
    # What lies at the tolerance counts.
    assert found.nsd == pytest.approx(sum(part for mm, part in both if mm <= 3.0) / area)
    # 95 % of the outer surface lie on its faces and two kinds of edges.
    reached = sum(part for mm, part in outwards if mm < np.hypot(x, z))
    assert reached / cuboid_mm2(outer, spacing_mm) < 0.95
    reached = sum(part for mm, part in outwards if mm <= np.hypot(x, z))
    assert reached / cuboid_mm2(outer, spacing_mm) > 0.95
    assert found.hd95_mm == pytest.approx(np.hypot(x, z))


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (0.7, 0.9, 1.6), (2.5, 0.8, 0.8)])
def test_balls_one_within_the_other(spacing_mm):
    shape = [int(2 * 20 / mm) + 3 for mm in spacing_mm]
    reference, prediction = (ball(shape, radius, spacing_mm) for radius in (10.0, 20.0))
    # Each element lies within half a voxel's diagonal of the true surface, and is measured to the
    # nearest of elements spread as much.
    blur_mm = float(np.linalg.norm(spacing_mm))
    found = score(prediction, reference, spacing_mm, tolerance_mm=10 - blur_mm)
    assert found.hd_mm == pytest.approx(10, abs=blur_mm)
    assert found.hd95_mm == pytest.approx(10, abs=blur_mm / 2)
    assert found.assd_mm == pytest.approx(10, abs=blur_mm / 2)
    assert found.nsd == 0
    assert score(prediction, reference, spacing_mm, tolerance_mm=10 + blur_mm).nsd == 1
    assert found.dice == pytest.approx(2 / (1 + 8), abs=0.005)
    assert found.iou == pytest.approx(1 / 8, abs=0.005)
    assert found.volume_ml == pytest.approx(4 / 3 * np.pi * 8, rel=0.01)
    assert found.reference_volume_ml == pytest.approx(4 / 3 * np.pi, rel=0.02)
    assert found.volume_error_ml == pytest.approx(found.volume_ml - found.reference_volume_ml)
    assert found.relative_volume_error == pytest.approx(7, rel=0.02)


@given(st.integers(0, 2**32 - 1), st.sampled_from("CF"))
def test_more_room_around_changes_nothing(seed, order):
    random = np.random.default_rng(seed)
    masks = random.random((2, 5, 4, 6)) < random.random()
    spacing_mm = tuple(random.uniform(0.3, 3, 3))
    close = score(*masks, spacing_mm)
    assert close == score(*[np.asarray(np.pad(m, 3), order=order) for m in masks], spacing_mm)
    forth = surface_distances(*masks, spacing_mm)
    back = surface_distances(*masks[::-1], spacing_mm)
    np.testing.assert_array_equal(forth.prediction_mm, back.reference_mm)
    np.testing.assert_array_equal(forth.prediction_mm2, back.reference_mm2)


def test_percentiles_are_of_area_not_of_elements():
    # 1 of 100 elements has a tenth of the area.
    many = elements([(1.0, 1.0)] * 99 + [(7.0, 11.0)], [(0.5, 1.0)])
    assert hausdorff_mm(many, 90.0) == 1.0
    assert hausdorff_mm(many, 90.1) == 7.0
    assert hausdorff_mm(many) == hausdorff_mm(many, 100.0) == 7.0
    assert average_symmetric_surface_distance_mm(many) == pytest.approx((99 + 77 + 0.5) / 111)
    assert normalised_surface_dice(many, 0.5) == pytest.approx(1 / 111)
    assert normalised_surface_dice(many, 1.0) == pytest.approx(100 / 111)


def test_the_greater_direction_counts():
    apart = elements([(1.0, 2.0), (2.0, 2.0)], [(5.0, 1.0), (3.0, 3.0)])
    assert hausdorff_mm(apart, 50.0) == 3.0
    assert hausdorff_mm(apart, 100.0) == 5.0


def test_a_share_reached_exactly_counts_whatever_the_order_of_sums():
    # 0.1 added up ten times is a little less than 1.
    tenths = elements([(float(mm), 0.1) for mm in range(20)], [(0.0, 1.0)])
    assert [hausdorff_mm(tenths, p) for p in (5.0, 50.0, 55.0, 95.0)] == [0.0, 9.0, 10.0, 18.0]


def test_elements_at_the_tolerance_count_in_spite_of_rounding():
    line = cuboid((12, 3, 3), (0, 1, 1), (1, 1, 1))
    for voxels in range(1, 12):
        moved = np.roll(line, voxels, axis=0)
        distances = surface_distances(line, moved, (0.1, 1.0, 1.0))
        # The near half of either lies one voxel nearer than the far one.
        assert normalised_surface_dice(distances, voxels * 0.1) == 1.0
        assert normalised_surface_dice(distances, voxels * 0.1 - 0.01) == 0.5


def test_calls_that_cannot_be_meant():
    mask = cuboid((4, 4, 4), (1, 1, 1), (2, 2, 2))
    with pytest.raises(InputError, match=r"shapes \(4, 4, 4\) and \(4, 4, 3\) differ"):
        surface_distances(mask, mask[..., :3], (1.0, 1.0, 1.0))
    for spacing_mm in [(1.0, 1.0), (1.0, 0.0, 1.0), (1.0, -1.0, 1.0), (1.0, np.nan, 1.0)]:
        with pytest.raises(InputError, match="spacing_mm"):
            surface_distances(mask, mask, spacing_mm)
    for percentile in (0.0, 100.5):
        with pytest.raises(InputError, match="percentile"):
            hausdorff_mm(surface_distances(mask, mask, (1.0, 1.0, 1.0)), percentile)


@pytest.mark.parametrize(("dtype", "value"), [(np.uint8, 1), (np.uint8, 255), (np.int64, 1)])
def test_masks_of_numbers_score_as_those_of_booleans(dtype, value):
    prediction, reference = (cuboid((9, 8, 7), (1, 1, 1), (n, 3, 3)) for n in (3, 4))
    wanted = surface_distances(prediction, reference, (1.0, 2.0, 3.0))
    numbers = (mask.astype(dtype) * dtype(value) for mask in (prediction, reference))
    found = surface_distances(*numbers, (1.0, 2.0, 3.0))
    np.testing.assert_array_equal(found.prediction_mm, wanted.prediction_mm)
    np.testing.assert_array_equal(found.reference_mm2, wanted.reference_mm2)
