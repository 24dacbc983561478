"""The verbs about models, as typed: predict, export, info, import-monai."""

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from unetr.checkpoint import Model, load_model, save_model
from unetr.data.plan import Crop, Label, Normalisation, Plan
from unetr.model import UNETR, export_monai

UNETR_COMMAND = Path(sys.executable).parent / "unetr"


def run(*arguments, **keywords):
    command = [str(UNETR_COMMAND), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, **keywords)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    network = UNETR(
        1, 3, 32, patch_size=16, feature_size=4, hidden_size=16, mlp_dim=32, num_heads=2
    ).eval()
    plan = Plan(
        channels=("CT",),
        labels=tuple(
            Label(id=i, name=n) for i, n in ((0, "background"), (200, "liver"), (500, "spleen"))
        ),
        spacing_mm=(1.0, 1.0, 1.0),
        patch_voxels=(32, 32, 32),
        crop=Crop(kind="above", threshold=-175.0),
        normalisation=(Normalisation(kind="range", low=-175.0, high=250.0),),
    )
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(path, Model(network, plan, {"seed": 3, "scores": {"liver": 0.91234}}))
    return path


@pytest.fixture(scope="module")
def scan(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("scans") / "scan.nii.gz"
    array = np.random.default_rng(0).normal(0, 80, (40, 36, 44)).astype(np.int16)
    affine = np.diag([-0.9, 0.9, 1.1, 1.0])
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def labels_of(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def test_exported_networks_predict_what_the_model_does(tmp_path, model, scan):
    done = run("predict", model, scan, "-o", tmp_path / "own.nii.gz", "--engine", "torch",
               "--precision", "fp32")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "engine torch, fp32 on cpu" in done.stderr
    own = labels_of(tmp_path / "own.nii.gz")
    assert set(np.unique(own)) <= {0, 200, 500}
    assert len(np.unique(own)) > 1
    for kind, name in (("onnx", "model.onnx"), ("openvino", "model.xml")):
        exported = run("export", model, "-o", tmp_path / kind, "--format", kind)
        assert exported.stdout.strip() == str(tmp_path / kind / name), exported.stderr
        out = tmp_path / f"{kind}.nii.gz"
        done = run("predict", tmp_path / kind / name, scan, "-o", out, "--precision", "fp32")
        assert done.returncode == 0, done.stderr
        assert f"engine {kind}, fp32" in done.stderr
        assert (labels_of(out) == own).mean() >= 0.9999


def test_data_set_may_be_gone_and_process_fresh(tmp_path, model, scan):
    """Only the model file and the scan are needed: a copy elsewhere predicts the same."""
    copy = tmp_path / "elsewhere.safetensors"
    copy.write_bytes(model.read_bytes())
    for path, out in ((model, "a.nii.gz"), (copy, "b.nii.gz")):
        done = run("predict", path, scan, "-o", tmp_path / out, "--engine", "torch", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert np.array_equal(labels_of(tmp_path / "a.nii.gz"), labels_of(tmp_path / "b.nii.gz"))


def test_one_failing_scan_gives_exit_1_and_a_summary(tmp_path, model, scan):
    folder = tmp_path / "scans"
    folder.mkdir()
    (folder / "good.nii.gz").write_bytes(scan.read_bytes())
    (folder / "bad.nii.gz").write_bytes(scan.read_bytes()[:300])
    arguments = ("predict", model, folder, "-o", tmp_path / "out", "--engine", "torch")
    done = run(*arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "1 of 2 failed" in done.stderr
    assert "bad.nii.gz" in done.stderr
    assert "Traceback" not in done.stderr
    content = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert content["cases"]["bad"]["status"] == "failed"
    assert content["cases"]["good"]["status"] == "done"
    again = run(*arguments)
    assert "good: already there" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("predict", "SCAN", "-o", "out"), "not a model"),
        (("predict", "MODEL", "-o", "out"), "no scan is given"),
        (("predict", "MODEL", "absent.nii.gz", "-o", "out"), "absent.nii.gz"),
        (("predict", "MODEL", "SCAN", "-o", "out", "--shard", "3/2"), "I/N"),
        (("predict", "MODEL", "SCAN", "-o", "out", "--attention", "13"), "not within 1..12"),
        (("predict", "absent.safetensors", "SCAN", "-o", "out"), "cannot be read"),
        (("info", "SCAN"), "not a unetr model"),
    ],
)
def test_wrong_calls_are_one_line_and_exit_2(tmp_path, model, scan, arguments, said):
    places = {"MODEL": model, "SCAN": scan}
    done = run(*(places.get(one, one) for one in arguments), cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") <= 1
    assert not (tmp_path / "out").exists()


def test_info_says_what_it_is(model):
    done = run("info", model)
    assert done.returncode == 0, done.stderr
    for part in ("200 liver, 500 spleen", "CT", "liver 0.9123", "-175 to 250", "32 x 32 x 32"):
        assert part in done.stdout
    assert "UNETR: 12 blocks of width 16 with 2 heads" in done.stdout
    content = json.loads(run("info", model, "--json").stdout)
    assert content["plan"]["labels"][1] == {"id": 200, "name": "liver"}


def test_the_card_is_markdown_named_after_its_run(model):
    done = run("info", model.parent, "--card")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == f"# {model.parent.name}: liver, spleen from CT"
    assert "| 500 | spleen |" in lines
    assert "The file holds no validation scores." in lines
    assert "- Intensity: CT: -175 to 250 becomes 0 to 1" in lines


def test_info_needs_no_torch(model):
    code = (
        "import sys; from pathlib import Path; from unetr.cli.info import info;"
        f"info(Path({str(model)!r})); info(Path({str(model)!r}), card=True);"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_attention_and_maps_are_written(tmp_path, model, scan):
    done = run("predict", model, scan, "-o", tmp_path, "--engine", "torch", "--attention", 3,
               "--uncertainty", "--probabilities")  # fmt: skip
    assert done.returncode == 0, done.stderr
    affine = nib.load(scan).affine
    for kind, dims in (("attention", 3), ("uncertainty", 3), ("probabilities", 4)):
        image = nib.load(tmp_path / kind / "scan.nii.gz")
        assert image.ndim == dims
        assert np.allclose(image.affine, affine)
        assert np.isfinite(np.asarray(image.dataobj)).all()
    # Each window's rollout is 1 on average; laid on the scan it stays near that.
    attention = np.asarray(nib.load(tmp_path / "attention" / "scan.nii.gz").dataobj)
    assert 0.8 < attention[attention > 0].mean() < 1.2


def test_monai_checkpoint_is_imported(tmp_path):
    torch.manual_seed(0)
    network = UNETR(1, 14, 96, feature_size=4, hidden_size=24, mlp_dim=32, num_heads=2,
                    skip_layers=(4, 7, 10)).eval()  # fmt: skip
    torch.save(export_monai(network), tmp_path / "monai.pt")
    out = tmp_path / "model.safetensors"
    done = run("import-monai", tmp_path / "monai.pt", "-o", out, "--recipe", "btcv-monai")
    assert done.returncode == 0, done.stderr
    loaded = load_model(out)
    assert loaded.plan.labels[6].name == "liver"
    assert loaded.plan.spacing_mm == (1.5, 1.5, 2.0)
    x = torch.randn(1, 1, 96, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(loaded.network(x), network(x))
    wrong = run("import-monai", tmp_path / "monai.pt", "-o", out, "--recipe", "msd-spleen")
    assert wrong.returncode == 2
    assert "1 -> 14 channels, but recipe msd-spleen has 1 -> 2" in wrong.stderr
    (tmp_path / "evil.pt").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    wrong = run("import-monai", tmp_path / "evil.pt", "-o", out, "--recipe", "btcv")
    assert wrong.returncode == 2
    assert "plain tensors" in wrong.stderr
