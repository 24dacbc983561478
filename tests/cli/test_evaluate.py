"""`unetr evaluate` and `unetr compare` as typed."""

import csv
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from ..evaluation.cubes import SHAPE, box, save, shifted

COMMAND = str(Path(sys.executable).parent / "unetr")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two sets of predictions: one moved by 1 voxel of 4 in every case, one by 0, 1 and 2."""
    root = tmp_path_factory.mktemp("folders")
    for number, name in enumerate(("a", "b", "c")):
        moved, reference = shifted(1)
        box((0, 2), (7, 9), (0, 2), 9, into=reference)
        save(root / "references" / f"{name}.nii.gz", reference)
        save(root / "first" / f"{name}.nii.gz", moved)
        save(root / "second" / f"{name}.nii.gz", shifted(number)[0])
    (root / "labels.toml").write_text("[labels]\n1 = 'a structure with a long name'\nspot = 9\n")
    return root


@pytest.fixture(scope="module")
def reports(folders):
    """Both sets, evaluated; what the first call printed into a pipe."""
    for name in ("first", "second"):
        words = ["evaluate", folders / name, folders / "references", "-o", folders / f"{name}_out",
                 "--labels", folders / "labels.toml"]  # fmt: skip
        done = subprocess.run([COMMAND, *words], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        if name == "first":
            printed = done.stdout
    return folders, printed


def test_a_report_is_written_and_a_plain_table_printed(reports):
    folders, printed = reports
    out = folders / "first_out"
    assert {path.name for path in out.iterdir()} == {"summary.json", "cases.csv", "report.html"}
    with (out / "cases.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"], row["label"]) for row in rows[:3]] == [("a", "1"), ("a", "9"), ("b", "1")]
    assert [row["dice"] for row in rows[:2]] == ["0.75", "0.0"]
    assert (rows[0]["name"], rows[1]["hd95_mm"]) == ("a structure with a long name", "")
    lines = printed.splitlines()
    assert lines[0] == "3 cases; means; NSD at 1 mm"
    assert all(line == line.rstrip() for line in lines)
    table = {line.split()[0]: line.split() for line in lines[2:5]}
    assert table["1"][-8:] == ["3", "0.750", "0.750", "to", "0.750", "0.750", "1.00", "1.000"]
    assert table["9"][-8:] == ["3", "0.000", "0.000", "to", "0.000", "0.000", "-", "0.000"]
    assert table["all"][1:3] == ["6", "0.375"]
    assert "undefined, spot: HD95 in 3 of 3 cases" in lines
    assert lines[-1] == str(out / "report.html")
    assert printed.isascii()


def test_json_is_one_document(unetr, folders, tmp_path):
    code, printed, told = unetr(
        "evaluate", folders / "first", folders / "references", "-o", tmp_path / "out",
        "--json", "--lesions", "--tolerance", "0.5", "--seed", "7",
    )  # fmt: skip
    assert (code, told) == (0, "")
    found = json.loads(printed)
    assert (found["dice"], found["tolerance_mm"], found["seed"]) == (0.375, 0.5, 7)
    assert found["structures"][1]["lesion_missed"]["mean"] == 1.0
    assert found == json.loads((tmp_path / "out" / "summary.json").read_text())


def test_a_terminal_of_80_columns_is_enough(folders, tmp_path):
    """Through a pseudo terminal: what is printed there, without control sequences."""
    ours, theirs = pty.openpty()
    command = [COMMAND, "evaluate", folders / "first", folders / "references", "-o", tmp_path,
               "--labels", folders / "labels.toml", "--lesions"]  # fmt: skip
    environment = os.environ | {"COLUMNS": "80", "TERM": "dumb"}
    subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, env=environment, check=True)
    os.close(theirs)
    text = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # Linux says so when the other side is closed and all is read
            break
        if not part:
            break
        text += part
    os.close(ours)
    lines = text.decode().splitlines()
    table = [line for line in lines if not line.startswith(("worst", "undefined", str(tmp_path)))]
    assert max(map(len, table)) <= 80
    assert any("0.750 to 0.750" in line for line in table)
    assert any("sensitivity" in line for line in table)


def test_some_cases_fail_the_others_are_written(unetr, folders, tmp_path):
    predictions = tmp_path / "predictions"
    save(predictions / "a.nii.gz", shifted()[0])
    save(predictions / "b.nii.gz", shifted()[0], np.diag([1.0, 1.0, 3.0, 1.0]))
    save(predictions / "z.nii.gz", shifted()[0])
    out = ("-o", tmp_path / "out")
    code, _, told = unetr("evaluate", predictions, folders / "references", *out)
    assert code == 1
    assert "no prediction for 1 references: c" in told
    assert "no reference for 1 predictions: z.nii.gz" in told
    assert "1 of 2 failed:" in told
    assert "b.nii.gz: grid: affine: spacing 1 x 1 x 3 mm instead of 1 x 1 x 2 mm" in told
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["cases"], list(summary["failed"])) == (1, ["b"])
    pair = (predictions / "b.nii.gz", folders / "references" / "b.nii.gz")
    code, _, told = unetr("evaluate", *pair, "--resample", *out)
    assert (code, told) == (0, "resampled onto the reference: b\n")


def test_wrong_calls_are_one_line_and_exit_2(unetr, folders, tmp_path):
    (tmp_path / "empty").mkdir()
    save(tmp_path / "fractions.nii.gz", np.full(SHAPE, 0.5, np.float32))
    one, other, out = folders / "first", folders / "references", tmp_path / "out"
    wrong = {
        "no image in it": ("evaluate", tmp_path / "empty", other, "-o", out),
        "no such file or folder": ("evaluate", tmp_path / "none", other, "-o", out),
        "not all are integers": (
            "evaluate", tmp_path / "fractions.nii.gz", other / "a.nii.gz", "-o", out),
        "tolerance -1 mm": ("evaluate", one, other, "-o", out, "--tolerance", "-1"),
        "seed -1: give a whole number from 0 up": ("evaluate", one, other, "-o", out, "--seed", -1),
        "is a file); give another -o": (
            "evaluate", one, other, "-o", other / "a.nii.gz" / "out"),
        "seed -2": ("compare", one, other, "--seed", -2),
        "nothing to compare it with": ("compare", one),
        "summary.json: cannot be read": ("compare", one, other),
    }  # fmt: skip
    for said, words in wrong.items():
        code, printed, told = unetr(*words)
        assert (code, printed) == (2, ""), words
        assert said in told
        assert told.count("\n") == 1
        assert not out.exists()


def test_compare_tells_differences(unetr, reports):
    folders, _ = reports
    both = (folders / "first_out", folders / "second_out")
    code, printed, told = unetr("compare", *both)
    assert (code, told) == (0, "")
    lines = printed.splitlines()
    assert lines[2] == "3 common cases"
    # Dice 0.75 three times, against 1, 0.75 and 0.5: 1 of 27 draws has -0.25 alone.
    row = next(line.split() for line in lines if line.startswith("1 a structure"))
    assert row[-8:] == ["3", "0.750", "0.750", "+0.000", "-0.250", "to", "0.250", "1.000"]
    changed = "changed most, a structure with a long name: a 0.750 to 1.000, c 0.750 to 0.500"
    assert changed in lines
    (comparison,) = json.loads(unetr("compare", *both, "--json")[1])["comparisons"]
    assert comparison["differences"][0]["changed"][0] == {"case": "a", "first": 0.75, "second": 1.0}


def test_compare_needs_a_case_in_common(unetr, reports, tmp_path):
    folders, _ = reports
    for folder in ("p", "r"):
        save(tmp_path / folder / "other.nii.gz", shifted()[1])
    unetr("evaluate", tmp_path / "p", tmp_path / "r", "-o", tmp_path / "out")
    code, _, told = unetr("compare", folders / "first_out", tmp_path / "out")
    assert code == 2
    assert "no case in common (the first is a here, other there)" in told
    assert told.count("\n") == 1


def test_evaluation_needs_no_torch(folders, tmp_path):
    code = (
        "import sys; from unetr import evaluate;"
        f"evaluate({str(folders / 'first')!r}, {str(folders / 'references')!r});"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_real_regions_and_a_real_data_set(unetr, tmp_path, real_data):
    """Brain tumours: references moved by a voxel, scored in overlapping regions."""
    source = real_data / "brats_2ch"
    files = sorted((source / "labelsTr").iterdir())[:2]
    for path in files:
        image = nib.load(path)
        moved = np.roll(np.asarray(image.dataobj).astype(np.uint8), 1, axis=0)
        save(tmp_path / "p" / path.name, moved, image.affine)
    table = tmp_path / "labels.toml"
    table.write_text(
        "regions_class_order = [2, 1, 4]\n"
        "[labels]\nnecrosis = 1\noedema = 2\n'non-enhancing' = 3\nenhancing = 4\n"
        "[regions]\nWT = [1, 2, 3, 4]\nTC = [1, 3, 4]\nET = [4]\n"
    )
    code, printed, told = unetr(
        "evaluate", tmp_path / "p", source, "-o", tmp_path / "out", "--labels", table, "--json"
    )
    assert code == 0, told
    assert "no prediction for 2 references" in told
    found = json.loads(printed)
    assert [each["label"] for each in found["structures"]] == ["1+2+3+4", "1+3+4", "4"]
    whole = found["structures"][0]
    assert whole["hd_mm"]["maximum"] == 1.0
    assert 0.9 < whole["dice"]["minimum"] < whole["dice"]["maximum"] < 1
    assert whole["volume_error_ml"]["mean"] == 0.0
    assert (tmp_path / "out" / "report.html").read_text().count("<image ") == 18
