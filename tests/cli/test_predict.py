"""The verbs about models, as typed: predict, export, info."""

import importlib.metadata
import json
import subprocess
import sys
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from unetr.checkpoint import Model, save_model
from unetr.data.plan import Crop, Label, Normalisation, Plan
from unetr.image import read_label_names
from unetr.model import UNETR


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    network = UNETR(
        1, 3, 32, patch_size=16, feature_size=4, hidden_size=16, mlp_dim=32, num_heads=2
    ).eval()
    with torch.no_grad():  # no class is likelier than another
        head = network.decoder.head
        head.weight -= head.weight.mean(0)
        head.bias.zero_()
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


def test_exported_networks_predict_what_the_model_does(tmp_path, model, scan, unetr):
    code, _, err = unetr("predict", model, scan, "-o", tmp_path / "own.nii.gz",
                         "--engine", "torch", "--precision", "fp32")  # fmt: skip
    assert code == 0, err
    assert "engine torch, fp32 on cpu" in err
    own = labels_of(tmp_path / "own.nii.gz")
    assert set(np.unique(own)) <= {0, 200, 500}
    assert len(np.unique(own)) > 1
    for kind, name in (("onnx", "model.onnx"), ("openvino", "model.xml")):
        file = tmp_path / kind / name
        code, out, err = unetr("export", model, "-o", tmp_path / kind, "--format", kind)
        assert out.strip() == str(file), err
        labels = tmp_path / f"{kind}.nii.gz"
        code, _, err = unetr("predict", file, scan, "-o", labels, "--precision", "fp32")
        assert code == 0, err
        assert f"engine {kind}, fp32" in err
        assert (labels_of(labels) == own).mean() >= 0.9999
        for given in (file, file.parent):
            told = unetr("info", given)
            assert told == unetr("info", model)
        assert unetr("info", file, "--card")[1].startswith(f"# {kind}: liver, spleen from CT")


def test_what_is_written_says_what_it_is(tmp_path, model, scan, unetr):
    code, out, err = unetr("predict", model, scan, "-o", tmp_path / "out", "--engine", "torch")
    assert (code, out) == (0, ""), err
    labels, image = tmp_path / "out" / "scan.nii.gz", nib.load(scan)
    assert nib.load(labels).get_data_dtype() == np.uint16  # 500 needs two bytes
    assert nib.load(labels).shape == image.shape
    assert np.array_equal(nib.load(labels).affine, image.affine)
    assert read_label_names(labels) == {0: "background", 200: "liver", 500: "spleen"}
    record = json.loads((tmp_path / "out" / "manifest.json").read_text())
    (made,) = record["models"]
    assert (made["file"], made["network"]) == (str(model), "unetr")
    assert (record["engine"], record["device"], record["overlap"]) == ("torch", "cpu", 0.5)
    assert record["precision"] in ("fp32", "bf16")
    assert record["versions"]["torch"] == importlib.metadata.version("torch")
    assert record["peak_memory_gb"] > 0.1
    (case,) = record["cases"].values()
    assert (case["images"], case["output"]) == ([str(scan)], str(labels))
    assert {"preprocess", "windows", "restore", "read", "write"} <= set(case["seconds"])


def test_a_record_that_cannot_be_written_is_a_warning(tmp_path, model, scan, unetr):
    (tmp_path / "out" / "manifest.json").mkdir(parents=True)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        code, _, err = unetr("predict", model, scan, "-o", tmp_path / "out", "--engine", "torch")
    assert code == 0, err
    assert err.count("manifest.json: cannot be written") == 1
    assert (tmp_path / "out" / "scan.nii.gz").exists()


def test_data_set_may_be_gone_and_process_fresh(tmp_path, model, scan, unetr):
    """Only the model file and the scan are needed: a copy elsewhere predicts the same."""
    copy = tmp_path / "elsewhere.safetensors"
    copy.write_bytes(model.read_bytes())
    code, _, err = unetr("predict", model, scan, "-o", tmp_path / "a.nii.gz", "--engine", "torch")
    assert code == 0, err
    command = [Path(sys.executable).parent / "unetr", "predict", copy, scan, "-o", "b.nii.gz"]
    subprocess.run([*command, "--engine", "torch"], cwd=tmp_path, check=True, capture_output=True)
    assert np.array_equal(labels_of(tmp_path / "a.nii.gz"), labels_of(tmp_path / "b.nii.gz"))


def test_one_failing_scan_gives_exit_1_and_a_summary(tmp_path, model, scan, unetr):
    folder = tmp_path / "scans"
    folder.mkdir()
    (folder / "good.nii.gz").write_bytes(scan.read_bytes())
    (folder / "bad.nii.gz").write_bytes(scan.read_bytes()[:300])
    words = ("predict", model, folder, "-o", tmp_path / "out", "--engine", "torch")
    code, out, err = unetr(*words)
    assert (code, out) == (1, "")
    assert "1 of 2 failed:" in err
    assert "bad.nii.gz" in err
    assert "Traceback" not in err
    content = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert content["cases"]["bad"]["status"] == "failed"
    assert content["cases"]["good"]["status"] == "done"
    _, _, err = unetr(*words)
    assert "good: already there" in err
    (folder / "bad.nii.gz").unlink()
    code, _, err = unetr(*words)
    assert (code, err.count("\n")) == (0, 1)
    assert "already there; --overwrite predicts it again" in err
    other = tmp_path / "other.safetensors"
    other.write_bytes(model.read_bytes())
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        _, _, err = unetr("predict", other, *words[2:])
    assert err.startswith(f"warning: good: already there, made by {model}, not by {other}; ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("predict MODEL -o out", "no scan is given"),
        ("predict MODEL absent.nii.gz -o out", "absent.nii.gz: no such file or folder"),
        ("predict absent SCAN -o out", "absent: no such file or folder; name models"),
        ("predict RUN SCAN -o out", "a training run without a model yet"),
        ("predict MODEL RUN -o out", "a training run without a model yet"),
        ("predict MODEL SCAN MODEL -o out", "a model after "),
        ("predict MODEL TWO -o out", "channels: 2, but the model takes 1 (CT)"),
        ("predict MODEL TWO -o out.nii.gz", "channels: 2, but the model takes 1 (CT)"),
        ("predict MODEL SCAN -o SCAN", "is the scan itself"),
        ("predict MODEL SCAN -o RUN", "holds a training run and its record; give another folder"),
        ("predict MODEL SCAN -o out --shard 3/2", "I/N"),
        ("predict MODEL SCAN -o out --attention 13", "not within 1..12"),
        ("predict MODEL SCAN -o out --overlap 1", "overlap 1.0 is not within [0, 1)"),
        ("predict MODEL SCAN -o out --max-memory 0", "give GB above 0"),
        ("predict MODEL SCAN -o out --max-memory 0.001", "; give --max-memory "),
        ("predict MODEL SCAN -o out --device nonsense", "device 'nonsense' is not available"),
        ("predict absent.safetensors SCAN -o out", "cannot be read"),
        ("export SCAN -o out --format onnx", "not a unetr model"),
        ("info NOTES", "not a unetr model"),
    ],
)
def test_wrong_calls_are_one_line_and_exit_2(
    tmp_path, model, scan, unetr, monkeypatch, words, said
):
    two = tmp_path / "two.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((8, 8, 8, 2), np.float32), np.eye(4)), two)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.toml").touch()
    (tmp_path / "notes.txt").write_text("not a header, but long enough for one")
    places = {"MODEL": model, "SCAN": scan, "TWO": two, "RUN": tmp_path / "run",
              "NOTES": tmp_path / "notes.txt"}  # fmt: skip
    monkeypatch.chdir(tmp_path)
    engine = ["--engine", "torch"] if words.startswith("predict") else []
    code, out, err = unetr("--quiet", *(places.get(one, one) for one in words.split()), *engine)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("out")]


def test_info_says_what_it_is(model, unetr):
    code, out, err = unetr("info", model)
    assert code == 0, err
    for part in ("200 liver, 500 spleen", "CT", "liver 0.9123", "-175 to 250", "32 x 32 x 32"):
        assert part in out
    assert "UNETR: 12 blocks of width 16 with 2 heads" in out
    content = json.loads(unetr("info", model, "--json")[1])
    assert content["plan"]["labels"][1] == {"id": 200, "name": "liver"}


def test_the_card_is_markdown_named_after_its_run(model, unetr):
    code, out, err = unetr("info", model.parent, "--card")
    assert code == 0, err
    lines = out.splitlines()
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


def test_attention_and_maps_are_written(tmp_path, model, scan, unetr):
    """Also where they are asked for later than the labels."""
    code, _, err = unetr("predict", model, scan, "-o", tmp_path, "--engine", "torch")
    assert code == 0, err
    code, _, err = unetr("predict", model, scan, "-o", tmp_path, "--engine", "torch",
                         "--attention", 3, "--uncertainty", "--probabilities")  # fmt: skip
    assert code == 0, err
    affine = nib.load(scan).affine
    for kind, dims in (("attention", 3), ("uncertainty", 3), ("probabilities", 4)):
        image = nib.load(tmp_path / kind / "scan.nii.gz")
        assert image.ndim == dims
        assert np.allclose(image.affine, affine)
        assert np.isfinite(np.asarray(image.dataobj)).all()
    # Each window's rollout is 1 on average; laid on the scan it stays near that.
    attention = np.asarray(nib.load(tmp_path / "attention" / "scan.nii.gz").dataobj)
    assert 0.8 < attention[attention > 0].mean() < 1.2
