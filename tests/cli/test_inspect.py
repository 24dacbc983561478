"""`unetr inspect` as typed: exit codes, one line for what is wrong, tables and JSON."""

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

SHAPE = (12, 10, 8)


def save(path: Path, array: np.ndarray[Any, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.eye(4)), path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    label = np.zeros(SHAPE, np.uint16)
    label[3:7, 3:7, 3:6] = 200
    label[7:9, 3:7, 3:6] = 600
    for name in "abc":
        image = rng.normal(100, 10, SHAPE).astype(np.float32)
        save(tmp_path / "images" / f"{name}.nii.gz", image)
        save(tmp_path / "labels" / f"{name}.nii.gz", label)
    return tmp_path


def test_a_sound_set_prints_fingerprint_and_plan_in_80_columns(folder: Path, unetr: Any) -> None:
    code, out, err = unetr("inspect", folder)
    assert code == 0
    assert "3 labelled cases, 0 without labels; 0 defects" in out
    assert "label 200" in out
    assert "label 600" in out
    assert "12 x 10 x 8" in out
    for field in ("spacing_mm", "patch_voxels", "token_voxels", "normalisation", "mirror_axes"):
        assert field in out
    assert "read 3 of 3 cases" in err
    tables = [line for line in out.splitlines() if line[:1] in "┏┃│└├┡"]
    assert tables
    assert max(map(len, tables)) <= 80


def test_json_is_one_document(folder: Path, unetr: Any) -> None:
    code, out, _ = unetr("inspect", folder, "--json")
    document = json.loads(out)
    assert code == 0
    assert document["layout"] == "folders"
    assert [label["id"] for label in document["labels"]] == [0, 200, 600]
    assert document["cases"] == ["a", "b", "c"]
    assert document["defects"] == []
    assert document["fingerprint"]["cases"] == 3
    assert document["plan"]["spacing_mm"] == [1.0, 1.0, 1.0]


def test_defects_are_listed_and_the_code_is_1(folder: Path, unetr: Any) -> None:
    save(folder / "labels" / "b.nii.gz", np.zeros(SHAPE, np.uint8))
    code, out, _ = unetr("inspect", folder)
    assert code == 1
    (line,) = [line for line in out.splitlines() if line.startswith("defect: ")]
    assert line.startswith(f"defect: {folder / 'labels' / 'b.nii.gz'}: label values: empty")
    assert "Plan" in out
    code, out, _ = unetr("inspect", folder, "--json")
    (defect,) = json.loads(out)["defects"]
    assert code == 1
    assert defect["file"] == str(folder / "labels" / "b.nii.gz")
    assert defect["cure"]


def test_without_a_readable_case_there_is_no_plan(folder: Path, unetr: Any) -> None:
    for path in (folder / "images").iterdir():
        path.write_bytes(b"torn")
    code, out, _ = unetr("inspect", folder)
    assert code == 1
    assert out.count("defect: ") == 3
    assert "no fingerprint, no plan" in out
    code, out, _ = unetr("inspect", folder, "--json")
    assert json.loads(out)["plan"] is None


def test_names_and_memory_are_taken(folder: Path, unetr: Any, tmp_path: Path) -> None:
    names = tmp_path / "names.toml"
    names.write_text('[labels]\n200 = "left kidney"\n600 = "[b]tumour[/b]"\n')
    code, out, _ = unetr("inspect", folder, "--labels", names, "--memory", "4")
    assert code == 0
    assert "left kidney" in out
    assert "[b]tumour[/b]" in out
    assert "none: 'left" in out  # the table wraps what follows


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("dataset.json", '{"labels"', "not valid JSON at line 1"),
        ("dataset.json", "[]", "holds no JSON object"),
        ("labels.toml", "[labels", "not readable as TOML"),
    ],
)
def test_a_broken_description_is_one_line_and_code_2(
    name: str, text: str, told: str, folder: Path, unetr: Any
) -> None:
    (folder / name).write_text(text)
    code, out, err = unetr("inspect", folder)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith(f"unetr: {folder / name}: ")
    assert told in line


def test_no_such_folder_is_one_line_and_code_2(unetr: Any, tmp_path: Path) -> None:
    code, out, err = unetr("inspect", tmp_path / "nowhere")
    assert (code, out) == (2, "")
    assert err == (
        f"unetr: {tmp_path / 'nowhere'}: no such folder; give the folder that holds the data set\n"
    )
