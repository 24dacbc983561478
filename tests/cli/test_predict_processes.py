"""What only whole processes show: an interrupt, and ranks that share the scans."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from unetr.checkpoint import Model, save_model
from unetr.data.plan import Label, Normalisation, Plan
from unetr.model import UNETR

COMMAND = Path(sys.executable).parent / "unetr"
# Many windows, so that a scan takes a while.
SLOW = ("--engine", "torch", "--precision", "fp32", "--overlap", "0.75")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    network = UNETR(1, 2, 32, feature_size=4, hidden_size=24, mlp_dim=32, num_heads=2).eval()
    plan = Plan(
        channels=("MR",),
        labels=(Label(id=0, name="background"), Label(id=1, name="brain")),
        spacing_mm=(1.0, 1.0, 1.0),
        patch_voxels=(32, 32, 32),
        normalisation=(Normalisation(kind="zscore"),),
    )
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(path, Model(network, plan))
    return path


def write_scans(folder: Path, *names: str) -> Path:
    folder.mkdir()
    random = np.random.default_rng(0)
    for name in names:
        array = random.normal(0, 1, (48, 48, 48)).astype(np.float32)
        nib.save(nib.Nifti1Image(array, np.eye(4)), folder / f"{name}.nii.gz")
    return folder


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_whole_outputs_and_their_record(tmp_path, model, number):
    scans = write_scans(tmp_path / "scans", *(f"scan{i:02d}" for i in range(20)))
    out = tmp_path / "out"
    process = subprocess.Popen(
        [COMMAND, "predict", model, scans, "-o", out, *SLOW],
        stderr=subprocess.PIPE,
        text=True,
        # Shells start what runs in the background deaf to it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 200
    while not list(out.glob("*.nii.gz")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    written = sorted(out.glob("*.nii.gz"))
    assert 1 <= len(written) < 20
    for path in written:
        assert np.asarray(nib.load(path).dataobj).shape == (48, 48, 48)
    assert sorted(out.iterdir()) == sorted([*written, out / "manifest.json"])
    cases = json.loads((out / "manifest.json").read_text())["cases"]
    assert {f"{name}.nii.gz" for name in cases} == {path.name for path in written}
    assert {case["status"] for case in cases.values()} == {"done"}


def test_ranks_share_the_scans_and_outlive_one_that_fails(tmp_path, model):
    """The first rank has nothing but a broken scan, and is through long before the second."""
    scans = write_scans(tmp_path / "scans", "b", "d")
    for broken in ("a", "c"):
        (scans / f"{broken}.nii.gz").write_bytes(b"no scan")
    out = tmp_path / "out"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*launch, "--no-python", COMMAND, "predict", model, scans, "-o", out, *SLOW]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 1
    assert done.stderr.count("2 of 2 failed:") == 1
    assert sorted(path.name for path in out.glob("*.nii.gz")) == ["b.nii.gz", "d.nii.gz"]
    statuses = {
        name: case["status"]
        for part in ("1-of-2", "2-of-2")
        for name, case in json.loads((out / f"manifest-{part}.json").read_text())["cases"].items()
    }
    assert statuses == {"a": "failed", "b": "done", "c": "failed", "d": "done"}
