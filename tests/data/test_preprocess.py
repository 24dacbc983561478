"""Preprocessing by itself: resampling, cropping, normalisation, and what it refuses."""

import numpy as np
import pytest
import torch

from unetr.data import interpolation, normalise
from unetr.data.interpolation import apply_filters, filter_matrix
from unetr.data.plan import Crop, Normalisation
from unetr.data.preprocess import Restorer, preprocess, preprocess_labels
from unetr.errors import InputError
from unetr.image.volume import Volume

from .placements import make_plan, scan


@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize("target", [(0.7, 1.0, 2.1), (3.0, 0.5, 1.3)])
def test_resampling_is_affine_exact(order, target):
    """A linear ramp in mm is, inside, the same ramp on the network's grid: no half-voxel shift."""
    affine = np.diag([-0.9, 1.1, 2.0, 1.0])
    affine[:3, 3] = (20, -30, 7)
    places = np.stack([*np.indices((24, 24, 24)), np.ones((24, 24, 24))])
    mm = np.einsum("ij,jxyz->ixyz", affine, places)
    slope = (1.0, 2.0, -3.0)
    ramp = sum(s * axis for s, axis in zip(slope, mm[:3], strict=True))
    plan = make_plan(
        spacing_mm=target,
        image_order=(order,) * 3,
        normalisation=(Normalisation(kind="range", low=-1000, high=1000),),
    )
    x, placement = preprocess(plan, scan(ramp.astype(np.float32), affine))
    places = np.stack([*np.indices(placement.shape), np.ones(placement.shape)])
    mm = np.einsum("ij,jxyz->ixyz", placement.affine, places)
    wanted = sum(s * axis for s, axis in zip(slope, mm[:3], strict=True))
    margin = [int(np.ceil(2 * max(1, ratio) / ratio)) + 1 for ratio in placement.ratio]
    inner = tuple(slice(m, -m) for m in margin)
    found = x[0] * 2000 - 1000
    assert found[inner].size > 100
    assert np.abs(found[inner] - wanted[inner]).max() < 2e-2
    back = placement.restore_map(found[None])[0]
    inner = tuple(
        slice(m, -m)
        for m in (
            int(np.ceil(2 * max(1, placement.ratio[k]))) + 2 for k in np.argsort(placement.axes)
        )
    )
    assert np.abs(back[inner] - ramp[inner]).max() < 2e-2


def test_shrinking_does_not_alias():
    """A stripe per voxel becomes its mean, not whichever stripe the new grid happens to hit."""
    stripes = np.indices((48, 4, 4)).sum(0) % 2
    plan = make_plan(spacing_mm=(6.0, 1.0, 1.0))
    x, _ = preprocess(plan, scan(stripes.astype(np.float32), np.eye(4)))
    assert x.shape == (1, 8, 4, 4)
    assert np.abs(x - 0.5).max() < 0.05


def test_crop_is_background_outside():
    """A body in air: the box is the body's with its margin, and air comes back as background."""
    plan = make_plan(crop=Crop(kind="above", threshold=-500, margin_mm=3.0))
    array = np.full((12, 10, 8), -1000, np.int16)
    array[4:9, 5:, 2:4] = 40
    x, placement = preprocess(plan, scan(array, np.diag([2.0, 1.0, 4.0, 1.0])))
    assert placement.box == ((2, 11), (2, 10), (1, 5))
    scores = torch.zeros(4, *x.shape[1:])
    scores[2] = 1.0
    restorer = Restorer(plan, placement, probabilities=True)
    restorer.push(scores)
    restored = restorer.finish()
    inside = np.zeros(array.shape, bool)
    inside[2:11, 2:10, 1:5] = True
    assert np.array_equal(restored.labels, np.where(inside, 500, 0))
    assert np.array_equal(restored.probabilities[0], ~inside)
    assert np.array_equal(restored.probabilities[2], inside)


def test_nonzero_crop_sees_all_channels_and_an_empty_scan_is_kept():
    plan = make_plan(
        channels=("a", "b"),
        crop=Crop(kind="nonzero"),
        normalisation=(Normalisation(kind="zscore", over="nonzero"),) * 2,
    )
    array = np.zeros((2, 6, 6, 6), np.float32)
    x, placement = preprocess(plan, Volume(array, np.eye(4)))
    assert x.shape == (2, 6, 6, 6)
    assert not x.any()
    array[0, 1, 2, 2], array[1, 4, 2, 3] = 7.0, 9.0
    _, placement = preprocess(plan, Volume(array, np.eye(4)))
    assert placement.box == ((1, 5), (2, 3), (2, 4))


@pytest.mark.parametrize(
    ("how", "wanted"),
    [
        ({"kind": "range", "low": 0, "high": 4}, [0, 0, 0.25, 0.5, 1, 1]),
        (
            {"kind": "standard", "low": 0, "high": 4, "mean": 1, "std": 2},
            [-0.5, -0.5, 0, 0.5, 1.5, 1.5],
        ),
        ({"kind": "zscore"}, None),
        ({"kind": "zscore", "over": "nonzero"}, None),
    ],
)
def test_normalisation(how, wanted):
    values = np.array([-2.0, 0, 1, 2, 4, 7])
    plan = make_plan(normalisation=(Normalisation(**how),))
    x, _ = preprocess(plan, scan(values.reshape(6, 1, 1).astype(np.int16), np.eye(4)))
    if wanted is None:
        used = values[values != 0] if "over" in how else values
        wanted = (values - used.mean()) / used.std()
        wanted[(values == 0) & ("over" in how)] = 0
    assert x.ravel() == pytest.approx(np.array(wanted), abs=1e-6)


def test_normalisation_in_parts_is_that_of_the_whole(monkeypatch):
    rng = np.random.default_rng(0)
    array = (rng.normal(100, 30, (9, 7, 5)) * (rng.random((9, 7, 5)) < 0.6)).astype(np.float32)
    for over in ("all", "nonzero"):
        plan = make_plan(normalisation=(Normalisation(kind="zscore", over=over),))
        x, _ = preprocess(plan, scan(array, np.eye(4)))
        monkeypatch.setattr(normalise, "_PART_VOXELS", 2 * 7 * 5)
        parts, _ = preprocess(plan, scan(array, np.eye(4)))
        monkeypatch.undo()
        np.testing.assert_allclose(parts, x, rtol=1e-6)
        used = x[x != 0] if over == "nonzero" else x
        assert (used.mean(), used.std()) == pytest.approx((0, 1), abs=1e-5)
    constant, _ = preprocess(plan, scan(np.full((4, 4, 4), 0.1, np.float32), np.eye(4)))
    assert not constant.any()


def test_input_is_left_alone():
    array = np.full((4, 4, 4), 9.0, np.float32)
    array.setflags(write=False)
    x, _ = preprocess(make_plan(), scan(array, np.eye(4)))
    assert (array == 9).all()
    assert (x == 1).all()


def test_wrong_input_is_told():
    plan = make_plan()
    with pytest.raises(InputError, match=r"scan.nii.gz: channels: 2, but the model takes 1 \(ct\)"):
        preprocess(plan, Volume(np.zeros((2, 4, 4, 4)), np.eye(4), source="scan.nii.gz"))
    volume = scan(np.zeros((4, 4, 4), np.uint8), np.eye(4))
    _, placement = preprocess(plan, volume)
    with pytest.raises(InputError, match=r"\(1, 4, 4, 5\) is not one channel on the grid"):
        preprocess_labels(plan, scan(np.zeros((4, 4, 5), np.uint8), np.eye(4)), placement)
    for strange in (-1, 3, 601, 70000):
        labels = np.zeros((4, 4, 4), np.int32)
        labels[1, 1, 1] = strange
        with pytest.raises(InputError, match=f"label values {strange} are not in the plan"):
            preprocess_labels(plan, scan(labels, np.eye(4)), placement)
    with pytest.raises(InputError, match="float32, not integers"):
        preprocess_labels(plan, scan(np.zeros((4, 4, 4), np.float32), np.eye(4)), placement)
    with pytest.raises(ValueError, match="do not fit"):
        Restorer(plan, placement).push(torch.zeros(4, 5, 4, 4))
    with pytest.raises(ValueError, match="0 of 4 planes"):
        Restorer(plan, placement).finish()


def test_resampling_in_parts_is_that_of_the_whole(monkeypatch):
    x = torch.randn(2, 9, 8, 7)
    # As files lie in memory, and as the network has them.
    for laid in (x, x.permute(0, 3, 2, 1).contiguous().permute(0, 3, 2, 1)):
        sizes = ((9, 5), (8, 12), (7, 7))
        filters = [filter_matrix(np.linspace(0, n - 1, m), n, order=1) for n, m in sizes]
        whole = apply_filters(laid, filters)
        monkeypatch.setattr(interpolation, "_PART_VOXELS", 100)
        torch.testing.assert_close(apply_filters(laid, filters), whole)
        monkeypatch.undo()
        assert whole.is_contiguous()
