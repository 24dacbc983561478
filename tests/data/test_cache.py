"""The cache: what it gives is what preprocessing gives, whatever happened to it before."""

import errno
import gc
import io
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK

from unetr.data import cache as cache_module
from unetr.data.cache import CaseCache
from unetr.data.cases import Case
from unetr.data.plan import Crop, Plan, Region
from unetr.data.preprocess import preprocess, preprocess_labels
from unetr.errors import InputError
from unetr.image import Volume, read_image, read_labels, write_image, write_labels

from .cached_case import PLAN, count_made


def expected(case: Case, plan: Plan = PLAN) -> tuple[np.ndarray, np.ndarray]:
    assert case.label is not None
    x, placement = preprocess(plan, read_image(case.images[0]))
    return x, preprocess_labels(plan, read_labels(case.label), placement)


def test_gives_what_preprocessing_gives(case: Case, tmp_path: Path) -> None:
    found = CaseCache(tmp_path / "cache", PLAN).get(case)
    image, labels = expected(case)
    np.testing.assert_array_equal(found.image, image)
    np.testing.assert_array_equal(found.labels, labels)
    assert isinstance(found.image, np.memmap)
    liver, spleen = found.foreground
    assert set(map(tuple, spleen)) == set(map(tuple, np.argwhere(labels == 2)))
    assert len(liver) == (labels == 1).sum()
    assert (labels[tuple(liver.T)] == 1).all()


def test_regions_are_masks(case: Case, tmp_path: Path) -> None:
    regions = (
        Region(name="all", members=(2, 7), paint=2),
        Region(name="spleen", members=(7,), paint=7),
    )
    plan = PLAN.model_copy(update={"regions": regions})
    found = CaseCache(tmp_path / "cache", plan).get(case)
    np.testing.assert_array_equal(found.labels, expected(case, plan)[1])
    assert found.labels.shape[0] == len(found.foreground) == 2
    assert (found.labels[1][tuple(found.foreground[1].T)] == 1).all()


def test_many_foreground_voxels_are_thinned_evenly(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "_KEPT_VOXELS", 500)
    liver, _ = CaseCache(tmp_path / "cache", PLAN).get(case).foreground
    again, _ = CaseCache(tmp_path / "other", PLAN).get(case).foreground
    assert len(liver) == 500
    np.testing.assert_array_equal(liver, again)
    everywhere = np.argwhere(expected(case)[1] == 1)
    np.testing.assert_allclose(liver.mean(axis=0), everywhere.mean(axis=0), atol=0.7)


def test_labels_that_the_crop_cuts_are_told_of(case: Case, tmp_path: Path) -> None:
    whole = CaseCache(tmp_path / "cache", PLAN)
    whole.get(case)
    assert whole.cut == []
    image = read_image(case.images[0])
    image.array[:, 20:] = 0
    write_image(case.images[0], image)
    plan = PLAN.model_copy(update={"crop": Crop(kind="nonzero")})
    cropped = CaseCache(tmp_path / "cache", plan)
    cropped.get(case)
    assert cropped.cut == ["a"]


@pytest.mark.parametrize("file", ["image.npy", "labels.npy", "foreground.npy"])
@pytest.mark.parametrize("harm", ["truncated", "missing"])
def test_damaged_entry_is_made_again(case: Case, tmp_path: Path, file: str, harm: str) -> None:
    folder = tmp_path / "cache"
    CaseCache(folder, PLAN).get(case)
    (path,) = folder.glob(f"*/{file}")
    if harm == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-400])
    found = CaseCache(folder, PLAN).get(case)
    image, labels = expected(case)
    np.testing.assert_array_equal(found.image, image)
    np.testing.assert_array_equal(found.labels, labels)


def test_two_at_once(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both make the entry; the one that comes second takes the other's."""
    both = threading.Barrier(2)
    real = cache_module.preprocess_labels

    def together(*arguments: Any) -> Any:
        both.wait(timeout=20)
        return real(*arguments)

    monkeypatch.setattr(cache_module, "preprocess_labels", together)
    found: list[Any] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(CaseCache(tmp_path / "cache", PLAN).get(case).image)
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    np.testing.assert_array_equal(found[0], found[1])
    assert len(list((tmp_path / "cache").iterdir())) == 1


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts files as Linux lists them")
def test_many_cases_hold_no_files_open(case: Case, tmp_path: Path) -> None:
    cache = CaseCache(tmp_path / "cache", PLAN)
    cache.get(case)
    gc.collect()  # closes what other tests have left
    before = open_files()
    held = [cache.get(case) for _ in range(20)]
    for each in held:
        assert each.image[0, 0, 0, 0] == held[0].image[0, 0, 0, 0]
        assert each.labels.size
    assert open_files() == before


@pytest.mark.parametrize("file", ["image.npy", "labels.npy", "foreground.npy"])
def test_an_entry_that_cannot_be_opened_is_kept(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    """Too many files open, say: that is no damage."""
    cache = CaseCache(tmp_path / "cache", PLAN)
    cache.get(case)
    real = io.open

    def few(path: Any, *arguments: Any, **keywords: Any) -> Any:
        if str(path).endswith(file):
            raise OSError(errno.EMFILE, "Too many open files")
        return real(path, *arguments, **keywords)

    with monkeypatch.context() as patched:
        patched.setattr("builtins.open", few)
        patched.setattr("io.open", few)
        with pytest.raises(InputError, match=r"cannot be read \(Too many open files\)"):
            cache.get(case)
    made = count_made(monkeypatch)
    cache.get(case)
    assert made == []


def test_full_disk_is_one_line(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache_module.np, "save", full)
    with pytest.raises(InputError, match="the disk is full; free some space"):
        CaseCache(tmp_path / "cache", PLAN).get(case)
    assert list((tmp_path / "cache").iterdir()) == []


def test_killed_long_ago_is_swept_and_a_run_beside_is_not(case: Case, tmp_path: Path) -> None:
    old, fresh = tmp_path / "cache/.part-old", tmp_path / "cache/.part-fresh"
    for part in (old, fresh):
        part.mkdir(parents=True)
    os.utime(old, (0, 0))
    CaseCache(tmp_path / "cache", PLAN).get(case)
    assert fresh.exists()
    assert not old.exists()


def test_two_may_sweep_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the other has removed between the listing and the look is gone."""
    monkeypatch.setattr(Path, "glob", lambda self, pattern: iter([self / ".part-gone"]))
    CaseCache(tmp_path / "cache", PLAN)


def test_a_spacing_that_would_fill_the_memory_names_the_file(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Micrometres, say, that a header gives as if they were millimetres."""
    image = read_image(case.images[0])
    affine = image.affine @ np.diag([1e3, 1e3, 1e3, 1.0])
    write_image(tmp_path / "huge.nii.gz", Volume(image.array, affine))
    assert case.label is not None
    labels = read_labels(case.label)
    write_labels(tmp_path / "huge_seg.nii.gz", labels.array[0], Volume(labels.array, affine))
    huge = Case("huge", (tmp_path / "huge.nii.gz",), tmp_path / "huge_seg.nii.gz")
    with pytest.raises(InputError, match=r"huge.nii.gz: spacing: at .* GB; correct the header"):
        CaseCache(tmp_path / "cache", PLAN).get(huge)


def test_case_without_labels(case: Case, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no labels; training needs them"):
        CaseCache(tmp_path / "cache", PLAN).get(Case("a", case.images))


def test_voxels_beside_a_header_that_stays_the_same_are_looked_at(tmp_path: Path) -> None:
    image, label = tmp_path / "a.mhd", tmp_path / "seg.mhd"
    voxels = np.zeros((8, 8, 8), np.uint8)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(voxels.astype(np.float32)), str(image))
    cache, headers = CaseCache(tmp_path / "cache", PLAN), []
    for value, number in ((2, 1), (7, 2)):
        voxels[2:5] = value
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(voxels), str(label))
        headers.append(label.read_bytes())
        assert set(np.unique(cache.get(Case("a", (image,), label)).labels)) == {0, number}
    assert headers[0] == headers[1]
