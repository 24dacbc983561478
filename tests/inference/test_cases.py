"""Many scans: skipping, failures, interrupts; files are whole or not there."""

import json
import threading
import time
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from unetr.errors import InputError, TooLittleMemoryError
from unetr.files import check_writable
from unetr.inference import cases, openvino_engine
from unetr.inference.cases import plan_jobs, predict_cases
from unetr.inference.manifest import manifest_path, write_manifest
from unetr.inference.outputs import output_paths
from unetr.inference.predictor import Predictor


def test_folder_is_predicted_and_recorded(tmp_path, scans, predictor):
    out = tmp_path / "out"
    outcomes = list(predict_cases(predictor, plan_jobs([scans], out, 1)))
    assert [one.status for one in outcomes] == ["done"] * 3
    for index in range(3):
        scan = nib.load(scans / f"case{index}_0000.nii.gz")
        labels = nib.load(out / f"case{index}.nii.gz")
        assert labels.get_data_dtype() == np.uint8
        assert np.array_equal(labels.affine, scan.affine)
        bright = np.asarray(scan.dataobj) > 1
        assert np.array_equal(np.asarray(labels.dataobj) > 0, bright)
    write_manifest(manifest_path(out, None), predictor, outcomes)
    content = json.loads((out / "manifest.json").read_text())
    assert (content["engine"], content["precision"]) == ("torch", "fp32")
    assert set(content["cases"]) == {"case0", "case1", "case2"}
    assert content["cases"]["case0"]["seconds"]["windows"] > 0
    assert content["peak_memory_gb"] > 0.1
    assert not list(out.glob(".part*"))


def test_finished_ones_are_skipped_and_keep_their_record(tmp_path, scans, predictor):
    out = tmp_path / "out"
    jobs = plan_jobs([scans], out, 1)
    path = manifest_path(out, None)
    write_manifest(path, predictor, list(predict_cases(predictor, jobs[:1])))
    before = (out / "case0.nii.gz").read_bytes()
    outcomes = list(predict_cases(predictor, jobs))
    assert [one.status for one in outcomes] == ["skipped", "done", "done"]
    assert (out / "case0.nii.gz").read_bytes() == before
    write_manifest(path, predictor, outcomes)
    assert json.loads(path.read_text())["cases"]["case0"]["status"] == "done"
    again = list(predict_cases(predictor, jobs, overwrite=True))
    assert [one.status for one in again] == ["done"] * 3
    assert [one.status for one in predict_cases(predictor, jobs)] == ["skipped"] * 3


def test_a_map_asked_for_later_is_made(tmp_path, scans, octants, predictor, write_scan):
    out = tmp_path / "out"
    list(predict_cases(predictor, plan_jobs([scans], out, 1)))
    options = {"engine": "torch", "precision": "fp32", "device": "cpu"}
    mapping = Predictor(octants, uncertainty=True, **options)
    corrected = out / "case0.nii.gz"
    write_scan(corrected)
    before = corrected.read_bytes()
    jobs, path = plan_jobs([scans], out, 1, ["uncertainty"]), manifest_path(out, None)
    outcomes = list(predict_cases(mapping, jobs))
    assert [(one.status, one.only_maps) for one in outcomes] == [("done", True)] * 3
    # Only of the first it is known who made the labels.
    other = Predictor(replace(octants, source="/other"), **options)
    write_manifest(path, other, [replace(outcomes[0], made=("labels",))])
    write_manifest(path, mapping, outcomes)
    entries = json.loads(path.read_text())["cases"]
    assert entries["case0"]["models"][0]["file"] == "/other"
    assert "models" not in entries["case1"]
    assert entries["case0"]["maps"]["models"][0]["file"] == str(Path("model").resolve())
    assert len(list((out / "uncertainty").iterdir())) == 3
    assert corrected.read_bytes() == before
    assert [one.status for one in predict_cases(mapping, jobs)] == ["skipped"] * 3


def test_a_scan_waits_for_room_that_the_last_one_takes(tmp_path, scans, predictor, monkeypatch):
    """Refused while the prediction before it is being written, it is tried once more after."""
    written, refused = [], []
    write = cases.write_prediction

    def slowly(*arguments):
        time.sleep(0.2)
        made = write(*arguments)
        written.append(arguments)
        return made

    def called(volume, on_window=None):
        if len(written) < len(calls):
            refused.append(volume)
            raise TooLittleMemoryError("not now")
        calls.append(volume)
        return predictor(volume)

    calls: list[object] = []
    monkeypatch.setattr(cases, "write_prediction", slowly)
    outcomes = list(predict_cases(replace_call(predictor, called), plan_jobs([scans], tmp_path, 1)))
    assert [one.status for one in outcomes] == ["done"] * 3
    assert len(calls) == len(written) == 3
    assert len(refused) == 2

    def never(volume, on_window=None):
        raise TooLittleMemoryError("scan: too large")

    outcomes = list(
        predict_cases(
            replace_call(predictor, never), plan_jobs([scans], tmp_path, 1), overwrite=True
        )
    )
    assert [(one.status, one.error) for one in outcomes] == [("failed", "scan: too large")] * 3


def test_a_failing_case_does_not_stop_the_rest(tmp_path, scans, predictor):
    broken = scans / "case1_0000.nii.gz"
    broken.write_bytes(broken.read_bytes()[:200])
    outcomes = list(predict_cases(predictor, plan_jobs([scans], tmp_path / "out", 1)))
    found = {one.job.case.name: one for one in outcomes}
    assert {name: one.status for name, one in found.items()} == {
        "case0": "done",
        "case1": "failed",
        "case2": "done",
    }
    assert "case1_0000.nii.gz" in found["case1"].error
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "case0.nii.gz",
        "case2.nii.gz",
    ]


def test_a_folder_that_cannot_be_written_to_is_told_before_anything_is_computed(
    tmp_path, scans, predictor
):
    (tmp_path / "file").write_text("")
    double = replace_call(predictor, lambda *_: pytest.fail("computed"))
    for out in (tmp_path / "file" / "out", tmp_path / "file"):
        with pytest.raises(InputError, match=r"cannot be written to \(.*file is a file\)"):
            next(predict_cases(double, plan_jobs([scans], out, 1)))
    (tmp_path / "uncertainty").write_text("a file")
    with pytest.raises(InputError, match=r"uncertainty: cannot be written to"):
        next(predict_cases(double, plan_jobs([scans], tmp_path, 1, ["uncertainty"])))
    check_writable(tmp_path / "new" / "out")
    assert not (tmp_path / "new").exists()


def test_a_folder_that_can_no_longer_be_written_fails_each_case(
    tmp_path, scans, predictor, monkeypatch
):
    jobs = plan_jobs([scans], tmp_path / "file" / "out", 1)
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(cases, "check_writable", lambda _: None)
    outcomes = list(predict_cases(predictor, jobs))
    assert [one.status for one in outcomes] == ["failed"] * 3
    assert "cannot be written" in outcomes[0].error


def test_a_network_that_cannot_run_is_no_scans_fault(tmp_path, scans, octants, monkeypatch):
    """It is found out while the first scan is read, and ends all."""
    pytest.importorskip("openvino")

    def refused(*_):
        raise RuntimeError("what OpenVINO says")

    monkeypatch.setattr(openvino_engine, "_compile", refused)
    monkeypatch.setattr(openvino_engine, "converted_openvino", lambda _: Path("octants.xml"))
    predictor = Predictor(octants, engine="openvino", device="cpu")
    with pytest.raises(InputError, match=r"\(what OpenVINO says\); export it again"):
        list(predict_cases(predictor, plan_jobs([scans], tmp_path / "out", 1)))
    assert not (tmp_path / "out").exists()


def test_an_interrupt_leaves_whole_outputs_only(tmp_path, scans, predictor):
    calls = []

    def interrupted(volume, on_window=None):
        calls.append(volume)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return predictor(volume)

    double = replace_call(predictor, interrupted)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        list(predict_cases(double, plan_jobs([scans], out, 1)))
    assert [path.name for path in out.iterdir()] == ["case0.nii.gz"]
    assert np.asarray(nib.load(out / "case0.nii.gz").dataobj).any()


def replace_call(predictor, call):
    """A predictor that is called by `call` instead."""

    class Double(Predictor):
        def __init__(self):
            self.__dict__.update(predictor.__dict__)

        def __call__(self, volume, on_window=None):
            return call(volume, on_window)

    return Double()


def test_maps_open_with_the_scans_affine(tmp_path, scans, octants):
    predictor = Predictor(
        octants,
        engine="torch",
        precision="fp32",
        device="cpu",
        probabilities=True,
        uncertainty=True,
    )
    jobs = plan_jobs([scans], tmp_path / "out", 1)[:1]
    (outcome,) = predict_cases(predictor, jobs)
    assert outcome.status == "done"
    paths = output_paths(jobs[0].output)
    scan = nib.load(scans / "case0_0000.nii.gz")
    labels = np.asarray(nib.load(paths.labels).dataobj)
    probabilities = nib.load(paths.probabilities)
    assert probabilities.get_data_dtype().itemsize == 2
    p = np.asarray(probabilities.dataobj)
    assert np.array_equal(10 * p.argmax(-1), labels)
    assert np.allclose(p.sum(-1), 1, atol=2e-3)
    entropy = nib.load(paths.uncertainty)
    assert entropy.shape == scan.shape
    for image in (probabilities, entropy):
        assert np.allclose(image.affine, scan.affine)


def test_manifest_names():
    assert manifest_path(Path("out"), "2/3") == Path("out/manifest-2-of-3.json")
    assert manifest_path(Path("a/b.nii.gz"), None) == Path("a/b.manifest.json")


def test_what_is_written_is_told_before_the_next_is_computed(tmp_path, scans, predictor):
    """A process that is killed in the second case has recorded the first."""
    told, seen = [], []
    wrote = threading.Event()

    def on_written(outcome):
        told.append((outcome.job.case.name, outcome.job.output.exists()))
        wrote.set()

    def call(volume, on_window=None):
        if seen:
            assert wrote.wait(60)
        seen.append(len(told))
        wrote.clear()
        return predictor(volume)

    double, jobs = replace_call(predictor, call), plan_jobs([scans], tmp_path / "out", 1)
    list(predict_cases(double, jobs, on_written=on_written))
    assert seen == [0, 1, 2]
    assert told == [(f"case{k}", True) for k in range(3)]
