"""The model file: what goes in comes out, and every wrong file gets one line with a cure."""

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from unetr.checkpoint import Model, build_network, load_model, save_model
from unetr.checkpoint import header as header_module
from unetr.checkpoint.header import METADATA_KEY, model_file, read_header
from unetr.data.plan import Label, Normalisation, Plan
from unetr.errors import InputError

SEGRESNET = {"spatial_dims": 3, "init_filters": 8, "in_channels": 1, "out_channels": 3}


def plan() -> Plan:
    return Plan(
        channels=("T1",),
        labels=(Label(id=0, name="background"), Label(id=2, name="a"), Label(id=7, name="b")),
        spacing_mm=(1.5, 1.5, 2.0),
        patch_voxels=(16, 16, 16),
        normalisation=(Normalisation(kind="range", low=-175.0, high=250.0),),
        mirror_axes=(0, 2),
    )


@pytest.fixture
def model() -> Model:
    torch.manual_seed(1)
    network = build_network("segresnet", SEGRESNET).eval()
    provenance = {"seed": 3, "scores": {"a": 0.9}}
    return Model(network, plan(), provenance, name="segresnet", config=SEGRESNET)


def test_what_is_saved_is_loaded(tmp_path, model):
    save_model(tmp_path / "model.safetensors", model)
    for path in (tmp_path, tmp_path / "model.safetensors"):
        loaded = load_model(path)
        assert (loaded.plan, loaded.provenance) == (model.plan, model.provenance)
        assert (loaded.name, loaded.config) == ("segresnet", SEGRESNET)
        assert not loaded.network.training
        x = torch.randn(1, 1, 16, 16, 16)
        assert torch.equal(loaded.network(x), model.network(x))


def test_a_name_stands_for_a_model_here_before_the_one_that_is_shipped(
    tmp_path, model, monkeypatch
):
    shipped = tmp_path / "shipped" / "knee.safetensors"
    save_model(shipped, model)
    monkeypatch.setattr(header_module, "_SHIPPED", shipped.parent)
    monkeypatch.chdir(tmp_path)
    assert model_file("knee") == shipped
    assert model_file("elbow") == Path("elbow")
    # A folder of scans for it hides it not; a run folder does.
    Path("knee").mkdir()
    assert model_file("knee") == shipped
    assert load_model("knee").source == str(shipped)
    save_model("knee/model.safetensors", model)
    assert model_file("knee") == Path("knee/model.safetensors")
    Path("elbow").mkdir()
    assert model_file("elbow") == Path("elbow/model.safetensors")


def test_parts_under_two_names_are_kept_once_and_loaded_for_both(tmp_path):
    config = {
        "spatial_dims": 3, "in_channels": 1, "out_channels": 3, "filters": [4, 8, 8],
        "kernel_size": [3, 3, 3], "strides": [1, 2, 2], "upsample_kernel_size": [2, 2],
    }  # fmt: skip
    torch.manual_seed(1)
    network = build_network("dynunet", config).eval()
    save_model(tmp_path / "m.safetensors", Model(network, plan(), name="dynunet", config=config))
    loaded = load_model(tmp_path / "m.safetensors").network
    x = torch.randn(1, 1, 16, 16, 16)
    assert torch.equal(loaded(x), network(x))
    unique = sum(parameter.numel() for parameter in network.parameters())
    assert sum(parameter.numel() for parameter in loaded.parameters()) == unique
    assert (tmp_path / "m.safetensors").stat().st_size < 4 * unique * 1.5


def test_loaded_weights_can_be_trained_and_the_file_replaced(tmp_path, model):
    save_model(tmp_path / "m.safetensors", model)
    loaded = load_model(tmp_path / "m.safetensors")
    loaded.network(torch.randn(1, 1, 16, 16, 16)).sum().backward()
    with torch.no_grad():
        for parameter in loaded.network.parameters():
            parameter.add_(1.0)
    save_model(tmp_path / "m.safetensors", loaded)
    again = load_model(tmp_path / "m.safetensors")
    for key, value in loaded.network.state_dict().items():
        assert torch.equal(again.network.state_dict()[key], value)


def test_a_header_of_any_length_is_read(tmp_path, model):
    """The file begins with its header's length, which may look like a pickle's first byte."""
    first = set()
    for extra in range(0, 256, 8):
        model.provenance["note"] = "x" * extra
        save_model(tmp_path / "m.safetensors", model)
        first.add((tmp_path / "m.safetensors").read_bytes()[0])
        assert read_header(tmp_path / "m.safetensors").provenance == model.provenance
    assert 0x80 in first


def test_header_is_read_without_torch(tmp_path, model):
    save_model(tmp_path / "m.safetensors", model)
    code = (
        "import sys; from unetr.checkpoint.header import read_header;"
        f"print(read_header({str(tmp_path / 'm.safetensors')!r}).plan.labels[2].id);"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "7\n"), done.stderr


def test_truncated_file(tmp_path, model):
    path = tmp_path / "m.safetensors"
    save_model(path, model)
    whole = path.read_bytes()
    for length in (4, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"truncated|not a unetr model file"):
            load_model(path)


def test_foreign_files(tmp_path):
    torch.save({"a": torch.zeros(2)}, tmp_path / "a.pt")
    (tmp_path / "text.safetensors").write_text("this is a note to myself, not a model\n")
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    expected = {
        "a.pt": "import-monai",
        "text.safetensors": "not a unetr model file",
        "other.safetensors": "without a unetr header",
        "absent.safetensors": "cannot be read",
    }
    for name, message in expected.items():
        with pytest.raises(InputError, match=message) as error:
            load_model(tmp_path / name)
        assert name in str(error.value)
        assert "\n" not in str(error.value)


def rewritten(path, change):
    """The model file with its header changed by `change`."""
    raw = path.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    table = json.loads(raw[8 : 8 + length])
    header = json.loads(table["__metadata__"][METADATA_KEY])
    change(header)
    table["__metadata__"][METADATA_KEY] = json.dumps(header)
    text = json.dumps(table).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :])


def test_unknown_version_and_broken_headers(tmp_path, model):
    changes = {
        "version 99 is not known": lambda h: h.update(version=99),
        "header field plan.patches": lambda h: h["plan"].update(patches=3),
        "header field network": lambda h: h.pop("network"),
        "network 'resnet' is not known": lambda h: h["network"].update(name="resnet"),
        "configuration does not fit": lambda h: h["network"]["config"].update(depth=3),
        "weights do not fit": lambda h: h["network"]["config"].update(init_filters=16),
        "out_channels: 4, but the plan is for 3": lambda h: h["network"]["config"].update(
            out_channels=4
        ),
        "in_channels: 1, but the plan is for 2": lambda h: h["plan"].update(
            channels=["T1", "T2"], normalisation=2 * h["plan"]["normalisation"]
        ),
        "plan.mirror_axes.0: Input should be less": lambda h: h["plan"].update(mirror_axes=[5]),
        r"plan: Value error, mirror_axes repeat: \[1, 1\]": lambda h: h["plan"].update(
            mirror_axes=[1, 1]
        ),
        "plan.patch_voxels.1: Input should be greater": lambda h: h["plan"].update(
            patch_voxels=[16, 0, 16]
        ),
        "plan.token_voxels.2: Input should be greater": lambda h: h["plan"].update(
            token_voxels=[16, 16, -1]
        ),
    }
    for message, change in changes.items():
        path = tmp_path / "m.safetensors"
        save_model(path, model)
        rewritten(path, change)
        with pytest.raises(InputError, match=message) as error:
            load_model(path)
        assert "\n" not in str(error.value)


def test_unwritable_folder(tmp_path, model):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        save_model(tmp_path / "file" / "m.safetensors", model)


def test_header_is_what_was_saved(tmp_path, model):
    save_model(tmp_path / "m.safetensors", model)
    assert read_header(tmp_path / "m.safetensors") == model.header
