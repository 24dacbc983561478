"""Converted networks are kept, each as long as it is of use."""

from pathlib import Path

import pytest
import torch

from unetr.checkpoint.model import Model
from unetr.errors import InputError
from unetr.inference import convert
from unetr.inference.engines import make_engine

from .small_model import model_of


@pytest.fixture
def model() -> Model:
    return model_of()


def test_conversion_is_cached_and_follows_the_weights(model, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = convert.converted_openvino(model)
    with monkeypatch.context() as patch:
        patch.setattr(convert, "to_openvino", lambda _: pytest.fail("converted twice"))
        assert convert.converted_openvino(model) == first
    with torch.no_grad():
        model.network.layers[0].bias.add_(1.0)
    assert convert.converted_openvino(model) != first


def test_members_of_an_ensemble_do_not_drop_each_other(model, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(convert, "_KEPT", 1)
    monkeypatch.setattr(convert, "_used", set())
    first = convert.converted_openvino(model)
    with torch.no_grad():
        model.network.layers[0].bias.add_(1.0)
    second = convert.converted_openvino(model)
    assert first.exists()
    # Another process keeps what it uses itself.
    monkeypatch.setattr(convert, "_used", set())
    with torch.no_grad():
        model.network.layers[0].bias.add_(1.0)
    third = convert.converted_openvino(model)
    assert [path.exists() for path in (first, second, third)] == [False, False, True]


def test_without_a_cache_the_fastest_engine_is_torch(model, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match=r"cannot be written to.*torch computes, which is slower"):
        assert make_engine(model, device="cpu").name == "torch"
    with pytest.raises(InputError, match=r"cannot be written to.*or use --engine torch"):
        make_engine(model, "openvino", device="cpu")
    monkeypatch.delenv("XDG_CACHE_HOME")

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    with pytest.warns(UserWarning, match="there is no home folder for a cache"):
        assert make_engine(model, device="cpu").name == "torch"
