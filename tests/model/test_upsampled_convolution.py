"""Two layers as one: against the layers themselves, in float64."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from unetr.model import UNETR, skip_encoder, unetr_decoder
from unetr.model.residual_block import ResidualBlock
from unetr.model.skip_encoder import SkipEncoder, deconvolution
from unetr.model.unetr_decoder import DecoderStep
from unetr.model.upsampled_convolution import one_is_cheaper
from unetr.model.upsampled_convolution import upsampled_convolution as composed


@pytest.mark.parametrize("factor", [(2, 2, 2), (2, 2, 1), (4, 2, 2), (1, 1, 1), (3, 2, 2)])
@pytest.mark.parametrize("side", [1, 3])
def test_output_and_gradients_are_those_of_the_layers(factor, side):
    torch.manual_seed(0)
    upsample = deconvolution(6, 4, factor).double()
    kernel = torch.randn(5, 4, side, side, side, dtype=torch.float64, requires_grad=True)
    coarse = torch.randn(2, 6, 3, 4, 2, dtype=torch.float64, requires_grad=True)
    found = composed(coarse, upsample, kernel)
    true = F.conv3d(upsample(coarse), kernel, padding=side // 2)
    assert torch.allclose(found, true, atol=1e-12)
    seed = torch.randn_like(true)
    of = (coarse, kernel, upsample.weight)
    pairs = zip(
        torch.autograd.grad(found, of, seed), torch.autograd.grad(true, of, seed), strict=True
    )
    for own, layers in pairs:
        assert torch.allclose(own, layers, atol=1e-11)


@pytest.mark.parametrize(
    ("module", "inputs"),
    [
        (DecoderStep(16, 8, (2, 2, 2), joins=True), ((2, 16, 8, 8, 8), (2, 8, 16, 16, 16))),
        (DecoderStep(16, 8, (2, 2, 1), joins=True), ((2, 16, 16, 16, 8), (2, 8, 32, 32, 8))),
        (SkipEncoder(24, 8, [(2, 2, 2)] * 3, True), ((1, 24, 4, 4, 4),)),
    ],
)
def test_the_network_takes_it_where_it_pays(module: nn.Module, inputs: Any, monkeypatch) -> None:
    """And computes the same there."""
    module = module.double()
    x = [torch.randn(shape, dtype=torch.float64) for shape in inputs]
    taken = []

    def counted(*given: Any) -> torch.Tensor:
        taken.append(given)
        return composed(*given)

    for room in ("unetr_decoder", "skip_encoder"):
        monkeypatch.setattr(f"unetr.model.{room}.upsampled_convolution", counted)
    found = module(*x)
    assert taken
    for room in ("unetr_decoder", "skip_encoder"):
        monkeypatch.setattr(f"unetr.model.{room}.one_is_cheaper", lambda *_: False)
    count = len(taken)
    assert torch.allclose(found, module(*x), atol=1e-12)
    assert len(taken) == count


def test_it_does_not_pay_where_the_coarse_features_are_many_or_the_grid_is_small():
    kernel = ResidualBlock(32, 16).conv1.weight
    assert one_is_cheaper(torch.empty(1, 32, 48, 48, 48), deconvolution(32, 16, (2, 2, 2)), kernel)
    assert not one_is_cheaper(
        torch.empty(1, 768, 48, 48, 48), deconvolution(768, 16, (2, 2, 2)), kernel
    )
    for batch in (1, 1000):
        assert not one_is_cheaper(
            torch.empty(batch, 32, 1, 1, 1), deconvolution(32, 16, (2, 2, 2)), kernel
        )
    elsewhere = torch.empty(1, 32, 48, 48, 48, device="meta")
    assert not one_is_cheaper(elsewhere, deconvolution(32, 16, (2, 2, 2)), kernel)


def test_an_exported_network_shows_its_layers(monkeypatch):
    def refused(*_: Any) -> None:
        raise AssertionError("composed while traced")

    for room in (unetr_decoder, skip_encoder):
        monkeypatch.setattr(room, "upsampled_convolution", refused)
    sizes = {"hidden_size": 24, "mlp_dim": 48, "num_heads": 2, "feature_size": 8, "num_layers": 4}
    network = UNETR(1, 3, 64, 16, skip_layers=(1, 2, 3), **sizes).eval()
    torch.export.export(network, (torch.zeros(1, 1, 64, 64, 64),))
    with pytest.raises(AssertionError, match="composed"):
        network(torch.zeros(1, 1, 64, 64, 64))
