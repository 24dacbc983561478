"""A run from a folder of scans to a run folder, and what it refuses."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from unetr import evaluate
from unetr.checkpoint import Model, load_model
from unetr.data.dataset import open_dataset
from unetr.data.fingerprint import fingerprint
from unetr.errors import InputError, TooLittleMemoryError
from unetr.evaluation import read_evaluation
from unetr.inference.members import shared_plan
from unetr.training.decide import decide
from unetr.training.distributed import Processes
from unetr.training.folder import read_manifest
from unetr.training.order import Order
from unetr.training.progress import Silence
from unetr.training.recipe_toml import load_recipe
from unetr.training.validation import Validator

from .beside import beside
from .heard import run
from .phantoms import FAST, write_ct, write_phantoms

CPU = torch.device("cpu")


def test_the_run_folder_is_complete(finished):
    folder, _ = finished
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "model.safetensors", "validation", "history.jsonl", "curves.png", "recipe.toml",
        "manifest.json", "last",
    }  # fmt: skip
    manifest = read_manifest(folder)
    assert manifest.status == "finished"
    assert (len(manifest.train), len(manifest.validation)) == (5, 1)
    model = load_model(folder)
    assert model.provenance["dice"] == manifest.scores["dice"]
    assert model.provenance["validation"] == manifest.validation
    assert [label.id for label in model.plan.labels] == [0, 7, 20]


def test_validation_is_written_with_its_scores(finished):
    folder, scores = finished[0] / "validation", read_manifest(finished[0]).scores
    (name,) = read_manifest(finished[0]).validation
    assert (folder / "predictions" / f"{name}.nii.gz").exists()
    assert json.loads((folder / "summary.json").read_text())["dice"] == scores["dice"]
    with (folder / "cases.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"], row["label"]) for row in rows] == [(name, "7"), (name, "20")]
    defined = [float(row["dice"]) for row in rows if row["dice"]]
    assert np.mean(defined) == pytest.approx(scores["dice"])


def test_validation_is_scored_as_evaluation_does(finished, data):
    """From the files, anew: the same values, HD95 and NSD among them."""
    folder, scores = finished[0] / "validation", read_manifest(finished[0]).scores
    again = evaluate(folder / "predictions", data)
    found = read_evaluation(finished[0])
    assert found.scores == again.scores
    assert found.structures == again.structures
    assert set(scores["hd95_mm"]) == {"block", "ball"}
    for each in again.structures:
        assert scores["labels"][each.name] == pytest.approx(again.statistics("dice", each).mean)
        assert scores["nsd"][each.name] == again.statistics("nsd", each).mean
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["postprocessing"] == {}


def test_the_resolved_recipe_is_whole_and_reads_back(finished):
    folder, _ = finished
    recipe, plan = load_recipe(folder / "recipe.toml"), read_manifest(folder).plan
    assert recipe.data.patch_voxels == plan.patch_voxels == (32, 32, 32)
    assert recipe.data.spacing_mm == plan.spacing_mm
    assert recipe.network.hidden_size == 16
    assert (recipe.training.batch, recipe.training.precision) == (2, "fp32")
    assert recipe.augmentation.structure_p == 0  # too few cases to tell that labels are whole


@pytest.mark.parametrize("name", ["unetr-modern", "dynunet", "segresnet", "swinunetr"])
def test_other_networks_go_the_same_way(data, tmp_path, name):
    width = {"unetr-modern": 4, "dynunet": 4, "segresnet": 8, "swinunetr": 12}[name]
    settings = (*FAST, f"network.feature_size={width}")
    order = Order(data, tmp_path / "run", settings=settings, network=name, max_steps=1)
    run(order)
    model = load_model(order.run)
    assert model.name == name.removesuffix("-modern")
    assert read_manifest(order.run).status == "finished"


def test_folds_share_their_plan_so_that_their_models_can_be_averaged(tmp_path):
    """Though each fold alone would find another spacing and other intensities of its CT."""
    data = write_ct(tmp_path / "ct")
    cases = open_dataset(data).cases
    prepared = [
        decide(Order(data, tmp_path / "run", settings=FAST, fold=fold), CPU, 1, Silence())
        for fold in (0, 1)
    ]
    first, second = (each.manifest for each in prepared)
    assert first.train != second.train
    assert first.plan == second.plan
    assert first.plan.normalisation[0].kind == "standard"
    assert first.plan.spacing_mm == (1.0, 1.0, 1.5)
    assert first.fingerprint == second.fingerprint == fingerprint(open_dataset(data)).digest
    assert {*first.train, *first.validation} == {case.name for case in cases}
    models = [Model(torch.nn.Identity(), each.plan, config={}) for each in (first, second)]
    assert shared_plan(models) == first.plan


def test_bad_input_that_another_process_validates_is_told_by_all(order, finished):
    folder, _ = finished
    model, dataset = load_model(folder), open_dataset(order.dataset)
    theirs = InputError("phantom2.nii.gz: damaged")
    validator = Validator(dataset, dataset.cases[:1], model, CPU, "fp32", beside(theirs))
    with pytest.raises(InputError, match=r"phantom2.nii.gz: damaged"):
        validator(order.run)


def test_defects_and_notes_are_told(order, tmp_path):
    data = write_phantoms(tmp_path / "defects", cases=3)
    (data / "labelsTr" / "phantom2.nii.gz").unlink()
    lines = run(replace(order, dataset=data, max_steps=1))
    assert any(line.startswith("warning: ") and "phantom2" in line for line in lines)
    assert "note: validated on 1 case only" in lines


def test_what_cannot_be_trained_is_told_in_one_line(order, tmp_path):
    with pytest.raises(InputError, match=r"no such folder"):
        run(replace(order, dataset=tmp_path / "none"))
    with pytest.raises(InputError, match=r"--fold 5: 6 cases give folds 0 to 4"):
        run(replace(order, fold=5))
    with pytest.raises(InputError, match=r"max-minutes 0.001: preparing and validating alone"):
        run(replace(order, max_steps=None, max_minutes=0.001))
    assert list(order.run.iterdir()) == []
    (tmp_path / "endless.toml").write_text("name = 'endless'")
    with pytest.raises(InputError, match=r"has no end; give --max-steps"):
        run(replace(order, recipe=str(tmp_path / "endless.toml"), max_steps=None))


def test_fine_tuning_takes_what_fits_and_names_the_rest(order, finished, tmp_path):
    folder, _ = finished
    lines = run(replace(order, init=folder, max_steps=1, settings=FAST[:1] + FAST[-3:]))
    assert not any("anew" in line for line in lines)
    assert read_manifest(order.run).config == load_model(folder).config
    data = write_phantoms(tmp_path / "renamed", cases=3)
    description = json.loads((data / "dataset.json").read_text())
    description["labels"] = {"background": 0, "cube": 7, "ball": 20}
    (data / "dataset.json").write_text(json.dumps(description))
    renamed = replace(order, dataset=data, run=tmp_path / "renamed_run", init=folder, max_steps=1)
    lines = run(renamed)
    assert any("output layers start anew: labels are background, cube, ball" in x for x in lines)


def test_a_rotary_networks_own_recipe_tunes_it(order):
    modern = replace(order, network="unetr-modern", max_steps=1)
    run(modern)
    recipe = str(order.run / "recipe.toml")
    tuned = replace(order, run=order.run.with_name("tuned"), init=order.run, recipe=recipe)
    run(replace(tuned, settings=(), max_steps=1))
    assert load_model(tuned.run).header.network.config["block"] == "modern"
    # Without the recipe too its own one tells what it is.
    plain = replace(order, run=order.run.with_name("plain"), init=order.run, settings=FAST[-3:])
    run(replace(plain, max_steps=1))
    assert 'name = "unetr-modern"' in (plain.run / "recipe.toml").read_text()
    with pytest.raises(InputError, match=r"network.name segresnet: .* is a unetr; leave"):
        run(replace(tuned, network="segresnet", overwrite=True))


def test_a_case_that_memory_is_too_short_for_is_validated_alone(order, finished, monkeypatch):
    """The next scan, which was read ahead, is then no longer there."""
    folder, _ = finished
    model, dataset = load_model(folder), open_dataset(order.dataset)
    validator = Validator(dataset, dataset.cases[:3], model, CPU, "fp32", Processes(0, 1))
    predict, tried, refused = validator.predictor, [], 1

    def too_large(volume):
        tried.append(volume.source)
        if tried.count(volume.source) <= refused:
            raise TooLittleMemoryError("needs 9 GB, but 1 GB is free")
        return predict(volume)

    validator.predictor = too_large
    assert set(validator(order.run).cases) == {case.name for case in dataset.cases[:3]}
    assert len(tried) == 6
    refused = 9
    with pytest.raises(TooLittleMemoryError, match="needs 9 GB"):
        validator(order.run)
