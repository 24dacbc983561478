"""The predictor on scans whose segmentation is known, whatever way the scan lies."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

from unetr.data.plan import Postprocessing
from unetr.errors import InputError
from unetr.image.volume import Volume
from unetr.inference import memory
from unetr.inference.members import shared_plan
from unetr.inference.predictor import Predictor
from unetr.machine import free_gb, resident_gb


def phantom(size=(40, 50, 30), seed=0) -> Volume:
    """Bright blobs in every octant, of different sizes."""
    random = np.random.default_rng(seed)
    array = random.normal(0, 0.05, size).astype(np.float32)
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in size], indexing="ij"), -1)
    for number in range(8):
        half = np.array([number >> 2 & 1, number >> 1 & 1, number & 1])
        centre = (0.25 + 0.5 * half) * size
        array += np.linalg.norm(grid - centre, axis=-1) < 3 + number / 2
    return Volume(array[None], np.diag([1.0, 1.0, 1.0, 1.0]))


def turned(volume: Volume, codes: str) -> Volume:
    """The same scan with its axes in another order and direction."""
    image = nib.Nifti1Image(volume.array[0], volume.affine)
    to = ornt_transform(nib.io_orientation(volume.affine), axcodes2ornt(codes))
    image = image.as_reoriented(to)
    return Volume(np.asarray(image.dataobj)[None], image.affine)


def back(array: np.ndarray, codes: str, like: Volume) -> np.ndarray:
    """Labels on a turned scan, in the axes of the scan it was made of."""
    to = ornt_transform(nib.io_orientation(like.affine), axcodes2ornt(codes))
    affine = like.affine @ inv_ornt_aff(to, like.shape)
    image = nib.Nifti1Image(array, affine)
    return np.asarray(
        image.as_reoriented(
            ornt_transform(nib.io_orientation(affine), nib.io_orientation(like.affine))
        ).dataobj
    )


def about_z(degrees: float) -> np.ndarray:
    """An affine that turns space about its third axis."""
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    turn = np.eye(4)
    turn[:2, :2] = [[cos, -sin], [sin, cos]]
    return turn


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """The least Dice over the labels of `a`."""
    scores = [
        2 * ((a == i) & (b == i)).sum() / ((a == i).sum() + (b == i).sum())
        for i in np.unique(a)
        if i
    ]
    return float(min(scores))


def test_labels_are_native_ids_on_the_scans_own_grid(octants):
    volume = phantom()
    found = Predictor(octants, engine="torch", precision="fp32", device="cpu")(volume)
    assert found.labels.shape == volume.shape
    assert np.array_equal(found.labels.affine, volume.affine)
    assert set(np.unique(found.labels.array)) == {0, *range(10, 90, 10)}
    # x is the slowest bit of the octant's number, z the fastest; labels count from 10.
    assert found.labels.array[0, 30, 12, 22] == 10 * (4 + 1 + 1)


@pytest.mark.parametrize("codes", ["LPS", "PIR", "SAL", "ASR", "IPL"])
def test_turned_scans_get_the_same_labels(octants, codes):
    volume = phantom()
    predictor = Predictor(octants, engine="torch", precision="fp32", device="cpu")
    straight = predictor(volume).labels.array[0]
    found = predictor(turned(volume, codes)).labels.array[0]
    assert dice(straight, back(found, codes, volume)) >= 0.97


def test_real_scans_turned_and_oblique(octants, real_data):
    from unetr.image import read_image

    predictor = Predictor(octants, engine="torch", precision="fp32", device="cpu")
    paths = sorted((real_data / "hippocampus" / "imagesTr").glob("*.nii.gz"))[:3]
    assert len(paths) == 3
    for path in paths:
        volume = read_image(path)
        straight = predictor(volume).labels.array[0]
        for codes in ("LPS", "PIR", "SAL"):
            found = predictor(turned(volume, codes)).labels.array[0]
            assert dice(straight, back(found, codes, volume)) >= 0.97
        # The patient tilted, the voxels the same: stored straight, and in another axis order.
        oblique = Volume(volume.array, about_z(12) @ volume.affine)
        assert dice(straight, predictor(oblique).labels.array[0]) >= 0.97
        stored = turned(volume, "PIR")
        oblique = Volume(stored.array, about_z(12) @ stored.affine)
        found = predictor(oblique).labels.array[0]
        assert dice(straight, back(found, "PIR", volume)) >= 0.97


def test_probabilities_and_uncertainty_lie_on_the_scan(octants):
    volume = turned(phantom(), "LPS")
    predictor = Predictor(
        octants,
        engine="torch",
        precision="fp32",
        device="cpu",
        probabilities=True,
        uncertainty=True,
    )
    found = predictor(volume)
    assert found.probabilities is not None
    assert found.uncertainty is not None
    p = found.probabilities.array
    assert p.shape == (9, *volume.shape)
    assert np.array_equal(10 * p.argmax(0), found.labels.array[0])
    assert np.allclose(p.astype(np.float32).sum(0), 1, atol=2e-3)
    assert found.uncertainty.array.shape == (1, *volume.shape)
    near = found.uncertainty.array[0][np.abs(p[0] - 0.5) < 0.1]
    far = found.uncertainty.array[0][p[0] > 0.999]
    assert near.min() > 0.5
    assert far.max() < 0.05


def test_two_members_are_averaged_and_disagree(octants):
    other = torch.nn.Module()
    other.forward = lambda x: octants.network(-x)
    other.config = {}
    second = type(octants)(other, octants.plan)
    predictor = Predictor(
        [octants, second], engine="torch", precision="fp32", device="cpu", uncertainty=True
    )
    found = predictor(phantom())
    assert found.uncertainty is not None
    assert found.uncertainty.array.shape[0] == 2
    entropy, information = found.uncertainty.array
    assert information.max() > 0.5
    assert np.all(information <= entropy + 1e-4)


def test_members_agree_on_rules_and_mirrorings_in_any_order(octants):
    largest = Postprocessing(label=10, largest_component=True)
    filled = Postprocessing(label=20, fill_holes=True)
    given = (
        {"postprocessing": (largest, filled), "mirror_axes": (0, 1), "overlap": 0.5},
        {"postprocessing": (filled,), "mirror_axes": (1, 2), "overlap": 0.25},
    )
    members = [replace(octants, plan=octants.plan.model_copy(update=one)) for one in given]
    for several in (members, members[::-1]):
        with pytest.warns(UserWarning, match="different post-processing; .* 1 of their rules"):
            plan = shared_plan(several)
        assert (plan.postprocessing, plan.mirror_axes, plan.overlap) == ((filled,), (1,), 0.5)
    assert shared_plan(members[:1]) == members[0].plan


def test_processes_of_one_machine_share_what_is_free(octants, monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    alone = free_gb()
    found = Predictor(octants, engine="torch", device="cpu").spare_gb()
    assert found == pytest.approx(alone / 4, rel=0.3)


def test_members_must_share_their_labels(octants):
    labels = octants.plan.labels[:-1]
    other = type(octants)(
        octants.network, octants.plan.model_copy(update={"labels": labels}), source="b"
    )
    with pytest.raises(InputError, match=r"b: labels .* differs .* must share"):
        Predictor([octants, other], engine="torch", device="cpu")


def test_wrong_channels_are_told(octants):
    volume = phantom()
    two = Volume(np.concatenate([volume.array, volume.array]), volume.affine)
    with pytest.raises(InputError, match="channel"):
        Predictor(octants, engine="torch", device="cpu")(two)


def test_little_memory_changes_no_bit(octants):
    """Plane by plane in as little as it says it needs, or many planes at a time."""
    volume = phantom((40, 70, 66))
    predictor = Predictor(
        octants, engine="torch", precision="fp32", device="cpu", probabilities=True
    )
    plain = predictor(volume)
    seen = []
    predictor.spare_gb = lambda: seen[0].least
    whole = memory.need

    def noted(*arguments, **keywords):
        seen.append(whole(*arguments, **keywords))
        return seen[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "need", noted)
        tight = predictor(volume)
        assert seen[0].planes(predictor.spare_gb()) == 1
        assert np.array_equal(tight.labels.array, plain.labels.array)
        assert np.array_equal(tight.probabilities.array, plain.probabilities.array)
        predictor.spare_gb = lambda: seen[0].least * 0.99
        with pytest.raises(InputError, match="GB of memory are free; free some"):
            predictor(volume)


def test_a_scan_that_cannot_fit_says_what_would(octants):
    predictor = Predictor(
        octants, engine="torch", device="cpu", max_memory_gb=resident_gb() + 0.001
    )
    with pytest.raises(InputError, match=r"need .* GB in all, not .* --max-memory"):
        predictor(phantom())
    with pytest.raises(InputError, match="give GB above 0"):
        Predictor(octants, engine="torch", device="cpu", max_memory_gb=0.0)


class Exhausted(torch.nn.Module):
    """As on an accelerator: no memory for two windows, nor for one beside the sums."""

    config: dict[str, int] = {}  # noqa: RUF012

    def __init__(self, network):
        super().__init__()
        self.network = network
        self.sums_are_away = lambda: False

    def forward(self, x):
        if len(x) > 1 or not self.sums_are_away():
            raise torch.OutOfMemoryError
        return self.network(x)


def test_exhausted_accelerator_halves_then_moves_the_sums_to_the_host(octants):
    volume = phantom((60, 90, 90))
    expected = Predictor(octants, engine="torch", precision="fp32", device="cpu")(volume)
    network = Exhausted(octants.network)
    predictor = Predictor(
        type(octants)(network, octants.plan), engine="torch", precision="fp32", device="cpu"
    )
    predictor._forward.batch = 4
    predictor._accumulate_on = torch.device("meta")  # stands for an accelerator
    network.sums_are_away = lambda: predictor._accumulate_on.type == "cpu"
    with pytest.warns(UserWarning, match="out of memory") as told:
        found = predictor(volume)
    assert [str(one.message).split(": ")[1] for one in told] == [
        "2 windows at a time from now on",
        "1 window at a time from now on",
        "scores are accumulated on the host from now on",
    ]
    assert np.array_equal(found.labels.array, expected.labels.array)


def test_a_window_that_never_fits_is_told(octants):
    network = Exhausted(octants.network)
    predictor = Predictor(type(octants)(network, octants.plan), engine="torch", device="cpu")
    with pytest.raises(InputError, match="one window of 64 x 64 x 64 voxels does not fit on cpu"):
        predictor(phantom())


def test_overlap_and_blend_replace_the_plans(octants):
    predictor = Predictor(octants, engine="torch", device="cpu", overlap=0.25, blend="constant")
    assert (predictor.overlap, predictor.blend) == (0.25, "constant")
    with pytest.raises(InputError, match="overlap"):
        Predictor(octants, engine="torch", device="cpu", overlap=1.0)
