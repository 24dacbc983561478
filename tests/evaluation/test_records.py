"""What is written, and that it reads back."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from unetr import evaluate
from unetr.errors import InputError
from unetr.evaluation import read_evaluation, records, write_evaluation

from .cubes import SHAPE, save, shifted


@pytest.fixture
def evaluation(tmp_path):
    """Case a moved by one voxel (Dice 3/4); in case b nothing is predicted; c is not a label."""
    for name, by in (("a", 1), ("b", 0), ("c", 0)):
        prediction, reference = shifted(by, label=200)
        save(tmp_path / "p" / f"{name}.nii.gz", prediction)
        save(tmp_path / "r" / f"{name}.nii.gz", reference)
    save(tmp_path / "p" / "b.nii.gz", np.zeros(SHAPE, np.uint8))
    save(tmp_path / "p" / "c.nii.gz", np.full(SHAPE, 0.5, np.float32))
    save(tmp_path / "p" / "d.nii.gz", shifted()[0])
    return evaluate(tmp_path / "p", tmp_path / "r", tolerance_mm=0.5, lesions=True)


def test_cases_have_a_row_per_case_and_structure(evaluation, tmp_path):
    write_evaluation(tmp_path / "report", evaluation)
    with (tmp_path / "report" / "cases.csv").open() as file:
        first, second = csv.DictReader(file)
    assert list(first)[:13] == [
        "case", "label", "name", "dice", "iou", "hd95_mm", "hd_mm", "assd_mm", "nsd", "volume_ml",
        "reference_volume_ml", "volume_error_ml", "relative_volume_error",
    ]  # fmt: skip
    assert (first["case"], first["label"], first["name"]) == ("a", "200", "label 200")
    assert (float(first["dice"]), float(first["hd_mm"])) == (0.75, 1.0)
    assert (first["volume_ml"], first["lesion_true_positives"]) == ("0.128", "1")
    assert (second["dice"], second["hd95_mm"], second["volume_ml"]) == ("0.0", "", "0.0")


def test_the_summary_says_what_was_scored_and_how(evaluation, tmp_path):
    write_evaluation(tmp_path / "report", evaluation, {"postprocessing": {"label 200": 0.01}})
    found = json.loads((tmp_path / "report" / "summary.json").read_text())
    assert (found["dice"], found["cases"], found["tolerance_mm"]) == (0.375, 2, 0.5)
    (structure,) = found["structures"]
    assert (structure["label"], structure["members"]) == ("200", [200])
    assert structure["hd95_mm"]["undefined"] == 1
    assert structure["dice"]["low"] == 0.0
    assert structure["worst"] == [{"case": "b", "dice": 0.0}, {"case": "a", "dice": 0.75}]
    assert list(found["failed"]) == ["c"]
    assert found["unmatched"] == {"predictions": ["d.nii.gz"], "references": []}
    assert found["postprocessing"] == {"label 200": 0.01}
    assert "weighted by their area" in found["definitions"]["hd95_mm"]
    assert "seed 0" in found["definitions"]["interval"]


def test_it_reads_back(evaluation, tmp_path):
    write_evaluation(tmp_path / "report", evaluation)
    found = read_evaluation(tmp_path / "report")
    assert found.scores == evaluation.scores
    assert found.structures == evaluation.structures
    assert found.failures == evaluation.failures
    assert found.statistics("assd_mm") == evaluation.statistics("assd_mm")
    write_evaluation(tmp_path / "run" / "validation", evaluation)
    assert read_evaluation(tmp_path / "run") == found


def test_what_is_no_evaluation_is_told_in_one_line(evaluation, tmp_path):
    with pytest.raises(InputError, match=r"summary\.json: cannot be read .*`unetr evaluate` wrote"):
        read_evaluation(tmp_path / "none")
    write_evaluation(tmp_path / "report", evaluation)
    path = tmp_path / "report" / "summary.json"
    content = json.loads(path.read_text())
    for broken, said in (
        ({**content, "format": 9}, "format 9, which this version does not know"),
        ({"dice": 0.5}, "no summary of an evaluation"),
        ([], "no summary of an evaluation"),
    ):
        path.write_text(json.dumps(broken))
        with pytest.raises(InputError, match=said):
            read_evaluation(tmp_path / "report")
    path.write_text(json.dumps(content))
    (tmp_path / "report" / "cases.csv").unlink()
    with pytest.raises(InputError, match=r"cases\.csv: cannot be read"):
        read_evaluation(tmp_path / "report")


def test_an_evaluation_that_cannot_be_written_leaves_the_one_before(
    evaluation, tmp_path, monkeypatch
):
    """Never the cases of one beside the summary of another."""
    write_evaluation(tmp_path / "report", evaluation)
    before = {path: path.read_bytes() for path in (tmp_path / "report").iterdir()}
    monkeypatch.setattr(records, "summary", lambda _: {"not": object()})
    with pytest.raises(TypeError):
        write_evaluation(tmp_path / "report", replace(evaluation, tolerance_mm=2.0))
    assert {path: path.read_bytes() for path in (tmp_path / "report").iterdir()} == before
