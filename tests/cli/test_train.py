"""`unetr train` as typed: what it learns, how it stops and goes on, and real data sets."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from unetr.checkpoint import load_model
from unetr.training.state import load_state

from ..training.phantoms import SMALL, TINY, write_phantoms

COMMAND = [str(Path(sys.executable).parent / "unetr")]


def train(data, run, *more, settings=TINY):
    words = [word for setting in settings for word in ("--set", setting)]
    return [*COMMAND, "train", str(data), "-o", str(run), *words, *map(str, more)]


def finished(command, **keywords):
    return subprocess.run(command, capture_output=True, text=True, **keywords)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_phantoms(tmp_path_factory.mktemp("phantoms") / "data")


@pytest.mark.slow
def test_it_learns_phantoms_it_never_saw(tmp_path):
    """Dice above 0.95 in about a minute; then the model predicts with the data set gone."""
    data = write_phantoms(tmp_path / "data")
    done = finished(train(data, tmp_path / "run", "--max-steps", 120, settings=SMALL))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "run" / "model.safetensors")
    assert "4 cases train, 2 validate" in done.stderr
    provenance = load_model(tmp_path / "run").provenance
    assert provenance["dice"] > 0.95
    assert provenance["dice_per_label"].keys() == {"block", "ball"}
    page = (tmp_path / "run" / "validation" / "report.html").read_text()
    assert "<title>Validation</title>" in page
    assert page.count("<image ") == 12  # 2 labels, worst and best of 2 cases, 3 slices
    names = provenance["validation"]
    scan = tmp_path / f"{names[0]}.nii.gz"
    (data / "imagesTr" / f"{names[0]}_0000.nii.gz").rename(scan)
    shutil.rmtree(data)
    out = tmp_path / "out.nii.gz"
    words = ["predict", tmp_path / "run", scan, "-o", out, "--engine", "torch"]
    done = finished([*COMMAND, *map(str, words)])
    assert done.returncode == 0, done.stderr
    found = np.asarray(nib.load(out).dataobj)
    kept = tmp_path / "run" / "validation" / "predictions" / f"{names[0]}.nii.gz"
    assert set(np.unique(found)) == {0, 7, 20}
    assert (found == np.asarray(nib.load(kept).dataobj)).mean() > 0.999


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_signals_save_and_resume_goes_on(tmp_path, data, number, code):
    run = tmp_path / "run"
    command = train(data, run, "--max-steps", 2000, "--set", "training.log_steps=1")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as going:
        for line in going.stderr:
            if line.startswith("step 3,"):
                going.send_signal(number)
                break
        rest = going.stderr.read()
    assert going.returncode == code
    assert "stopped; the state is saved. Continue with --resume: unetr train" in rest
    reached = load_state(run).step
    assert reached >= 3
    done = finished(train(data, run, "--resume", "--max-steps", reached + 1))
    assert done.returncode == 0, done.stderr
    assert load_state(run).step == reached + 1


def test_one_line_for_what_is_wrong(tmp_path, data):
    wrong = {
        "no such folder": train(tmp_path / "none", tmp_path / "run"),
        "near are training.lr": train(data, tmp_path / "run", settings=["training.Lr=1"]),
        "--fold x": train(data, tmp_path / "run", "--fold", "x"),
    }
    for told, command in wrong.items():
        done = finished(command)
        assert done.returncode == 2
        assert told in done.stderr
        assert done.stderr.count("\n") == 1
        assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_loss_that_is_not_finite_ends_with_code_1(tmp_path, data):
    settings = (*TINY, "training.lr=1e30", "training.clip_norm=0", "training.precision=fp32")
    done = finished(train(data, tmp_path / "run", "--max-steps", 50, settings=settings))
    assert done.returncode == 1
    assert "learning rate" in done.stderr.splitlines()[-1]
    assert "phantom" in done.stderr.splitlines()[-1]


@pytest.mark.slow
def test_the_run_ends_within_its_minutes(tmp_path, data):
    began = time.monotonic()
    done = finished(train(data, tmp_path / "run", "--max-minutes", 0.4))
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < 24 + 5  # the minutes begin when Python has started
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["status"] == "finished"
    assert len(manifest["scores"]["cases"]) == 2


@pytest.mark.slow
def test_torchrun_with_two_processes(tmp_path, data):
    torchrun = [str(Path(sys.executable).parent / "torchrun"), "--standalone"]
    command = train(data, tmp_path / "run", "--max-steps", 2, "--device", "cpu")
    command = [*torchrun, "--nproc-per-node", "2", "--no-python", *command]
    done = finished(command, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "run" / "model.safetensors")
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert (manifest["processes"], manifest["status"]) == (2, "finished")
    assert load_state(tmp_path / "run").step == 2


@pytest.mark.slow
def test_folders_of_real_mr_without_a_description(tmp_path, real_data):
    """Three CHAOS cases: thick slices, LAS, labels without names."""
    data = tmp_path / "data"
    for kind in ("images", "labels"):
        (data / kind).mkdir(parents=True)
        for path in sorted((real_data / "chaos_mr" / kind).iterdir())[:3]:
            (data / kind / path.name).symlink_to(path)
    assert_trains_and_predicts(tmp_path, data, next((data / "images").iterdir()), {0, 1, 2, 3, 4})


@pytest.mark.slow
def test_real_brain_tumours_in_overlapping_regions(tmp_path, real_data):
    data, source = tmp_path / "data", real_data / "brats_2ch"
    for kind in ("imagesTr", "labelsTr"):
        (data / kind).mkdir(parents=True)
        for path in sorted((source / kind).iterdir())[: 4 if kind == "imagesTr" else 2]:
            (data / kind / path.name).symlink_to(path)
    description = json.loads((source / "dataset.json").read_text())
    description["labels"] = {
        "background": 0, "whole tumour": [1, 2, 3, 4], "tumour core": [1, 3, 4],
        "enhancing tumour": [4],
    }  # fmt: skip
    description["regions_class_order"] = [2, 1, 4]
    (data / "dataset.json").write_text(json.dumps(description))
    scan = sorted((data / "imagesTr").iterdir())[0]
    assert_trains_and_predicts(tmp_path, data, scan, {0, 1, 2, 4})


def assert_trains_and_predicts(tmp_path, data, scan, ids):
    run, out = tmp_path / "run", tmp_path / "out.nii.gz"
    # Each case has many windows: one validation is enough.
    done = finished(train(data, run, "--max-steps", 4, settings=("validation.times=1",)))
    assert done.returncode == 0, done.stderr
    model = load_model(run)
    assert model.provenance["step"] == 4
    assert all(np.isfinite(list(model.provenance["dice_per_label"].values())))
    done = finished([*COMMAND, "predict", str(run), str(scan), "-o", str(out)])
    assert done.returncode == 0, done.stderr
    found, native = nib.load(out), nib.load(scan)
    assert found.shape == native.shape
    assert np.allclose(found.affine, native.affine)
    assert set(np.unique(np.asarray(found.dataobj))) <= ids
    assert torch.isfinite(next(model.network.parameters())).all()
