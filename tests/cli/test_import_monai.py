"""`unetr import-monai` as typed."""

from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch

from unetr.checkpoint import load_model
from unetr.model import UNETR, export_monai


def monai_checkpoint(path: Path, channels: tuple[int, int]) -> UNETR:
    """A small network that MONAI's class could be, and its weights in a file."""
    torch.manual_seed(0)
    network = UNETR(*channels, 32, feature_size=4, hidden_size=24, mlp_dim=32, num_heads=12,
                    skip_layers=(4, 7, 10)).eval()  # fmt: skip
    torch.save(export_monai(network), path)
    return network


@torch.no_grad()
def test_monai_checkpoint_is_imported(tmp_path, unetr):
    checkpoint, out = tmp_path / "monai.pt", tmp_path / "model.safetensors"
    network = monai_checkpoint(checkpoint, (1, 14))
    code, said, err = unetr("import-monai", checkpoint, "-o", out, "--recipe", "btcv-monai")
    assert (code, said.strip()) == (0, str(out)), err
    assert "its positions are of patches of 32 x 32 x 32 voxels, so it predicts such ones" in err
    loaded = load_model(out)
    assert loaded.plan.patch_voxels == (32, 32, 32)
    assert loaded.plan.labels[6].name == "liver"
    assert loaded.plan.spacing_mm == (1.5, 1.5, 2.0)
    x = torch.randn(1, 1, 32, 32, 32)
    torch.testing.assert_close(loaded.network(x), network(x))


@torch.no_grad()
def test_monai_brain_tumour_outputs_become_our_regions(tmp_path, unetr):
    """MONAI's are tumour core, whole tumour, enhancing; ours whole, core, enhancing."""
    checkpoint, out = tmp_path / "monai.pt", tmp_path / "model.safetensors"
    network = monai_checkpoint(checkpoint, (4, 3))
    code, _, err = unetr("import-monai", checkpoint, "-o", out, "--recipe", "msd-brain-tumour")
    assert code == 0, err
    loaded = load_model(out)
    assert [region.name for region in loaded.plan.regions] == [
        "whole tumour",
        "tumour core",
        "enhancing tumour",
    ]
    x = torch.randn(1, 4, 32, 32, 32)
    theirs = network(x)
    assert (theirs[:, 0] - theirs[:, 1]).abs().max() > 0.1
    torch.testing.assert_close(loaded.network(x), theirs[:, [1, 0, 2]])


def test_the_tutorials_third_output_is_the_decathlons_label_2(tmp_path, unetr):
    checkpoint, out = tmp_path / "monai.pt", tmp_path / "model.safetensors"
    monai_checkpoint(checkpoint, (4, 3))
    words = ("import-monai", checkpoint, "-o", out, "--recipe", "msd-brain-tumour-monai")
    code, _, err = unetr(*words)
    assert code == 0, err
    plan = load_model(out).plan
    assert plan.labels[2].name == plan.regions[2].name == "non-enhancing tumour"
    assert [region.paint for region in plan.regions] == [1, 3, 2]
    assert plan.spacing_mm == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ("msd-spleen", "1 -> 14 channels, but recipe msd-spleen has 1 -> 2"),
        ("heart", "--recipe heart: not a published task; known are btcv, btcv-monai"),
    ],
)
def test_another_recipe_than_the_checkpoints(tmp_path, unetr, recipe, said):
    monai_checkpoint(tmp_path / "monai.pt", (1, 14))
    out = tmp_path / "model.safetensors"
    code, _, err = unetr("import-monai", tmp_path / "monai.pt", "-o", out, "--recipe", recipe)
    assert (code, err.count("\n")) == (2, 1)
    assert said in err
    assert not out.exists()


def test_heads_are_as_told_and_a_list_is_no_checkpoint(tmp_path, unetr):
    checkpoint, out = tmp_path / "monai.pt", tmp_path / "model.safetensors"
    monai_checkpoint(checkpoint, (1, 14))
    words = ("import-monai", checkpoint, "-o", out, "--recipe", "btcv")
    assert unetr(*words, "--num-heads", 8)[0] == 0
    assert load_model(out).config["num_heads"] == 8
    torch.save([torch.zeros(2)], checkpoint)
    code, _, err = unetr(*words)
    assert (code, err.count("\n")) == (2, 1)
    assert f"{checkpoint}: no weights of a MONAI UNETR: it holds a list" in err


def test_a_pickle_that_is_more_than_tensors_is_refused(tmp_path, unetr):
    evil, out = tmp_path / "evil.pt", tmp_path / "model.safetensors"
    evil.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    code, _, err = unetr("import-monai", evil, "-o", out, "--recipe", "btcv")
    assert (code, err.count("\n")) == (2, 1)
    assert f"unetr: {evil}: not a checkpoint of plain tensors" in err
    assert not out.exists()


@pytest.mark.parametrize("module", ["numpy._core", "numpy.core"])
def test_what_monais_trainers_save_is_imported(tmp_path, unetr, module):
    """Beside the weights they keep their best score, a number of numpy, by its name then or now."""
    whole, checkpoint = tmp_path / "whole.pt", tmp_path / "model.pt"
    monai_checkpoint(checkpoint, (1, 14))
    state = torch.load(checkpoint, weights_only=True)
    torch.save({"epoch": 3, "best_acc": np.mean([0.5, 0.7]), "state_dict": state}, whole)
    with ZipFile(whole) as read, ZipFile(checkpoint, "w") as written:
        for name in read.namelist():
            content = read.read(name)
            if name.endswith("data.pkl"):
                assert b"numpy._core.multiarray" in content
                content = content.replace(b"numpy._core.", f"{module}.".encode())
            written.writestr(name, content)
    out = tmp_path / "model.safetensors"
    code, _, err = unetr("import-monai", checkpoint, "-o", out, "--recipe", "btcv-monai")
    assert code == 0, err
    assert len(load_model(out).provenance["sha256"]) == 64
