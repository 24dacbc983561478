"""`unetr demo` as typed, with a tiny network and a few steps."""

import json
import os
import shlex
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from matplotlib.image import imread

from unetr.training.folder import read_manifest

pytestmark = pytest.mark.skipif(find_spec("nilearn") is None, reason="needs the extra [demo]")

TINY = (
    "network.feature_size=2", "network.hidden_size=16", "network.mlp_dim=32",
    "network.num_heads=2", "network.num_layers=4", "data.patch_voxels=[64,24,64]",
    "data.token_voxels=[16,8,16]", "data.overlap=0.25", "training.batch=1",
)  # fmt: skip


def test_it_is_stopped_goes_on_ends_and_shows_the_end_again(unetr: Any, tmp_path: Path) -> None:
    out = tmp_path / "demo"
    changes = [word for setting in TINY for word in ("--set", setting)]
    words = ("demo", "-o", out, "--max-steps", 3, *changes)
    script = [sys.executable, str(Path(__file__).with_name("interrupted.py"))]
    command = [*script, str(int(signal.SIGINT)), "1", *map(str, words)]
    stopped = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "80"}
    )
    assert (stopped.returncode, stopped.stdout) == (130, "")
    err = stopped.stderr
    assert f"Continue with --resume: unetr train {out}/mni152 -o {out}/run --max-steps 3" in err
    assert err.endswith("the demo goes on from here when the same command is given again\n")
    assert read_manifest(out / "run").status == "started"

    code, stdout, err = unetr(*words)
    assert code == 0, err
    check(out, stdout, err)

    found = (out / "segmentations" / "brain_2.nii.gz").read_bytes()
    code, again, err = unetr(*words)
    assert code == 0, err
    assert "already finished" in err
    assert again == stdout
    assert (out / "segmentations" / "brain_2.nii.gz").read_bytes() == found


def check(out: Path, stdout: str, err: str) -> None:
    """All that a finished demo leaves and says."""
    manifest = read_manifest(out / "run")
    assert manifest.status == "finished"
    # As if it had been typed, and shown as such.
    assert manifest.command[:2] == ["unetr", "train"]
    assert f"$ {shlex.join(manifest.command)}" in err
    held_out = {"brain_2", "brain_5"}
    assert held_out.isdisjoint([*manifest.train, *manifest.validation])
    assert set(manifest.train).isdisjoint(manifest.validation)
    assert "Louis Collins" in manifest.licence
    lines = (out / "run" / "history.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["step"] == 3

    for name in held_out:
        scan = nib.load(out / "mni152" / "imagesTs" / f"{name}.nii.gz")
        labels = nib.load(out / "segmentations" / f"{name}.nii.gz")
        assert labels.shape == scan.shape
        assert np.array_equal(labels.affine, scan.affine)
        assert set(np.unique(np.asarray(labels.dataobj))) <= {0, 1, 2}
    summary = json.loads((out / "report" / "summary.json").read_text())
    assert {
        case for case in json.dumps(summary).split('"') if case.startswith("brain_")
    } <= held_out
    assert "<html" in (out / "report" / "report.html").read_text()
    picture = imread(out / "picture.png")
    assert picture.shape[1] > 1000
    # Painted with the label's colours, not only grey.
    assert np.ptp(picture[..., :3], axis=2).max() > 0.5

    for told in ("grey matter", "white matter", "Dice", "HD95"):
        assert told in stdout
    for name in ("report/report.html", "picture.png", "segmentations", "run", "mni152"):
        assert str(out / name) in stdout
        assert (out / name).exists()
    assert "one brain\nproves nothing" in stdout
    for verb in ("inspect", "train", "predict"):
        assert f"  unetr {verb} " in stdout


def test_a_folder_with_other_things_is_left_alone(unetr: Any, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    (tmp_path / ".DS_Store").write_text("left by a file manager")
    code, out, err = unetr("demo", "-o", tmp_path)
    assert (code, out) == (2, "")
    assert err == (
        f"unetr: {tmp_path}: holds thesis.tex, which no demo wrote; give another folder with -o\n"
    )
    code, _, err = unetr("demo", "-o", tmp_path / "thesis.tex")
    assert code == 2
    assert "is a file; give another folder with -o" in err
    assert {path.name for path in tmp_path.iterdir()} == {"thesis.tex", ".DS_Store"}


def test_without_the_extra_it_is_one_line(
    unetr: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unetr.data.mni152.find_spec", lambda _: None)
    code, out, err = unetr("demo", "-q", "-o", tmp_path / "demo")
    assert (code, out) == (2, "")
    assert err == (
        "unetr: demo: the scan ships with nilearn; install it: pip install 'unetr[demo]'\n"
    )
