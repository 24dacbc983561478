"""Runs that are stopped, continued, extended or replaced."""

import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from unetr.checkpoint import load_model, save_model
from unetr.errors import InputError
from unetr.image import read_labels, write_labels
from unetr.training.errors import Stopped
from unetr.training.folder import read_manifest, write_manifest
from unetr.training.history import read_history
from unetr.training.order import Order
from unetr.training.progress import Silence
from unetr.training.run import _begin, run_training
from unetr.training.state import StopRequest, load_state

from .heard import Heard, run
from .phantoms import FAST, write_phantoms

CPU = torch.device("cpu")


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
    with pytest.raises(InputError, match=r"--init hippocampus: the run began with new weights"):
        run(replace(again, init=Path("hippocampus")))


def test_the_model_that_a_run_began_with_is_known_by_what_it_holds(order, finished, tmp_path):
    """Not by its path, which batch systems change; and not where it was trained further."""
    folder, _ = finished
    first = replace(order, init=folder, settings=FAST[-3:], max_steps=1)
    run(first)
    staged = tmp_path / "scratch" / "model.safetensors"
    staged.parent.mkdir()
    staged.write_bytes((folder / "model.safetensors").read_bytes())
    run(replace(first, resume=True, init=staged, max_steps=2))
    model = load_model(staged)
    model.provenance["step"] = 99
    save_model(staged, model)
    with pytest.raises(InputError, match=r"--init .*: the run began with .*scratch/model.*, as it"):
        run(replace(first, resume=True, init=staged, max_steps=3))


def test_before_its_first_saving_a_run_begins_with_the_model_where_it_lies_now(
    order, finished, tmp_path
):
    folder, _ = finished
    staged = tmp_path / "scratch" / "model.safetensors"
    staged.parent.mkdir()
    staged.write_bytes((folder / "model.safetensors").read_bytes())
    first = replace(order, init=staged, settings=FAST[-3:], max_steps=1)
    run(first)
    shutil.rmtree(first.run / "last")
    moved = staged.rename(staged.with_name("moved.safetensors"))
    with pytest.raises(InputError, match=r"scratch/model.safetensors: cannot be read"):
        run(replace(first, resume=True, max_steps=2))
    run(replace(first, resume=True, max_steps=2, init=moved))
    assert load_state(order.run).step == 2
    shutil.rmtree(first.run / "last")
    model = load_model(moved)
    model.provenance["step"] = 99
    save_model(moved, model)
    with pytest.raises(InputError, match=r"moved.safetensors: is not what it was when the run"):
        run(replace(first, resume=True, init=None, max_steps=3))


def test_a_model_of_the_package_is_begun_with_beside_a_folder_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hippocampus").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.safetensors").touch()
    (tmp_path / "file.safetensors").touch()
    for given, origin in (
        ("hippocampus", "hippocampus"),
        ("run", str(tmp_path / "run")),
        ("file.safetensors", str(tmp_path / "file.safetensors")),
    ):
        assert Order(tmp_path, tmp_path / "new", init=Path(given)).origin == origin


def test_how_often_it_saves_does_not_open_a_finished_run(order):
    run(order)
    before = read_manifest(order.run)
    settings = (*FAST, "training.save_minutes=1", "training.log_steps=3")
    (line,) = run(replace(order, resume=True, settings=settings))
    assert "already finished" in line
    assert read_manifest(order.run) == before


def test_a_recipe_file_with_another_end_is_told_of(order, tmp_path):
    own = tmp_path / "own.toml"
    own.write_text("name = 'own'\n[training]\nmax_steps = 1\n")
    first = replace(order, recipe=str(own), max_steps=None)
    run(first)
    own.write_text("name = 'own'\n[training]\nmax_steps = 2\n")
    with pytest.warns(UserWarning, match=r"own.toml has training.max_steps = 2, but .* with 1; --"):
        run(replace(first, resume=True))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(replace(first, resume=True, max_steps=2))
    assert load_state(order.run).step == 2


def test_cases_that_changed_since_a_run_began_are_told_of(order, tmp_path):
    data = write_phantoms(tmp_path / "three", cases=3)
    stop = StopRequest()
    first = replace(order, dataset=data)
    with pytest.raises(Stopped):
        run_training(first, Heard(stop, at=2), stop)
    name = read_manifest(order.run).train[0]
    label = data / "labelsTr" / f"{name}.nii.gz"
    found = read_labels(label)
    voxels = found.array[0].copy()
    voxels[np.unravel_index(np.flatnonzero(voxels)[0], voxels.shape)] = 0
    write_labels(label, voxels, found)
    lines = run(replace(first, resume=True))
    assert [line for line in lines if line.startswith("note: 1 case was preprocessed anew")]


def test_a_recipe_file_that_was_changed_is_not_passed_over(order, tmp_path):
    own = tmp_path / "own.toml"
    own.write_text("name = 'own'\n[loss]\nce_weight = 0.5\n")
    first = replace(order, recipe=str(own), max_steps=1)
    run(first)
    run(replace(first, resume=True, max_steps=2))
    own.write_text("name = 'own'\n# a remark\n[loss]\nce_weight = 0.5\n[training]\nlog_steps = 9\n")
    run(replace(first, resume=True, max_steps=3))
    own.write_text("name = 'own'\n[loss]\nce_weight = 2.0\n")
    with pytest.raises(InputError, match=r"own.toml: was changed since the run began.*restore"):
        run(replace(first, resume=True, max_steps=4))
    # Its own recipe, which it has written over, is no other one.
    again = replace(first, recipe=str(order.run / "recipe.toml"), overwrite=True, max_steps=1)
    run(again)
    run(replace(again, overwrite=False, resume=True, max_steps=2))
    assert load_state(order.run).step == 2


def test_a_run_is_not_resumed_on_what_cannot_compute_as_it_did(order):
    run(order)
    manifest = read_manifest(order.run)
    for device, cure in (("cuda:1", "resume the run on cuda:1"), ("cpu", "start another run")):
        elsewhere = manifest.model_copy(update={"precision": "fp16", "device": device})
        write_manifest(order.run, elsewhere)
        with pytest.raises(InputError, match=f"precision fp16 needs a GPU; {cure}"):
            run(replace(order, resume=True, max_steps=6))
        assert read_manifest(order.run) == elsewhere  # still finished, with its scores


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
        ({"cache": Path(__file__) / "cache"}, "test_continued.py is a file.; give another --cache"),
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


def test_a_resumed_run_keeps_the_names_that_it_began_with(order, tmp_path):
    (tmp_path / "labels.toml").write_text("[labels]\n7 = 'brick'\n20 = 'sphere'\n")
    run(replace(order, labels=tmp_path / "labels.toml"))
    run(replace(order, resume=True, max_steps=6))
    assert list(read_manifest(order.run).scores["labels"]) == ["brick", "sphere"]
    steps = [list(line["labels"]) for line in read_history(order.run) if "dice" in line]
    assert steps
    assert all(names == ["brick", "sphere"] for names in steps)


def test_resume_begins_what_is_not_there(order):
    lines = run(replace(order, resume=True, max_steps=1))
    assert any("nothing there to resume, so it begins" in line for line in lines)
    assert load_state(order.run).step == 1


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
