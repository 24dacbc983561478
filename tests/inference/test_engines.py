"""Every engine computes what torch computes; a wrong choice is told in one line."""

import pytest
import torch
from torch import nn

from unetr.checkpoint.model import Model
from unetr.data.plan import Label, Normalisation, Plan, Region
from unetr.errors import InputError
from unetr.inference import convert, engines
from unetr.inference.engines import make_engine
from unetr.inference.ensemble import averaged, mirrorings


class Small(nn.Module):
    """Layers such as UNETR's: convolution, instance normalisation, transposed convolution."""

    config: dict[str, int] = {}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv3d(2, 8, 2, stride=2),
            nn.InstanceNorm3d(8),
            nn.LeakyReLU(0.01),
            nn.ConvTranspose3d(8, 3, 2, stride=2),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


@pytest.fixture
def model() -> Model:
    plan = Plan(
        channels=("a", "b"),
        labels=tuple(Label(id=i, name=str(i)) for i in range(3)),
        spacing_mm=(1, 1, 1),
        patch_voxels=(8, 8, 4),
        normalisation=(Normalisation(kind="zscore"),) * 2,
    )
    return Model(Small().eval(), plan)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.mark.parametrize("name", ["torch", "openvino", "onnx"])
@torch.no_grad()
def test_fp32_equals_torch(name, model):
    engine = make_engine(model, name, "fp32", "cpu")
    assert (engine.name, engine.precision) == (name, "fp32")
    for count in (1, 3):
        x = torch.randn(count, 2, 8, 8, 4)
        expected = model.network(x).softmax(1)
        torch.testing.assert_close(engine.forward(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["torch", "openvino", "onnx"])
@torch.no_grad()
def test_regions_are_scored_one_by_one(name, model):
    regions = tuple(Region(name=str(i), members=(i,), paint=i) for i in (1, 2, 2))
    model.plan = model.plan.model_copy(update={"regions": regions})
    x = torch.randn(1, 2, 8, 8, 4)
    found = make_engine(model, name, "fp32", "cpu").forward(x)
    torch.testing.assert_close(found, model.network(x).sigmoid(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["torch", "openvino"])
@torch.no_grad()
def test_bf16_is_close_and_is_not_fp32(name, model):
    engine = make_engine(model, name, "bf16", "cpu")
    assert engine.precision == "bf16"
    x = torch.randn(2, 2, 8, 8, 4)
    error = (engine.forward(x) - model.network(x).softmax(1)).abs().max()
    assert 1e-5 < error < 0.1


def test_auto_takes_the_fastest_installed(model, monkeypatch):
    assert make_engine(model, device="cpu").name == "openvino"
    monkeypatch.setattr(engines, "installed", lambda name: name != "openvino")
    assert make_engine(model, precision="fp32", device="cpu").name == "onnx"
    assert make_engine(model, device="cpu").name == "torch"
    with pytest.raises(InputError, match=r"pip install 'unetr\[openvino\]'"):
        make_engine(model, "openvino", device="cpu")


def test_impossible_choices(model):
    with pytest.raises(InputError, match="computes in fp32"):
        make_engine(model, "onnx", "bf16", "cpu")
    with pytest.raises(InputError, match=r"not available.*try cpu"):
        make_engine(model, device="cuda:7")


def test_conversion_is_cached_and_follows_the_weights(model, monkeypatch):
    first = convert.converted_openvino(model)
    with monkeypatch.context() as patch:
        patch.setattr(convert, "to_openvino", lambda _: pytest.fail("converted twice"))
        assert convert.converted_openvino(model) == first
    with torch.no_grad():
        model.network.layers[0].bias.add_(1.0)
    assert convert.converted_openvino(model) != first


def test_network_can_still_be_trained_after_conversion(model):
    make_engine(model, "openvino", device="cpu")
    model.network.train()
    model.network(torch.randn(1, 2, 8, 8, 4)).sum().backward()
    assert model.network.layers[0].weight.grad is not None


@pytest.mark.parametrize("name", ["torch", "openvino", "onnx"])
def test_mirrorings_may_not_overwrite_each_other(name, model):
    forward = make_engine(model, name, "fp32", "cpu").forward
    x = torch.randn(1, 2, 8, 8, 4)
    mean = averaged([forward, forward], "softmax", mirrorings((0, 2)))(x)
    views = [forward(x.flip([a + 2 for a in axes])).clone() for axes in mirrorings((0, 2))]
    views = [
        v.flip([a + 2 for a in axes]) for v, axes in zip(views, mirrorings((0, 2)), strict=True)
    ]
    torch.testing.assert_close(mean, torch.stack(views).mean(0))
