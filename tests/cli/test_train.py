"""`unetr train` as typed: what it learns, how it stops and goes on, and real data sets."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from unetr.checkpoint import load_model
from unetr.training.history import read_history
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
    done = finished(train(data, tmp_path / "run", "--max-steps", 180, settings=SMALL))
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


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_save_and_resume_goes_on(tmp_path, data, unetr, number, code):
    run = tmp_path / "run"
    words = train(data, run, "--max-steps", 9, "--set", "training.log_steps=1")[1:]
    script = [sys.executable, str(Path(__file__).with_name("interrupted.py"))]
    ended = finished([*script, str(int(number)), "3", *words])
    assert (ended.returncode, ended.stdout) == (code, "")
    told = ended.stderr
    again = "stopped; what is trained is saved. Continue with --resume: "
    assert told.splitlines()[-1] == again + shlex.join(["unetr", *words, "--resume"])
    # The signal may be seen one step later.
    assert load_state(run).step in (3, 4)
    code, out, _ = unetr(*words, "--resume")
    assert (code, out) == (0, f"{run / 'model.safetensors'}\n")
    assert load_state(run).step == 9
    assert [line["step"] for line in read_history(run) if "loss" in line] == list(range(1, 10))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("none", "-o", "run"), "no such folder"),
        (("data", "-o", "run", "--set", "training.Lr=1"), "near are training.lr"),
        (("data", "-o", "run", "--fold", "x"), "--fold x"),
        (("data", "-o", "run", "--network", "unet"), "'unet' is not one of 'unetr',"),
        (("data", "-o", "run", "--init", "none"), "none: "),
        (("data", "-o", "run", "--max-minutes", "0"), "training.max_minutes: "),
        (("data", "-o", "run", "--device", "gpu"), "gpu"),
    ],
)
def test_one_line_for_what_is_wrong(tmp_path, data, unetr, monkeypatch, words, told):
    (tmp_path / "data").symlink_to(data)
    monkeypatch.chdir(tmp_path)
    code, out, line = unetr("train", *words)
    assert (code, out) == (2, "")
    assert told in line
    assert line.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_finite_ends_with_code_1(tmp_path, data, unetr):
    settings = (*TINY, "training.lr=1e30", "training.clip_norm=0", "training.precision=fp32")
    words = train(data, tmp_path / "run", "--max-steps", 50, settings=settings)[1:]
    code, out, told = unetr(*words)
    assert (code, out) == (1, "")
    assert "learning rate" in told.splitlines()[-1]
    assert "phantom" in told.splitlines()[-1]


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
def test_folders_of_real_mr_without_a_description(tmp_path, real_data, unetr):
    """Three CHAOS cases: thick slices, LAS, labels without names."""
    data = linked(tmp_path / "data", real_data / "chaos_mr", images=3, labels=3)
    ids = {0, 1, 2, 3, 4}
    assert_trains_and_predicts(unetr, data, next((data / "images").iterdir()), ids)


@pytest.mark.slow
def test_real_brain_tumours_in_overlapping_regions(tmp_path, real_data, unetr):
    """Two cases with two channels; the regions are found by the names of the labels."""
    data = linked(tmp_path / "data", real_data / "brats_2ch", images=4, labels=2)
    scan = sorted((data / "imagesTr").iterdir())[0]
    model = assert_trains_and_predicts(unetr, data, scan, {0, 1, 2, 4})
    names = ["whole tumour", "tumour core", "enhancing tumour"]
    assert list(model.provenance["dice_per_label"]) == names


def linked(data, source, images, labels):
    """The first files of a data set."""
    for folder in sorted(path for path in source.iterdir() if path.is_dir()):
        (data / folder.name).mkdir(parents=True)
        count = images if folder.name.startswith("images") else labels
        for path in sorted(folder.iterdir())[:count]:
            (data / folder.name / path.name).symlink_to(path)
    if (source / "dataset.json").exists():
        (data / "dataset.json").symlink_to(source / "dataset.json")
    return data


def assert_trains_and_predicts(unetr, data, scan, ids, more=()):
    run, out = data.parent / "run", data.parent / "out.nii.gz"
    # A small network, few windows and one validation: what is tried is the way of real scans.
    settings = (*TINY, "data.overlap=0.0", "validation.times=1", *more)
    code, _, told = unetr(*train(data, run, "--max-steps", 2, settings=settings)[1:])
    assert code == 0, told
    model = load_model(run)
    assert model.provenance["step"] == 2
    assert all(np.isfinite(list(model.provenance["dice_per_label"].values())))
    code, _, told = unetr("predict", run, scan, "-o", out, "--engine", "torch")
    assert code == 0, told
    found, native = nib.load(out), nib.load(scan)
    assert found.shape == native.shape
    assert np.allclose(found.affine, native.affine)
    assert set(np.unique(np.asarray(found.dataobj))) <= ids
    return model
