"""The fingerprint's numbers against numpy's on phantoms whose answers are known."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from unetr.data.dataset import open_dataset
from unetr.data.facts import count_values
from unetr.data.fingerprint import Fingerprint, fingerprint
from unetr.data.mirror import names_a_side

RAS = nib.orientations.axcodes2ornt("RAS")


def save(
    path: Path,
    ras: np.ndarray[Any, Any],
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
    axes: str = "RAS",
) -> None:
    """Stores an array given along the patient's axes in a file of another orientation."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(ras, np.diag([*spacing_mm, 1.0]))
    turn = nib.orientations.ornt_transform(RAS, nib.orientations.axcodes2ornt(axes))
    nib.save(image.as_reoriented(turn), path)


def one_case(
    root: Path,
    image: np.ndarray[Any, Any],
    label: np.ndarray[Any, Any],
    name: str = "a",
    **how: Any,
) -> Path:
    save(root / "images" / f"{name}.nii.gz", image, **how)
    save(root / "labels" / f"{name}.nii.gz", label, **how)
    return root


def ball(
    shape: tuple[int, int, int], centre: tuple[float, float, float], radius: float
) -> np.ndarray[Any, Any]:
    grid = np.indices(shape)
    square = sum((grid[axis] - centre[axis]) ** 2 for axis in range(3))
    inside: np.ndarray[Any, Any] = square <= radius**2
    return inside


def taken(root: Path) -> Fingerprint:
    return fingerprint(open_dataset(root))


def test_intensities_inside_the_foreground(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(100, 20, (20, 20, 20)).astype(np.float32)
    label = np.zeros((20, 20, 20), np.uint8)
    label[4:12, 4:12, 4:12] = 3
    channel = taken(one_case(tmp_path, values, label)).channels[0]
    inside = values[label > 0]
    assert channel.mean == pytest.approx(inside.mean(), rel=1e-5)
    assert channel.std == pytest.approx(inside.std(), rel=1e-5)
    assert [channel.percentile_00_5, channel.percentile_99_5] == pytest.approx(
        np.percentile(inside, [0.5, 99.5]).tolist(), rel=1e-5
    )
    assert (channel.minimum, channel.maximum) == pytest.approx((values.min(), values.max()))


def test_a_large_foreground_is_sampled_alike_each_time(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(50, 5, (60, 60, 60)).astype(np.float32)
    root = one_case(tmp_path, values, np.ones((60, 60, 60), np.uint8))
    first, again = taken(root), taken(root)
    assert first == again
    assert first.channels[0].mean == pytest.approx(50, abs=0.3)
    assert first.channels[0].std == pytest.approx(5, abs=0.2)


def test_sizes_and_spacings_are_the_patients_not_the_files(tmp_path: Path) -> None:
    image = np.random.default_rng(3).normal(size=(10, 12, 14)).astype(np.float32)
    label = np.zeros((10, 12, 14), np.uint8)
    label[1:3, 2:5, 3:7] = 1
    prints = {}
    for axes in ("RAS", "LPS", "SAL"):
        root = one_case(tmp_path / axes, image, label, spacing_mm=(1.0, 2.0, 3.0), axes=axes)
        prints[axes] = taken(root)
        assert prints[axes].orientations == {axes: 1}
        assert prints[axes].size_voxels.median == (10.0, 12.0, 14.0)
        assert prints[axes].spacing_mm.median == (1.0, 2.0, 3.0)
        assert prints[axes].extent_mm.median == (10.0, 24.0, 42.0)
        assert prints[axes].foreground_mm.median == (2.0, 6.0, 12.0)
        assert prints[axes].labels == prints["RAS"].labels
        assert prints[axes].crops == prints["RAS"].crops


def test_spread_over_cases_and_label_volumes(tmp_path: Path) -> None:
    for name, depth, value in (("a", 4, 5), ("b", 6, 5), ("c", 20, 9)):
        image = np.full((8, 8, depth), 1, np.float32)
        image[0, 0, 0] = depth
        label = np.zeros((8, 8, depth), np.uint8)
        label[:5, :5, :4] = value
        one_case(tmp_path, image, label, name, spacing_mm=(1.0, 1.0, depth / 2))
    found = taken(tmp_path)
    assert found.cases == 3
    assert found.size_voxels.minimum == (8.0, 8.0, 4.0)
    assert found.size_voxels.median == (8.0, 8.0, 6.0)
    assert found.size_voxels.maximum == (8.0, 8.0, 20.0)
    assert found.spacing_mm.median == (1.0, 1.0, 3.0)
    assert found.spacing_10th_mm[2] == pytest.approx(2.2)
    five, nine = found.labels
    assert (five.id, five.cases, nine.id, nine.cases) == (5, 2, 9, 1)
    assert five.median_ml == pytest.approx(100 * (2 + 3) / 2 / 1000)
    assert five.voxel_fraction == pytest.approx(200 / (64 * 30))


def test_the_largest_piece_of_each_label(tmp_path: Path) -> None:
    """Pieces that touch by a corner are one; the case that has it most in pieces counts."""
    for name, stray in (("a", 0), ("b", 2), ("c", 1)):
        label = np.zeros((9, 8, 8), np.uint8)
        label[:2, :2, :2] = label[2:4, 2:4, 2:4] = 3
        label[8, 7, :stray] = 3
        label[5:7, 5, 5] = 4
        one_case(tmp_path, np.full(label.shape, ord(name), np.float32) + label, label, name)
    three, four = taken(tmp_path).labels
    assert three.least_largest_part == pytest.approx(16 / 18)
    assert four.least_largest_part == 1.0


def test_digest_names_the_content(tmp_path: Path) -> None:
    label = np.ones((4, 4, 4), np.uint8)
    image = np.arange(64, dtype=np.float32).reshape(4, 4, 4)
    changed = image.copy()
    changed[3, 3, 3] += 1
    digests = [
        taken(one_case(tmp_path / name, array, label)).digest
        for name, array in (("one", image), ("two", image), ("three", changed))
    ]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64])
def test_values_are_counted(dtype: Any) -> None:
    rng = np.random.default_rng(7)
    labels = rng.choice(np.array([0, 3, 117], dtype), (7, 8, 9))
    expected = {int(value): int((labels == value).sum()) for value in (0, 3, 117)}
    assert count_values(labels) == expected
    if dtype is not np.uint8:
        labels[0, 0, 0] = -1
        assert count_values(labels)[-1] == 1
    if dtype is np.int64:
        labels[0, 0, 1] = 2**40
        assert count_values(labels)[2**40] == 1


def test_survives_json(tmp_path: Path) -> None:
    root = one_case(
        tmp_path, np.arange(64, dtype=np.float32).reshape(4, 4, 4), np.ones((4, 4, 4), np.uint8)
    )
    found = taken(root)
    assert Fingerprint.model_validate_json(found.model_dump_json()) == found


def _names(root: Path, channel: str) -> None:
    (root / "labels.toml").write_text(f'channels = ["{channel}"]\n[labels]\n1 = "x"\n')


@pytest.mark.parametrize(
    ("lows", "channel", "expected"),
    [
        ((-1024, -1000), "", "CT"),
        ((-1024, 0), "", "MR"),
        ((0, 0), "", "MR"),
        ((0, 0), "CT", "CT"),
        ((0, 0), "CTA", "MR"),
        ((-1024, -1024), "T1", "MR"),
        ((0, 0), "low-dose ct", "CT"),
        ((-1024, -1000), "CT/MR", "CT"),
        ((-1024, 0), "CT or MR", "MR"),
        ((0, 0), "PET/CT", "MR"),
    ],
)
def test_modality(lows: tuple[int, int], channel: str, expected: str, tmp_path: Path) -> None:
    for name, low in zip("ab", lows, strict=True):
        image = np.full((6, 6, 6), 300, np.int16)
        image[0] = low
        one_case(tmp_path, image, np.ones((6, 6, 6), np.uint8), name)
    if channel:
        _names(tmp_path, channel)
    statistics = taken(tmp_path).channels[0]
    assert statistics.modality == expected
    assert statistics.modality_reason


SHAPE = (60, 40, 40)


@pytest.mark.parametrize("axes", ["RAS", "LPI"])
def test_kidneys_are_twins_liver_and_spleen_are_not(axes: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    for name in "abc":
        shift = rng.uniform(-1.5, 1.5, 3)
        label = np.zeros(SHAPE, np.uint8)
        label[ball(SHAPE, (42 + shift[0], 20, 24), 11)] = 1
        label[ball(SHAPE, (14 + shift[0], 20, 24 + shift[2]), 5)] = 4
        label[ball(SHAPE, (45, 8 + shift[1], 7), 4)] = 2
        label[ball(SHAPE, (15 + shift[0], 8, 8 + shift[2]), 4)] = 3
        image = rng.normal(size=SHAPE).astype(np.float32)
        one_case(tmp_path, image, label, name, axes=axes)
    assert taken(tmp_path).mirror_twins == ((2, 3),)


def test_parts_that_change_sides_are_no_twins(tmp_path: Path) -> None:
    for name, side in zip("abcd", (1, -1, 1, -1), strict=True):
        label = np.zeros(SHAPE, np.uint8)
        label[ball(SHAPE, (29.5 + 12 * side, 20, 20), 5)] = 1
        label[ball(SHAPE, (29.5 - 12 * side, 20, 20), 5)] = 2
        image = np.random.default_rng(5).normal(size=SHAPE).astype(np.float32)
        one_case(tmp_path, image, label, name)
    assert taken(tmp_path).mirror_twins == ()


@pytest.mark.parametrize(
    "name",
    [
        "left kidney",
        "kidney_R",
        "Lung-right",
        "hippocampus_l",
        "left upper lobe",
        "Niere links",
        "LeftKidney",
        "kidneyLeft",
    ],
)
def test_names_that_say_a_side(name: str) -> None:
    assert names_a_side(name)


@pytest.mark.parametrize(
    "name", ["liver", "LV", "brightness", "cleft", "Anterior", "upper lobe", "L1", "vertebra_L5"]
)
def test_names_that_say_none(name: str) -> None:
    assert not names_a_side(name)


def test_crops_tell_what_they_keep(tmp_path: Path) -> None:
    image = np.zeros((20, 20, 20), np.float32)
    image[5:15, 5:15, 5:15] = 10 + np.arange(10)
    label = np.zeros((20, 20, 20), np.uint8)
    label[6:9, 6:9, 6:9] = 1
    nonzero, above_air = taken(one_case(tmp_path / "in", image, label)).crops
    assert (nonzero.kind, nonzero.kept, nonzero.holds_labels) == ("nonzero", 0.125, True)
    assert nonzero.extent_mm == (10.0, 10.0, 10.0)
    assert (above_air.kept, above_air.threshold) == (1.0, -500.0)
    label[2, 2, 2] = 1
    assert not taken(one_case(tmp_path / "out", image, label)).crops[0].holds_labels


def test_a_constant_background_below_the_content_is_found(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    label = np.zeros((20, 20, 20), np.uint8)
    label[8:12, 8:12, 8:12] = 1
    for name, low in (("a", -3.0), ("b", -5.0)):
        image = np.full((20, 20, 20), low, np.float32)
        image[5:15, 5:15, 5:15] = rng.uniform(0, 1, (10, 10, 10))
        one_case(tmp_path, image, label, name)
    crop = taken(tmp_path).crops[-1]
    assert crop.kind == "above"
    assert crop.threshold is not None
    assert -3.0 < crop.threshold < 0.0
    assert (crop.kept, crop.holds_labels) == (0.125, True)
