"""Inspection: each kind of damage gives its one line, and sound data gives none."""

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from unetr.data.dataset import Defect, open_dataset
from unetr.data.inspect import compare_cases, inspect

from .damage import DAMAGE, NAMES, image_of, label_of, save, sound


def found(root: Path) -> list[Defect]:
    dataset = open_dataset(root)
    reports = list(inspect(dataset))
    assert [report.case.name for report in reports] == [case.name for case in dataset.cases]
    defects = [*dataset.defects, *(defect for report in reports for defect in report.defects)]
    return defects + compare_cases(dataset, reports)


def test_sound_data_has_no_defect(tmp_path: Path) -> None:
    assert found(sound(tmp_path)) == []


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_one_line_that_names_file_field_and_cure(kind: str, tmp_path: Path) -> None:
    damage, name, field, (wrong, cure) = DAMAGE[kind]
    damage(sound(tmp_path))
    (defect,) = found(tmp_path)
    assert (defect.severity, defect.field) == ("defect", field)
    folder = "labelsTr" if name == "b" else "imagesTr"
    told = str(defect)
    assert told.startswith(f"{tmp_path / folder / name}.nii.gz: {field}: ")
    # What is wrong comes first, and nothing of both is in the path.
    assert 0 < told.index(wrong) < told.rindex(cure)
    assert "\n" not in told
    assert told.count(str(tmp_path)) == 1


def test_several_defects_of_a_case_are_all_told(tmp_path: Path) -> None:
    sound(tmp_path)
    for kind in ("truncated", "label unknown"):
        DAMAGE[kind][0](tmp_path)
    assert len(found(tmp_path)) == 2


def test_a_count_that_is_wrong_is_told(tmp_path: Path) -> None:
    sound(tmp_path)
    document = json.loads((tmp_path / "dataset.json").read_text())
    (tmp_path / "dataset.json").write_text(json.dumps({**document, "numTraining": 9}))
    (defect,) = found(tmp_path)
    assert str(defect) == (
        f"{tmp_path / 'dataset.json'}: numTraining: says 9, but there are 5 training cases; "
        "set it to 5 or bring the missing cases"
    )


def test_files_that_are_listed_but_not_there_are_told(tmp_path: Path) -> None:
    sound(tmp_path)
    pairs = [
        {"image": f"imagesTr/{name}_0000.nii.gz", "label": f"labelsTr/{name}.nii.gz"}
        for name in NAMES
    ]
    pairs[0]["image"] = "imagesTr/lost.nii.gz"
    pairs[1]["label"] = "labelsTr/gone.nii.gz"
    document = {"modality": {"0": "T1"}, "labels": {"1": "one", "2": "two"}, "training": pairs}
    (tmp_path / "dataset.json").write_text(json.dumps(document))
    image, label = sorted(map(str, found(tmp_path)))
    assert image.startswith(str(tmp_path / "imagesTr" / "lost.nii.gz"))
    assert label.startswith(str(tmp_path / "labelsTr" / "gone.nii.gz"))


def _rewrite(root: Path, affine: np.ndarray[Any, Any]) -> None:
    for path in (image_of(root), image_of(root).with_name("b_0001.nii.gz"), label_of(root)):
        save(path, np.asanyarray(nib.load(path).dataobj).copy(), affine)


def test_unusual_orientation_and_spacing_are_notes(tmp_path: Path) -> None:
    _rewrite(sound(tmp_path), np.diag([-2.0, -1.0, 1.0, 1.0]))
    orientation, spacing = found(tmp_path)
    assert (orientation.field, orientation.severity) == ("orientation", "note")
    assert "LPS, where 4 of 5 cases are RAS" in str(orientation)
    assert (spacing.field, spacing.severity) == ("spacing", "note")
    assert "2 x 1 x 1 mm, where the median is 1 x 1 x 1 mm" in str(spacing)


def test_a_spacing_within_the_usual_spread_is_no_note(tmp_path: Path) -> None:
    _rewrite(sound(tmp_path), np.diag([1.3, 1.0, 1.0, 1.0]))
    assert found(tmp_path) == []


def test_a_label_nobody_has_is_a_note(tmp_path: Path) -> None:
    sound(tmp_path)
    document = json.loads((tmp_path / "dataset.json").read_text())
    document["labels"]["three"] = 3
    (tmp_path / "dataset.json").write_text(json.dumps(document))
    (note,) = found(tmp_path)
    assert note.severity == "note"
    assert "label 3 (three) occurs in no case" in str(note)


@pytest.mark.parametrize(
    ("name", "cases"),
    [
        ("hippocampus", 208),
        ("chaos_mr", 16),
        ("brats_2ch", 4),
        ("spleen_ct_crop", 1),
        ("totalseg_example", 3),
    ],
)
def test_real_data_sets_are_sound(name: str, cases: int, real_data: Path) -> None:
    dataset = open_dataset(real_data / name)
    assert len(dataset.cases) == cases
    reports = list(inspect(dataset))
    assert all(report.facts is not None for report in reports)
    assert [str(d) for report in reports for d in report.defects] == []
    assert [str(d) for d in compare_cases(dataset, reports)] == []
