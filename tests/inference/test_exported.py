"""A folder stands for the one model file in it."""

from pathlib import Path

import pytest

from unetr.checkpoint import Model, header, save_model
from unetr.checkpoint.networks import build_network
from unetr.cli.predict import split
from unetr.errors import InputError
from unetr.inference.exported import load_any


def test_a_folder_with_both_exports_asks_for_one_of_them(tmp_path):
    for name in ("model.onnx", "model.xml"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError) as caught:
        load_any(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: holds both model.onnx and model.xml; name the one to use, such as "
        f"{tmp_path / 'model.onnx'}"
    )


def test_a_folder_without_a_model_says_what_would_be_one(tmp_path):
    with pytest.raises(InputError, match=r"a folder without model\.safetensors, model\.onnx or"):
        load_any(tmp_path)


def test_a_folder_of_scans_does_not_hide_the_shipped_model_of_its_name(
    tmp_path, octants, monkeypatch
):
    config = {"spatial_dims": 3, "init_filters": 8, "in_channels": 1, "out_channels": 9}
    network = build_network("segresnet", config)
    shipped = tmp_path / "shipped" / "knee.safetensors"
    save_model(shipped, Model(network, octants.plan, name="segresnet", config=config))
    monkeypatch.setattr(header, "_SHIPPED", shipped.parent)
    monkeypatch.chdir(tmp_path)
    Path("knee").mkdir()
    assert load_any("knee").source == str(shipped)
    # As the first word it is the model, behind that the scans.
    assert split([Path("knee"), Path("knee")]) == ([Path("knee")], [Path("knee")])
    Path("knee/model.onnx").write_bytes(b"")
    with pytest.raises(InputError, match=r"knee/model\.onnx: no unetr plan inside"):
        load_any("knee")
