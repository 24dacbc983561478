"""The record of a prediction: who made what is there."""

import json
from dataclasses import replace
from pathlib import Path

from unetr.inference.cases import plan_jobs, predict_cases
from unetr.inference.manifest import (
    made_by_others,
    made_of_others,
    manifest_path,
    maps_of_others,
    write_manifest,
)
from unetr.inference.predictor import Predictor


def test_each_case_names_the_model_that_made_it(tmp_path, scans, octants):
    jobs, path = plan_jobs([scans], tmp_path, 1), manifest_path(tmp_path, None)
    options = {"engine": "torch", "precision": "fp32", "device": "cpu"}
    a, b = (replace(octants, source=name) for name in ("/a", "/b"))
    first, second = Predictor(a, **options), Predictor(b, overlap=0.25, **options)
    write_manifest(path, first, list(predict_cases(first, jobs[:2])))
    assert made_by_others(path, jobs, [a]) == ""
    told = made_by_others(path, jobs, [b])
    assert told.startswith("case0 and 1 more: already there, made by /a, not by /b; --overwrite")
    write_manifest(path, second, list(predict_cases(second, jobs)))
    content = json.loads(path.read_text())
    made = {
        name: (case["models"][0]["file"], case["overlap"])
        for name, case in content["cases"].items()
    }
    assert made == {"case0": ("/a", 0.5), "case1": ("/a", 0.5), "case2": ("/b", 0.25)}
    assert [(one["file"], one["network"]) for one in content["models"]] == [("/b", "unetr")]
    entry = content["cases"]["case0"]
    assert (entry["engine"], entry["precision"]) == ("torch", "fp32")
    # Who made it is not told of a case that is no longer there, and will be predicted.
    jobs[0].output.unlink()
    assert made_by_others(path, jobs, [b]).startswith("case1: already there, made by /a,")


def test_a_model_trained_further_is_another_one(tmp_path, scans, octants, predictor):
    jobs, path = plan_jobs([scans], tmp_path, 1), manifest_path(tmp_path, None)
    write_manifest(path, predictor, list(predict_cases(predictor, jobs[:1])))
    assert made_by_others(path, jobs, [octants]) == ""
    further = replace(octants, provenance={"step": 20})
    told = made_by_others(path, jobs, [further])
    assert told.startswith(f"case0: already there, made by what {Path('model').resolve()} was")
    # Where a record does not say what the file held, its name decides.
    content = json.loads(path.read_text())
    content["cases"]["case0"]["models"] = [{"file": "model", "network": "unetr"}]
    path.write_text(json.dumps(content))
    assert made_by_others(path, jobs, [further]) == ""


def test_labels_of_a_case_that_failed_stay_those_of_who_made_them(tmp_path, scans, octants):
    jobs, path = plan_jobs([scans], tmp_path, 1), manifest_path(tmp_path, None)
    options = {"engine": "torch", "precision": "fp32", "device": "cpu"}
    a, b = (replace(octants, source=name) for name in ("/a", "/b"))
    first = Predictor(a, **options)
    write_manifest(path, first, list(predict_cases(first, jobs)))
    Path(jobs[0].case.images[0]).write_bytes(b"no scan")
    second = Predictor(b, **options)
    outcomes = list(predict_cases(second, jobs[:1], overwrite=True))
    assert outcomes[0].status == "failed"
    write_manifest(path, second, outcomes)
    assert json.loads(path.read_text())["cases"]["case0"]["status"] == "failed"
    assert made_by_others(path, jobs[:1], [b]).startswith("case0: already there, made by /a,")


def test_models_of_other_parts_are_known_of(tmp_path, scans, octants):
    jobs = plan_jobs([scans], tmp_path, 1)
    a, b = (replace(octants, source=name) for name in ("/a", "/b"))
    model = Predictor(a, engine="torch", precision="fp32", device="cpu")
    write_manifest(manifest_path(tmp_path, "1/2"), model, list(predict_cases(model, jobs[:2])))
    told = made_by_others(manifest_path(tmp_path, None), jobs, [b])
    assert told.startswith("case0 and 1 more: already there, made by /a, not by /b")


def test_labels_of_another_scan_of_the_same_name_are_told_of(tmp_path, write_scan, octants):
    predictor = Predictor(octants, engine="torch", precision="fp32", device="cpu")
    path = manifest_path(tmp_path / "out", None)
    for site in ("a", "b"):
        write_scan(tmp_path / site / "scan.nii.gz")
    a, b = (plan_jobs([tmp_path / site], tmp_path / "out", 1) for site in ("a", "b"))
    write_manifest(path, predictor, list(predict_cases(predictor, a)))
    assert made_of_others(path, a) == ""
    told = made_of_others(path, b)
    assert told.startswith(f"scan: already there, made of {tmp_path / 'a' / 'scan.nii.gz'}, not of")
    b[0].output.unlink()
    assert made_of_others(path, b) == ""


def test_maps_of_a_case_that_failed_before_make_it_done(tmp_path, scans, octants):
    jobs, path = plan_jobs([scans], tmp_path, 1)[:1], manifest_path(tmp_path, None)
    predictor = Predictor(octants, engine="torch", precision="fp32", device="cpu")
    (done,) = predict_cases(predictor, jobs)
    write_manifest(path, predictor, [done])
    write_manifest(path, predictor, [replace(done, status="failed", error="memory")])
    write_manifest(path, predictor, [replace(done, made=("attention",))])
    entry = json.loads(path.read_text())["cases"]["case0"]
    assert (entry["status"], entry.get("error")) == ("done", None)
    assert entry["models"] == entry["maps"]["models"]


def test_maps_do_not_stay_beside_labels_of_another_prediction(tmp_path, scans, octants):
    options = {"engine": "torch", "precision": "fp32", "device": "cpu"}
    mapping, plain = Predictor(octants, uncertainty=True, **options), Predictor(octants, **options)
    (job,) = plan_jobs([scans], tmp_path, 1, ["uncertainty"])[:1]
    there = tmp_path / "uncertainty" / "case0.nii.gz"
    there.parent.mkdir()
    there.write_bytes(b"of another model, killed before its labels")
    list(predict_cases(mapping, [job]))
    assert there.stat().st_size > 1000
    list(predict_cases(plain, [replace(job, maps=())], overwrite=True))
    assert not there.exists()


def test_a_scan_that_was_exported_again_is_told_of(tmp_path, write_scan, octants):
    predictor = Predictor(octants, engine="torch", precision="fp32", device="cpu")
    scan, path = tmp_path / "scans" / "scan.nii.gz", manifest_path(tmp_path / "out", None)
    write_scan(scan)
    jobs = plan_jobs([scan], tmp_path / "out", 1)
    write_manifest(path, predictor, list(predict_cases(predictor, jobs)))
    assert made_of_others(path, jobs) == ""
    write_scan(scan, size=(20, 24, 40))
    told = made_of_others(path, jobs)
    assert told.startswith(f"scan: already there, made of what {scan} was before; --overwrite")


def test_a_file_holds_the_labels_of_the_last_scan_that_went_into_it(tmp_path, write_scan, octants):
    predictor = Predictor(octants, engine="torch", precision="fp32", device="cpu")
    out = tmp_path / "labels.nii.gz"
    path = manifest_path(out, None)
    for name in ("a", "b"):
        write_scan(tmp_path / f"{name}.nii.gz")
    a, b = (plan_jobs([tmp_path / f"{name}.nii.gz"], out, 1) for name in ("a", "b"))
    for jobs in (a, b):
        write_manifest(path, predictor, list(predict_cases(predictor, jobs, overwrite=True)))
    assert made_of_others(path, b) == ""
    told = made_of_others(path, a)
    assert told.startswith(f"a: already there, made of {tmp_path / 'b.nii.gz'}, not of")


def test_maps_from_before_the_labels_are_told_of(tmp_path, scans, octants):
    options = {"engine": "torch", "precision": "fp32", "device": "cpu"}
    mapping, plain = Predictor(octants, uncertainty=True, **options), Predictor(octants, **options)
    path = manifest_path(tmp_path, None)
    (mapped,) = plan_jobs([scans], tmp_path, 1, ["uncertainty"])[:1]
    write_manifest(path, mapping, list(predict_cases(mapping, [mapped])))
    assert maps_of_others(path, [mapped]) == ""
    # The labels are removed and made again without the map, which stays.
    mapped.output.unlink()
    bare = replace(mapped, maps=())
    write_manifest(path, plain, list(predict_cases(plain, [bare])))
    told = maps_of_others(path, [mapped])
    assert told.startswith("case0: already there, made before its labels were")
    (tmp_path / "uncertainty" / "case0.nii.gz").unlink()
    write_manifest(path, mapping, list(predict_cases(mapping, [mapped])))
    assert maps_of_others(path, [mapped]) == ""


def test_maps_of_labels_that_another_part_made_are_no_strangers(tmp_path, scans, octants):
    options = {"engine": "torch", "precision": "fp32", "device": "cpu"}
    mapping, plain = Predictor(octants, uncertainty=True, **options), Predictor(octants, **options)
    whole, part = manifest_path(tmp_path, None), manifest_path(tmp_path, "1/2")
    write_manifest(whole, plain, list(predict_cases(plain, plan_jobs([scans], tmp_path, 1))))
    jobs = plan_jobs([scans], tmp_path, 1, ["uncertainty"])[:1]
    write_manifest(part, mapping, list(predict_cases(mapping, jobs)))
    assert json.loads(part.read_text())["cases"]["case0"]["outputs"] == ["labels", "uncertainty"]
    assert maps_of_others(whole, jobs) == maps_of_others(part, jobs) == ""
