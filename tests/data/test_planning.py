"""Plans from made-up fingerprints, one property each, and from the real folders."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unetr.data.dataset import open_dataset
from unetr.data.fingerprint import CropStatistics, fingerprint
from unetr.data.plan import Crop, Normalisation, Plan, Postprocessing, Region
from unetr.data.planning import make_plan
from unetr.data.resolution import choose_patch
from unetr.errors import InputError

from .made_up_fingerprints import Triple, channel, crop, label, planned, prints


def test_the_papers_patch_where_scans_are_large_and_even() -> None:
    plan = planned(prints(extent=(150.0, 150.0, 150.0)))
    assert plan.spacing_mm == (1.0, 1.0, 1.0)
    assert plan.patch_voxels == (96, 96, 96)
    assert plan.token_voxels == (16, 16, 16)
    assert plan.orientation == "RAS"


def test_small_scans_are_seen_whole_but_for_a_broken_token() -> None:
    plan = planned(prints(extent=(35.0, 50.0, 36.0)))
    assert plan.patch_voxels == (32, 48, 32)
    assert plan.token_voxels == (8, 8, 8)
    assert "the median scan (35 x 50 x 36 voxels) in whole tokens" in plan.reasons["patch_voxels"]


def test_thick_slices_keep_their_distance_and_get_flat_tokens() -> None:
    found = prints((1.25, 1.25, 7.7), (320.0, 320.0, 277.2), spacing_10th_mm=(1.2, 1.2, 6.0))
    plan = planned(found)
    assert plan.spacing_mm == (1.25, 1.25, 6.0)
    assert plan.token_voxels == (16, 16, 4)
    sides_mm = [n * s for n, s in zip(plan.patch_voxels, plan.spacing_mm, strict=True)]
    assert max(sides_mm) / min(sides_mm) < 1.15
    assert "along z, 6.2 times coarser" in plan.reasons["spacing_mm"]


def test_the_thick_axis_may_be_any_but_never_finer_than_the_others() -> None:
    found = prints((5.0, 1.0, 1.0), (200.0, 90.0, 90.0), spacing_10th_mm=(0.5, 1.0, 1.0))
    plan = planned(found)
    assert plan.spacing_mm == (1.0, 1.0, 1.0)
    assert "along x" in plan.reasons["spacing_mm"]


def test_slightly_thicker_slices_take_the_median() -> None:
    found = prints((1.0, 1.0, 2.5), (90.0, 90.0, 90.0), spacing_10th_mm=(0.5, 0.5, 1.0))
    assert planned(found).spacing_mm == (1.0, 1.0, 2.5)


def test_scans_far_larger_than_a_patch_are_coarsened() -> None:
    plan = planned(prints((0.75, 0.75, 1.5), (220.0, 220.0, 200.0)))
    x, y, z = plan.spacing_mm
    assert x == y
    assert 0.75 < x <= 1.5
    assert z == 1.5
    assert "coarsened from 0.75 x 0.75 x 1.5 mm" in plan.reasons["spacing_mm"]
    covered = math.prod(plan.patch_voxels) / math.prod((220 / x, 220 / y, 200 / z))
    assert covered == pytest.approx(1 / 4, rel=0.15)


def test_scans_of_micrometres_are_planned_as_scans_of_millimetres() -> None:
    large = planned(prints((0.75, 0.75, 1.5), (220.0, 220.0, 200.0)))
    small = planned(prints((0.75e-4, 0.75e-4, 1.5e-4), (220e-4, 220e-4, 200e-4)))
    assert small.spacing_mm == pytest.approx([mm * 1e-4 for mm in large.spacing_mm], rel=0.01)
    assert small.patch_voxels == large.patch_voxels


def test_small_structures_stop_the_coarsening() -> None:
    size = ((0.75, 0.75, 1.5), (384.0, 384.0, 330.0))
    plan = planned(prints(*size, labels=(label(), label(2, "speck", 0.1))))
    assert plan.spacing_mm == (0.75, 0.75, 1.5)
    between = planned(prints(*size, labels=(label(2, "gland", 0.6),)))
    assert math.prod(between.spacing_mm) * 500 <= 600
    assert between.spacing_mm[0] > 0.75


def test_less_memory_a_smaller_patch() -> None:
    found = prints(extent=(200.0, 200.0, 200.0))
    sizes = [math.prod(planned(found, memory_gb=gb).patch_voxels) for gb in (2.5, 3.0, 4.0, 8.0)]
    assert sizes == sorted(set(sizes))
    few, many = (planned(found, memory_gb=4.0, batch=batch).patch_voxels for batch in (1, 4))
    assert math.prod(few) > math.prod(many)
    told = planned(found, memory_gb=4.0).reasons["patch_voxels"]
    assert "4 GB for a training step over 2 patches" in told


def test_more_outputs_take_more_memory() -> None:
    found = prints(extent=(200.0, 200.0, 200.0))
    many = prints(extent=(200.0, 200.0, 200.0), labels=tuple(label(k) for k in range(1, 101)))
    one, hundred = (math.prod(planned(p, memory_gb=4.0).patch_voxels) for p in (found, many))
    assert hundred < one / 1.5
    regions = (Region(name="all", members=(1, 2), paint=1),)
    assert math.prod(planned(many, regions, memory_gb=4.0).patch_voxels) == one


def test_the_patch_limit_can_be_raised() -> None:
    found = prints(extent=(200.0, 200.0, 200.0))
    plan = planned(found, memory_gb=40.0, patch_limit_voxels=128**3)
    assert plan.patch_voxels == (128, 128, 128)


def test_a_limit_below_the_least_patch_is_told() -> None:
    plan = planned(prints(extent=(400.0, 400.0, 400.0)), patch_limit_voxels=512)
    assert plan.patch_voxels == (32, 32, 32)
    assert plan.reasons["patch_voxels"].startswith("the least patch that tokens make, though a")


@given(
    st.tuples(*[st.floats(0.3, 8.0)] * 3),
    st.tuples(*[st.floats(8.0, 900.0)] * 3),
    st.integers(20_000, 128**3),
)
def test_patches_are_whole_tokens_within_the_budget(
    spacing_mm: Triple, extent_mm: Triple, budget: int
) -> None:
    patch, token, _ = choose_patch(extent_mm, spacing_mm, budget, "a test")
    for side, step, extent, spacing in zip(patch, token, extent_mm, spacing_mm, strict=True):
        assert step in (1, 2, 4, 8, 16)
        assert side % step == 0
        assert step <= side <= max(step, math.ceil(extent / spacing))
    assert math.prod(patch) <= budget or max(patch) <= 2 * 16


def test_ct_is_clipped_and_standardised_with_the_data_sets_numbers() -> None:
    ct = channel(
        name="CT",
        modality="CT",
        percentile_00_5=-17.0,
        percentile_99_5=134.0,
        mean=86.0,
        std=24.5,
    )
    plan = planned(prints(channels=(ct,)))
    assert plan.normalisation == (
        Normalisation(kind="standard", low=-17.0, high=134.0, mean=86.0, std=24.5),
    )
    assert "[-17, 134]" in plan.reasons["normalisation"]


def test_ct_whose_labels_hold_one_value_is_normalised_by_the_scan() -> None:
    ct = channel(name="CT", modality="CT", percentile_00_5=3071.0, percentile_99_5=3071.0, std=12.0)
    plan = planned(prints(channels=(ct,)))
    assert plan.normalisation == (Normalisation(kind="zscore"),)
    assert plan.reasons["normalisation"].startswith("CT (by the channel's name), but what is")


@pytest.mark.parametrize(
    ("zeros", "kept", "over"),
    # Masked, not masked, and dark: a threshold made air 0, but no box is free of it.
    [(0.6, 0.4, "nonzero"), (0.17, 0.7, "all"), (0.6, 0.95, "all")],
)
def test_mr_is_normalised_by_its_own_numbers(zeros: float, kept: float, over: Any) -> None:
    plan = planned(prints(channels=(channel(zero_fraction=zeros),), crops=(crop(kept=kept),)))
    assert plan.normalisation == (Normalisation(kind="zscore", over=over),)


def test_channels_of_two_kinds_are_normalised_apart() -> None:
    pair = (channel(name="CT", modality="CT"), channel(name="PET"))
    plan = planned(prints(channels=pair))
    assert [each.kind for each in plan.normalisation] == ["standard", "zscore"]
    assert "CT: CT (" in plan.reasons["normalisation"]
    assert "PET: MR (" in plan.reasons["normalisation"]


def test_the_crop_that_saves_most_is_taken_and_shrinks_the_patch() -> None:
    crops = (crop(kept=0.5, extent_mm=(80.0, 80.0, 80.0)), crop("above", threshold=-3.0))
    plan = planned(prints(extent=(240.0, 240.0, 155.0), crops=crops))
    assert plan.crop == Crop(kind="above", threshold=-3.0, margin_mm=5.0)
    assert "40% of the median scan" in plan.reasons["crop"]
    assert "(100 x 110 x 120 voxels)" in plan.reasons["patch_voxels"]
    small = crop(kept=0.5, extent_mm=(1.0, 1.0, 2.0))
    assert planned(prints(extent=(2.0, 2.0, 3.0), crops=(small,))).crop.margin_mm == 0.1


@pytest.mark.parametrize(
    "useless",
    [crop(holds_labels=False), crop(kept=0.9), crop("above", threshold=-500.0)],
    ids=["cuts labels", "saves little", "air is for CT"],
)
def test_a_crop_that_is_no_good_is_left(useless: CropStatistics) -> None:
    assert planned(prints(crops=(useless,))).crop == Crop()


def test_ct_is_cropped_to_the_body() -> None:
    ct = (channel(name="CT", modality="CT"),)
    plan = planned(prints(channels=ct, crops=(crop("above", threshold=-500.0),)))
    assert (plan.crop.kind, plan.crop.threshold) == ("above", -500.0)


def test_every_choice_has_a_reason_and_the_plan_survives_json() -> None:
    plan = planned(prints())
    assert set(plan.reasons) == {
        "orientation",
        "crop",
        "spacing_mm",
        "patch_voxels",
        "token_voxels",
        "normalisation",
        "image_order",
        "mirror_axes",
        "postprocessing",
    }
    assert all(plan.reasons.values())
    assert Plan.model_validate_json(plan.model_dump_json()) == plan
    assert json.loads(plan.model_dump_json())["patch_voxels"] == [80, 80, 80]


def test_a_spacing_can_be_asked_for() -> None:
    plan = planned(prints(), spacing_mm=(2.0, 2.0, 2.0))
    assert plan.spacing_mm == (2.0, 2.0, 2.0)
    assert plan.reasons["spacing_mm"] == "as asked for"
    assert plan.patch_voxels == (40, 40, 40)


@pytest.mark.parametrize("wrong", [{"memory_gb": 0.0}, {"batch": 0}, {"patch_limit_voxels": 0}])
def test_memory_and_batch_are_positive(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="give positive numbers"):
        planned(prints(), **wrong)


REAL: dict[str, dict[str, Any]] = {
    "hippocampus": {
        "spacing_mm": (1.0, 1.0, 1.0),
        "patch_voxels": (32, 48, 32),
        "token_voxels": (8, 8, 8),
        "crop": Crop(),
        "mirror_axes": (0,),
    },
    "brats_2ch": {
        "spacing_mm": (1.0, 1.0, 1.0),
        "patch_voxels": (96, 96, 96),
        "token_voxels": (16, 16, 16),
        "mirror_axes": (0,),
    },
    "chaos_mr": {
        "spacing_mm": (1.25, 1.25, 7.7),
        "patch_voxels": (176, 176, 28),
        "token_voxels": (16, 16, 4),
        "crop": Crop(),
        "mirror_axes": (),
    },
    "spleen_ct_crop": {
        "spacing_mm": (0.794922, 0.794922, 5.0),
        "patch_voxels": (160, 160, 24),
        "token_voxels": (16, 16, 4),
        "crop": Crop(),
        "mirror_axes": (0,),
    },
    "totalseg_example": {"spacing_mm": (3.0, 3.0, 3.0), "crop": Crop(), "mirror_axes": ()},
}


def test_what_comes_in_one_piece_is_predicted_in_one() -> None:
    labels = (
        label(1, "liver", cases=10, least_largest_part=0.995),
        label(2, "nodes", cases=10, least_largest_part=0.98),
        label(3, "spleen", cases=9, least_largest_part=1.0),
    )
    plan = planned(prints(labels=labels))
    assert plan.postprocessing == (Postprocessing(label=1, largest_component=True),)
    assert plan.reasons["postprocessing"].startswith("labels in one piece (99% at least)")
    plan = planned(prints(labels=labels[1:]))
    assert plan.postprocessing == ()
    assert plan.reasons["postprocessing"].startswith("none: no label is in one piece")


@pytest.mark.parametrize("name", REAL)
def test_real_folders(name: str, real_data: Path) -> None:
    dataset = open_dataset(real_data / name)
    plan = make_plan(dataset, fingerprint(dataset))
    for field, expected in REAL[name].items():
        assert getattr(plan, field) == expected, field
    kinds = {each.kind for each in plan.normalisation}
    whole = {"hippocampus": 2, "chaos_mr": 4}.get(name, 0)
    assert len(plan.postprocessing) == whole
    assert kinds == ({"standard"} if name == "spleen_ct_crop" else {"zscore"})
    if name == "brats_2ch":
        # Skull-stripped and z-scored as a whole: the background is constant, but not 0.
        assert plan.crop.kind == "above"
        assert plan.crop.threshold == pytest.approx(-3.12, abs=0.01)
