"""Inspection: each kind of damage gives its one line, and sound data gives none."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from unetr.data.dataset import Defect, open_dataset
from unetr.data.inspect import compare_cases, inspect

SHAPE = (8, 7, 6)
NAMES = ("a", "b", "c", "d", "e")


def save(path: Path, array: np.ndarray[Any, Any], affine: Any = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)


def sound(root: Path) -> Path:
    """Five nnU-Net cases with two channels of different intensities."""
    rng = np.random.default_rng(0)
    label = np.zeros(SHAPE, np.uint8)
    label[2:5, 2:5, 2:4] = 1
    label[5, 2:5, 2:4] = 2
    for name in NAMES:
        save(root / f"imagesTr/{name}_0000.nii.gz", rng.normal(10, 1, SHAPE).astype(np.float32))
        save(root / f"imagesTr/{name}_0001.nii.gz", rng.normal(500, 9, SHAPE).astype(np.float32))
        save(root / f"labelsTr/{name}.nii.gz", label)
    document = {
        "channel_names": {"0": "T1", "1": "T2"},
        "labels": {"background": 0, "one": 1, "two": 2},
        "numTraining": len(NAMES),
        "file_ending": ".nii.gz",
    }
    (root / "dataset.json").write_text(json.dumps(document))
    return root


def found(root: Path) -> list[Defect]:
    dataset = open_dataset(root)
    reports = list(inspect(dataset))
    assert [report.case.name for report in reports] == [case.name for case in dataset.cases]
    defects = [*dataset.defects, *(defect for report in reports for defect in report.defects)]
    return defects + compare_cases(dataset, reports)


def test_sound_data_has_no_defect(tmp_path: Path) -> None:
    assert found(sound(tmp_path)) == []


def _image(root: Path) -> Path:
    return root / "imagesTr" / "b_0000.nii.gz"


def _label(root: Path) -> Path:
    return root / "labelsTr" / "b.nii.gz"


def _truncated(root: Path) -> None:
    data = _image(root).read_bytes()
    _image(root).write_bytes(data[: len(data) // 2])


def _empty(root: Path) -> None:
    _image(root).write_bytes(b"")


def _not_an_image(root: Path) -> None:
    _image(root).write_bytes(gzip.compress(b"this is no scan" * 100))


def _nan(root: Path) -> None:
    array = np.ones(SHAPE, np.float32)
    array[1, 1, 1] = np.nan
    save(_image(root), array)


def _missing_channel(root: Path) -> None:
    _image(root).with_name("b_0001.nii.gz").unlink()


def _label_truncated(root: Path) -> None:
    data = _label(root).read_bytes()
    _label(root).write_bytes(data[: len(data) // 2])


def _label_of_other_shape(root: Path) -> None:
    save(_label(root), np.ones((8, 7, 5), np.uint8))


def _label_elsewhere(root: Path) -> None:
    affine = np.eye(4)
    affine[0, 3] = 30
    save(_label(root), np.ones(SHAPE, np.uint8), affine)


def _label_unknown(root: Path) -> None:
    label = np.ones(SHAPE, np.uint8)
    label[0, 0, 0], label[0, 0, 1] = 77, 255
    save(_label(root), label)


def _label_empty(root: Path) -> None:
    save(_label(root), np.zeros(SHAPE, np.uint8))


def _label_with_fractions(root: Path) -> None:
    save(_label(root), np.full(SHAPE, 0.5, np.float32))


def _duplicate(root: Path) -> None:
    for channel in range(2):
        source = root / "imagesTr" / f"a_{channel:04d}.nii.gz"
        source.with_name(f"b_{channel:04d}.nii.gz").write_bytes(source.read_bytes())


def _constant(root: Path) -> None:
    save(_image(root), np.full(SHAPE, 10, np.float32))


def _swapped(root: Path) -> None:
    first, second = _image(root), _image(root).with_name("b_0001.nii.gz")
    data = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(data)


def _in_micrometres(root: Path) -> None:
    for path in (_image(root), _image(root).with_name("b_0001.nii.gz"), _label(root)):
        image = nib.load(path)
        save(path, np.asanyarray(image.dataobj).copy(), np.diag([1000.0, 1000.0, 1000.0, 1.0]))


def _channels_on_two_grids(root: Path) -> None:
    save(_image(root), np.ones((9, 7, 6), np.float32))


def _four_dimensional(root: Path) -> None:
    save(_image(root), np.random.default_rng(1).normal(size=(*SHAPE, 2)).astype(np.float32))


DAMAGE: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "truncated": (_truncated, "b_0000.nii.gz", "image"),
    "empty file": (_empty, "b_0000.nii.gz", "image"),
    "not an image": (_not_an_image, "b_0000.nii.gz", "image"),
    "not a number": (_nan, "b_0000.nii.gz", "image"),
    "channel missing": (_missing_channel, "b_0001.nii.gz", "image"),
    "channels on two grids": (_channels_on_two_grids, "b_000", "image"),
    "a channel too many": (_four_dimensional, "b_0000.nii.gz", ""),
    "label truncated": (_label_truncated, "b.nii.gz", "label"),
    "label of other shape": (_label_of_other_shape, "b.nii.gz", "grid"),
    "label elsewhere": (_label_elsewhere, "b.nii.gz", "grid"),
    "label unknown": (_label_unknown, "b.nii.gz", "77, 255 is not in the label table"),
    "label empty": (_label_empty, "b.nii.gz", "every voxel is background"),
    "label with fractions": (_label_with_fractions, "b.nii.gz", "label"),
    "duplicate": (_duplicate, "b_0000.nii.gz", "the same voxels as a_0000.nii.gz"),
    "constant": (_constant, "b_0000.nii.gz", "every voxel of channel 0 is 10"),
    "swapped channels": (_swapped, "b_0000.nii.gz", "as if the files held T2, T1 in this order"),
    "wrong unit": (_in_micrometres, "b_0000.nii.gz", "1e+03 x 1e+03 x 1e+03 mm"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_one_line_that_names_file_and_field(kind: str, tmp_path: Path) -> None:
    damage, file, told = DAMAGE[kind]
    damage(sound(tmp_path))
    defects = found(tmp_path)
    assert [defect.severity for defect in defects] == ["defect"]
    line = str(defects[0])
    assert line.startswith(str(tmp_path))
    assert file in line
    assert told in line
    assert "\n" not in line
    assert line.count(str(tmp_path)) == 1


def test_several_defects_of_a_case_are_all_told(tmp_path: Path) -> None:
    sound(tmp_path)
    _truncated(tmp_path)
    _label_unknown(tmp_path)
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
    for path in (_image(root), _image(root).with_name("b_0001.nii.gz"), _label(root)):
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
