"""Patches: where they come from, and that the sequence is a function of the seed alone."""

import numpy as np
import pytest
from monai.transforms.utils import correct_crop_centers

from unetr.data.cache import CaseCache
from unetr.data.cases import Case
from unetr.image import Volume, write_image, write_labels
from unetr.training.recipe import Sampling
from unetr.training.sampling import cut, draw, patch_start

from .tiny import array_case, tiny_plan


def test_each_epoch_goes_through_all_cases_in_a_new_order():
    epochs = [[draw(7, 10 * epoch + k, 10, 1).case for k in range(10)] for epoch in range(4)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_several_crops_come_from_one_case():
    cases = [draw(0, number, 5, 4).case for number in range(20)]
    assert cases == [case for case in cases[::4] for _ in range(4)]
    assert len(set(cases)) == 5


def test_samples_are_functions_of_seed_and_number():
    first, again, other = draw(3, 42, 8, 1), draw(3, 42, 8, 1), draw(4, 42, 8, 1)
    assert first.rng.random(5).tolist() == again.rng.random(5).tolist()
    assert first.rng.random() != other.rng.random()


def centres(sampling, count=600):
    """Labels at the centres of many patches, in a case so large that no patch is pushed inside."""
    case = array_case(size=(80, 80, 80))
    rng = np.random.default_rng(0)
    found = []
    for _ in range(count):
        start = patch_start(case, (4, 4, 4), sampling, rng)
        found.append(int(case.labels[tuple(np.array(start) + 2)]))
    return np.bincount(found, minlength=3) / count


def test_foreground_to_background_as_asked_for():
    share = centres(Sampling(foreground=0.5))
    assert share[0] == pytest.approx(0.5, abs=0.06)
    share = centres(Sampling(foreground=1.0))
    assert share[0] == 0


def test_else_each_labelled_voxel_is_as_likely(tmp_path):
    """As in the published code, whose indices of the foreground know no classes."""
    image = Volume(np.zeros((1, 40, 40, 40), np.float32), np.eye(4))
    labels = np.zeros((40, 40, 40), np.uint8)
    labels[:30] = 1  # 48,000 voxels, more than are kept, and 12,000
    labels[32:, :, :] = 2
    labels[32:, 30:, :] = 0
    write_image(tmp_path / "a.nii.gz", image)
    write_labels(tmp_path / "a_seg.nii.gz", labels, image)
    case = CaseCache(tmp_path / "cache", tiny_plan()).get(
        Case("a", (tmp_path / "a.nii.gz",), tmp_path / "a_seg.nii.gz")
    )
    kept = labels[tuple(case.labelled.T)]
    assert (len(kept), 0 in kept) == (10_000, False)
    assert (kept == 1).mean() == pytest.approx((labels == 1).sum() / (labels > 0).sum(), abs=0.02)
    starts = [
        patch_start(case, (1, 1, 1), Sampling(foreground=1.0), np.random.default_rng(k))
        for k in range(500)
    ]
    found = [labels[start] for start in starts]
    assert np.mean(np.array(found) == 1) == pytest.approx(0.83, abs=0.06)


def test_by_class_sees_small_structures_as_often():
    case = array_case()
    case.foreground[0] = case.foreground[0][:5]
    rng, sampling = np.random.default_rng(0), Sampling(foreground=1.0, by_class=True)
    starts = [patch_start(case, (2, 2, 2), sampling, rng) for _ in range(400)]
    small = {tuple(int(n) - 1 for n in voxel) for voxel in case.foreground[0]}
    assert sum(start in small for start in starts) / 400 == pytest.approx(0.5, abs=0.08)


def test_patches_lie_inside_and_small_scans_in_the_middle():
    case, rng = array_case(size=(24, 20, 10)), np.random.default_rng(0)
    starts = np.array([patch_start(case, (16, 16, 16), Sampling(), rng) for _ in range(100)])
    assert starts[:, 0].min() >= 0
    assert starts[:, 0].max() <= 8
    assert set(starts[:, 2]) == {-3}


def test_patches_are_pushed_inside_as_monais_are():
    case = array_case(size=(24, 20, 22))
    for voxel in ((0, 0, 0), (23, 19, 21), (12, 10, 11), (7, 8, 9), (15, 12, 13)):
        case.foreground = [np.array([voxel])]
        start = patch_start(case, (16, 16, 16), Sampling(foreground=1.0), np.random.default_rng(0))
        centre = correct_crop_centers(list(voxel), (16, 16, 16), case.labels.shape)
        assert start == tuple(c - 8 for c in centre)


def test_cut_pads_with_zeros():
    array = np.arange(1, 28, dtype=np.float32).reshape(1, 3, 3, 3)
    patch = cut(array, (-1, 1, 2), (3, 2, 4))
    assert patch.shape == (1, 3, 2, 4)
    assert np.array_equal(patch[0, 1:, :, 0], array[0, :2, 1:, 2])
    assert patch[0, 0].sum() == 0
    assert patch[..., 1:].sum() == 0


def test_a_case_without_foreground_gives_background():
    case = array_case()
    case.labels[:] = 0
    case.foreground = [np.zeros((0, 3), int)] * 2
    start = patch_start(case, (16, 16, 16), Sampling(foreground=1.0), np.random.default_rng(0))
    assert all(0 <= first <= 8 for first in start)
