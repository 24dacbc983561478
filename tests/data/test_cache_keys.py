"""What makes the cache preprocess a case again: other files or another plan, and nothing else."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unetr.data.cache import CaseCache
from unetr.data.cases import Case
from unetr.data.plan import Crop, Label, Normalisation, Plan, Region
from unetr.image import read_image, write_image, write_labels

from .cached_case import PLAN, count_made


def test_second_time_is_read(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = count_made(monkeypatch)
    for _ in range(2):
        CaseCache(tmp_path / "cache", PLAN).get(case)
    assert len(made) == 1
    # What does not change the input does not change the key.
    CaseCache(tmp_path / "cache", PLAN.model_copy(update={"overlap": 0.75})).get(case)
    assert len(made) == 1
    CaseCache(tmp_path / "cache", PLAN.model_copy(update={"spacing_mm": (2.0, 2.0, 3.0)})).get(case)
    assert len(made) == 2


CHANGES: dict[str, Any] = {
    "channels": ("MR",),
    "labels": (*PLAN.labels, Label(id=9, name="kidney")),
    "regions": (Region(name="all", members=(2, 7), paint=2),),
    "orientation": "LPS",
    "spacing_mm": (2.0, 2.0, 3.0),
    "crop": Crop(kind="above", threshold=0.5),
    "normalisation": (Normalisation(kind="range", low=0.0, high=1.0),),
    "image_order": (3, 3, 3),
}


# What is done with preprocessed cases, and not to them.
NO_MATTER = {
    "patch_voxels", "token_voxels", "overlap", "blend", "mirror_axes", "postprocessing", "reasons",
}  # fmt: skip


def test_every_field_of_the_plan_has_been_thought_of() -> None:
    assert {*CHANGES} | NO_MATTER == {*Plan.model_fields}


@pytest.mark.parametrize("field", CHANGES)
def test_another_plan_is_another_key(
    field: str, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = count_made(monkeypatch)
    CaseCache(tmp_path / "cache", PLAN).get(case)
    CaseCache(tmp_path / "cache", PLAN.model_copy(update={field: CHANGES[field]})).get(case)
    assert len(made) == 2


def test_changed_voxels_are_made_again(case: Case, tmp_path: Path) -> None:
    """Though the file's time is what it was."""
    cache = CaseCache(tmp_path / "cache", PLAN)
    before = cache.get(case).image.copy()
    image, stamp = read_image(case.images[0]), case.images[0].stat()
    write_image(case.images[0], replace(image, array=image.array[:, ::-1]))
    os.utime(case.images[0], ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert not np.array_equal(before, cache.get(case).image)
    assert cache.made == ["a", "a"]


def test_changed_content_is_made_again(case: Case, tmp_path: Path) -> None:
    assert case.label is not None
    cache = CaseCache(tmp_path / "cache", PLAN)
    before = cache.get(case).labels.copy()
    image = read_image(case.images[0])
    stamp = case.label.stat()
    write_labels(case.label, np.full(image.shape, 7, np.uint8), image)
    os.utime(case.label, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert (cache.get(case).labels == 2).all()
    assert not np.array_equal(before, cache.get(case).labels)
