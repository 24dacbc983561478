"""All folds in turn, what sums them up, and which do not belong together."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from unetr.errors import InputError
from unetr.evaluation import read_evaluation, write_evaluation
from unetr.image import read_image, read_labels, write_image, write_labels
from unetr.training.crossvalidation import write_cross_validation
from unetr.training.errors import Stopped
from unetr.training.folder import read_manifest, write_manifest
from unetr.training.planned import plan_run
from unetr.training.run import run_training
from unetr.training.state import StopRequest, load_state

from .heard import Heard, run
from .phantoms import write_phantoms


def test_folds_of_other_data_are_not_summed_up(order, tmp_path):
    """What was added between two calls would be scored by no fold or by two."""
    data = write_phantoms(tmp_path / "three", cases=3)
    folds = replace(order, dataset=data, max_steps=1)
    stop = StopRequest()

    class StopInSecond(Heard):
        def say(self, line):
            self.stop.requested |= line.startswith("fold 1 of")

    with pytest.raises(Stopped):
        run_training(folds, StopInSecond(stop), stop, folds=True)
    images = data / "imagesTr"
    other = (images / "phantom1_0000.nii.gz").read_bytes()
    (images / "phantom0_0000.nii.gz").write_bytes(other)
    with pytest.raises(InputError, match=r"fold_1: the data set is not what it was for fold 0"):
        run(replace(folds, resume=True), folds=True)
    assert not (order.run / "fold_1" / "model.safetensors").exists()


@pytest.mark.parametrize("what", ["labels", "place"])
def test_folds_of_corrected_labels_are_not_summed_up(order, tmp_path, what):
    data = write_phantoms(tmp_path / "three", cases=3)
    folds = replace(order, dataset=data, max_steps=1)
    run(replace(folds, run=order.run / "fold_0", fold=0))
    image = data / "imagesTr" / "phantom0_0000.nii.gz"
    label = data / "labelsTr" / "phantom0.nii.gz"
    if what == "labels":
        found = read_labels(label)
        voxels = found.array[0].copy()
        voxels[np.unravel_index(np.flatnonzero(voxels)[0], voxels.shape)] = 0
        write_labels(label, voxels, found)
    else:
        for path in (image, label):
            found = read_image(path)
            write_image(path, replace(found, affine=found.affine @ np.diag([1.0, 1.0, 1.1, 1.0])))
    with pytest.raises(InputError, match=r"fold_1: the data set.s labels, or where they lie"):
        run(folds, folds=True)


def test_folds_of_another_end_are_not_summed_up(order, tmp_path):
    folds = replace(order, dataset=write_phantoms(tmp_path / "three", cases=3), max_steps=1)
    run(folds, folds=True)
    run(replace(folds, run=order.run / "fold_1", fold=1, max_steps=2, resume=True))
    with pytest.raises(InputError, match=r"fold_1: training.max_steps is 2, but 1 in fold 0; give"):
        write_cross_validation(order.run, 3)
    # Nor is one begun.
    shutil.rmtree(order.run / "fold_2")
    second = replace(folds, run=order.run / "fold_2", fold=2, together=order.run / "fold_0")
    with pytest.raises(InputError, match=r"fold_2: training.max_steps is 2, but 1 in fold 0; give"):
        run(replace(second, max_steps=2))


def test_what_is_undefined_in_a_fold_is_left_out_of_means(order, tmp_path):
    """A healthy case that is rightly found to be so has no Dice: that is no 0."""
    data = write_phantoms(tmp_path / "three", cases=3)
    folds = replace(order, dataset=data, max_steps=1)
    run(folds, folds=True)
    labels = read_manifest(order.run / "fold_0").scores["labels"]
    for fold, (dice, cases) in enumerate(((None, (None,)), (0.2, (0.2,)), (0.9, (0.9, 0.9, 0.9)))):
        folder = order.run / f"fold_{fold}"
        manifest = read_manifest(folder)
        names = [f"{fold}-{number}" for number in range(len(cases))]
        scores = {
            **manifest.scores,
            "dice": dice,
            "cases": dict(zip(names, cases, strict=True)),
        }
        write_manifest(folder, manifest.model_copy(update={"scores": scores}))
        found = read_evaluation(folder)
        (case,) = found.cases
        pair = found.pairs[0]
        rows = {
            name: {one: {**found.scores[case][one], "dice": value} for one in labels}
            for name, value in zip(names, cases, strict=True)
        }
        pairs = tuple(replace(pair, case=name) for name in names)
        write_evaluation(folder / "validation", replace(found, pairs=pairs, scores=rows))
    write_cross_validation(order.run, 3)
    summary = json.loads((order.run / "cross_validation.json").read_text())
    assert summary["dice_of_folds"] == pytest.approx(0.55)
    assert summary["deviation_of_folds"] == pytest.approx(0.7 / 2**0.5)
    assert summary["dice_of_cases"] == pytest.approx(2.9 / 4)
    assert summary["labels"] == {name: pytest.approx(2.9 / 4) for name in labels}
    assert summary["folds"][0]["dice"] is None


def test_folds_of_other_recipes_are_not_summed_up(order, tmp_path):
    folds = replace(order, dataset=write_phantoms(tmp_path / "three", cases=3), max_steps=1)
    run(folds, folds=True)
    second = read_manifest(order.run / "fold_1")
    other = second.model_copy(update={"init": "pre", "init_header": "a"})
    write_manifest(order.run / "fold_1", other)
    with pytest.raises(InputError, match="fold_1: begins with pre, but fold 0 began with new"):
        write_cross_validation(order.run, 3)
    # What fold 0 came to may be given to the others, which then go by the same.
    recipe = str(order.run / "fold_0" / "recipe.toml")
    own = replace(folds, run=order.run / "fold_1", fold=1, settings=(), recipe=recipe)
    run(replace(own, overwrite=True))
    assert read_manifest(own.run).recipe_digest != second.recipe_digest
    write_cross_validation(order.run, 3)
    run(replace(own, overwrite=True, settings=("loss.ce_weight=2",)))
    with pytest.raises(InputError, match="fold_1: goes by another recipe or other settings"):
        write_cross_validation(order.run, 3)


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
    left = sorted(path.name for path in order.run.iterdir())
    assert left == ["cache_of_folds", "fold_0", "fold_notes.txt"]


@pytest.mark.slow
def test_all_folds_in_turn_and_their_summary(order, tmp_path, monkeypatch):
    data = write_phantoms(tmp_path / "three", cases=3)
    folds = replace(order, dataset=data, max_steps=1)
    # As where other memory is free for each fold.
    overlaps = iter((0.25, 0.5, 0.75))

    def planned(*asked):
        return plan_run(*asked).model_copy(update={"overlap": next(overlaps)})

    monkeypatch.setattr("unetr.training.decide.plan_run", planned)
    run(folds, folds=True)
    plans = [read_manifest(order.run / f"fold_{fold}").plan for fold in range(3)]
    assert plans[0] == plans[1] == plans[2]
    assert not (order.run / "cache_of_folds").exists()
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
