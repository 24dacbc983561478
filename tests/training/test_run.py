"""A run from a folder of scans to a run folder, and what it refuses."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from unetr import evaluate
from unetr.checkpoint import Model, load_model
from unetr.data.dataset import open_dataset
from unetr.data.fingerprint import fingerprint
from unetr.errors import InputError
from unetr.evaluation import read_evaluation
from unetr.inference.members import shared_plan
from unetr.training.crossvalidation import write_cross_validation
from unetr.training.errors import Stopped
from unetr.training.folder import read_manifest
from unetr.training.history import read_history
from unetr.training.order import Order, decide
from unetr.training.progress import Silence
from unetr.training.recipe_toml import load_recipe
from unetr.training.run import _begin, run_training
from unetr.training.state import StopRequest, load_state
from unetr.training.validation import Validator

from .beside import beside
from .heard import Heard
from .phantoms import TINY, write_ct, write_phantoms

FAST = (*TINY, "training.precision=fp32", "training.batch=2", "training.log_steps=1")
CPU = torch.device("cpu")


def run(order, **keywords):
    heard = Heard()
    run_training(order, heard, StopRequest(), **keywords)
    return heard.lines


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_phantoms(tmp_path_factory.mktemp("phantoms") / "data")


@pytest.fixture
def order(data, tmp_path) -> Order:
    return Order(data, tmp_path / "run", settings=FAST, max_steps=4)


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """A finished run and what was said."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    lines = run(Order(data, folder, settings=FAST, max_steps=4, fold=1))
    return folder, lines


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


def test_stopped_and_resumed_it_is_as_if_never_stopped(order, finished):
    stop = StopRequest()
    stopped = replace(order, fold=1)
    with pytest.raises(Stopped):
        run_training(stopped, Heard(stop, at=1), stop)
    assert read_manifest(order.run).status == "started"
    run(replace(stopped, resume=True))
    whole, parts = load_state(finished[0]), load_state(order.run)
    assert whole.step == parts.step == 4
    for name, value in whole.network.items():
        assert torch.equal(value, parts.network[name]), name
    assert [line["step"] for line in read_history(order.run) if "loss" in line] == [1, 2, 3, 4]


def test_a_finished_run_takes_more_steps_and_nothing_else(order):
    run(order)
    again = replace(order, resume=True)
    assert any("already finished" in line for line in run(again))
    run(replace(again, max_steps=6))
    assert load_state(order.run).step == 6
    assert read_manifest(order.run).status == "finished"
    with pytest.raises(InputError, match=r"--set training.lr: the run has 0.004, which cannot"):
        run(replace(again, settings=(*FAST, "training.lr=1")))
    with pytest.raises(InputError, match=r"--recipe btcv: the run goes by auto"):
        run(replace(again, recipe="btcv"))
    with pytest.raises(InputError, match=r"--fold 2: the run is of fold 0"):
        run(replace(again, fold=2))


def test_the_same_command_resumes_also_what_it_left_to_the_machine(order):
    """`auto` and `plan` stand for something else in the recipe of the run."""
    open_ = ("training.precision=auto", "data.regions=auto", "augmentation.structure_p=plan")
    first = replace(order, settings=(*FAST, *open_), max_steps=1)
    run(first)
    run(replace(first, resume=True, max_steps=2))
    assert load_state(order.run).step == 2
    run(replace(first, resume=True, settings=(*open_, "validation.times=1"), max_steps=2))
    twice = replace(order, settings=(*FAST, "training.lr=1e-3", "training.lr=2e-3"), max_steps=1)
    twice = replace(twice, run=order.run.with_name("twice"))
    run(twice)
    with pytest.raises(InputError, match=r"training.lr: the run has 0.002, which cannot"):
        run(replace(twice, resume=True, settings=(*FAST, "training.lr=1e-3")))
    with pytest.raises(InputError, match=r"data.regions: the run has data-set, which cannot"):
        run(replace(first, resume=True, settings=(*FAST, "data.regions=brain-tumour")))


def test_stopped_on_the_way_to_more_steps_it_is_unfinished_and_goes_on(order):
    run(order)
    stop, more = StopRequest(), replace(order, resume=True, max_steps=6)
    with pytest.raises(Stopped):
        run_training(more, Heard(stop, at=5), stop)
    manifest = read_manifest(order.run)
    assert (manifest.status, manifest.finished, manifest.scores) == ("started", None, {})
    run(replace(order, resume=True, max_steps=None))
    assert load_state(order.run).step == 6
    assert read_manifest(order.run).scores["cases"]


def test_a_run_is_not_written_over(order, finished):
    folder, _ = finished
    with pytest.raises(InputError, match=r"holds a run; .*--resume or .*--overwrite"):
        run(replace(order, run=folder))
    (order.run).mkdir()
    (order.run / "thesis.docx").write_text("")
    with pytest.raises(InputError, match=r"holds thesis.docx, which no run wrote"):
        run(replace(order, overwrite=True))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"settings": ("training.lrr=1",)}, "training.lrr"),
        ({"dataset": Path("none")}, "no such folder"),
        ({"init": Path("RUN")}, r"--init .*run: lies in the run to be replaced; give another -o"),
        ({"fold": 7}, "--fold 7"),
        ({"cache": Path(__file__) / "cache"}, "test_run.py is a file.; give another --cache"),
    ],
)
def test_a_run_is_lost_only_when_its_successor_can_begin(order, changes, told):
    run(replace(order, max_steps=1))
    before = sorted(path.name for path in order.run.iterdir())
    if "init" in changes:
        changes = {"init": order.run}
    with pytest.raises(InputError, match=told):
        run(replace(order, overwrite=True, **changes))
    assert sorted(path.name for path in order.run.iterdir()) == before
    assert load_state(order.run).step == 1
    # Its own recipe is a good beginning.
    run(replace(order, overwrite=True, recipe=str(order.run / "recipe.toml"), max_steps=2))
    assert load_state(order.run).step == 2


def test_stopped_before_it_replaces_anything_a_run_leaves_what_was_there(order):
    class StopAtOnce(Heard):
        def preparing(self, now, done, total):
            self.stop.requested = True

    run(replace(order, max_steps=1))
    stop = StopRequest()
    with pytest.raises(Stopped) as stopped:
        run_training(replace(order, overwrite=True), StopAtOnce(stop), stop)
    assert not stopped.value.replaced
    assert load_state(order.run).step == 1
    with pytest.raises(InputError, match=r"--resume and --overwrite: .* give one of them"):
        run(replace(order, overwrite=True, resume=True))


def test_folds_are_replaced_together(order, tmp_path):
    """What is stopped half way is not to be summed up with folds of another time."""
    folds = replace(order, dataset=write_phantoms(tmp_path / "three", cases=3), max_steps=1)
    run(folds, folds=True)
    second = order.run / "fold_1"
    for needed in ({"init": second}, {"recipe": str(second / "recipe.toml")}):
        with pytest.raises(InputError, match=r"fold_1.*: lies in the run to be replaced"):
            run(replace(folds, overwrite=True, **needed), folds=True)
    assert (second / "model.safetensors").exists()
    (order.run / "fold_notes.txt").write_text("mine")
    stop = StopRequest()
    with pytest.raises(Stopped):
        run_training(replace(folds, overwrite=True), Heard(stop, at=1), stop, folds=True)
    assert sorted(path.name for path in order.run.iterdir()) == ["fold_0", "fold_notes.txt"]


def test_a_resumed_run_keeps_the_names_that_it_began_with(order, tmp_path):
    (tmp_path / "labels.toml").write_text("[labels]\n7 = 'brick'\n20 = 'sphere'\n")
    run(replace(order, labels=tmp_path / "labels.toml"))
    run(replace(order, resume=True, max_steps=6))
    assert list(read_manifest(order.run).scores["labels"]) == ["brick", "sphere"]
    steps = [list(line["labels"]) for line in read_history(order.run) if "dice" in line]
    assert steps
    assert all(names == ["brick", "sphere"] for names in steps)


def test_bad_input_that_another_process_validates_is_told_by_all(order, finished):
    folder, _ = finished
    model, dataset = load_model(folder), open_dataset(order.dataset)
    theirs = InputError("phantom2.nii.gz: damaged")
    validator = Validator(dataset, dataset.cases[:1], model, CPU, "fp32", beside(theirs))
    with pytest.raises(InputError, match=r"phantom2.nii.gz: damaged"):
        validator(order.run)


def test_resume_begins_what_is_not_there(order):
    lines = run(replace(order, resume=True, max_steps=1))
    assert any("nothing there to resume, so it begins" in line for line in lines)
    assert load_state(order.run).step == 1


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


@pytest.mark.parametrize("what", ["taking the fingerprint", "preprocessing", "validating"])
def test_stopped_in_long_work_it_ends_at_once_and_resumes(order, finished, what):
    """Also in the validation at the end, whose state is saved before it begins."""

    class StopIn(Heard):
        def preparing(self, now, done, total):
            if now == what:
                self.stop.requested = True

    stop, stopped = StopRequest(), replace(order, fold=1)
    with pytest.raises(Stopped):
        run_training(stopped, StopIn(stop), stop)
    run(replace(stopped, resume=True))
    whole, parts = load_state(finished[0]), load_state(order.run)
    for name, value in whole.network.items():
        assert torch.equal(value, parts.network[name]), name
    scores = [read_manifest(folder).scores["cases"] for folder in (finished[0], order.run)]
    assert scores[0] == scores[1]


def test_a_run_goes_on_with_processes_that_can_share_its_batch(order):
    run(replace(order, max_steps=1))
    again = replace(order, resume=True)
    with pytest.raises(InputError, match=r"batch 2 cannot be shared among 3.*as many processes as"):
        _begin(again, CPU, 3, Silence())
    assert _begin(again, CPU, 2, Silence()) is not None


@pytest.mark.slow
def test_all_folds_in_turn_and_their_summary(order, tmp_path):
    data = write_phantoms(tmp_path / "three", cases=3)
    folds = replace(order, dataset=data, max_steps=1)
    run(folds, folds=True)
    summary = json.loads((order.run / "cross_validation.json").read_text())
    assert len(summary["folds"]) == 3
    assert sorted(summary["cases"]) == ["phantom0", "phantom1", "phantom2"]
    assert summary["dice_of_cases"] == pytest.approx(np.mean(list(summary["cases"].values())))
    again = run(folds, folds=True)
    assert sum("already finished" in line for line in again) == 3
    with pytest.raises(InputError, match=r"fold_0: finished with another end.*--resume trains it"):
        run(replace(folds, max_steps=2), folds=True)
    run(replace(folds, max_steps=2, resume=True), folds=True)
    assert [load_state(order.run / f"fold_{fold}").step for fold in range(3)] == [2, 2, 2]
    second = order.run / "fold_1" / "manifest.json"
    text = second.read_text()
    second.write_text(text.replace('"block"', '"brick"'))
    with pytest.raises(InputError, match=r"fold_1: scored by .*brick.*train them with the same"):
        write_cross_validation(order.run, 3)
    second.unlink()
    with pytest.raises(InputError, match=r"fold_1.*manifest.json: cannot be read"):
        write_cross_validation(order.run, 3)


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
    with pytest.raises(InputError, match=r"network.name segresnet: .* is a unetr; leave"):
        run(replace(tuned, network="segresnet", overwrite=True))
