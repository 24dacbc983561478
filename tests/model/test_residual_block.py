"""The building block: its shortcut from one channel computes what the convolution would."""

import pytest
import torch
from torch import nn

from unetr.model.residual_block import ResidualBlock, pointwise


@pytest.mark.parametrize("channels", [1, 3])
def test_a_shortcut_is_its_convolution(channels):
    torch.manual_seed(0)
    convolution = nn.Conv3d(channels, 6, 1, bias=False).double()
    x = torch.randn(2, channels, 5, 4, 3, dtype=torch.float64, requires_grad=True)
    grad = torch.randn(2, 6, 5, 4, 3, dtype=torch.float64)
    found = []
    for y in (convolution(x), pointwise(convolution, x)):
        found.append((y, *torch.autograd.grad(y, (x, convolution.weight), grad)))
    torch.testing.assert_close(found[0], found[1])


def test_one_channel_is_not_convolved_on_a_processor(monkeypatch):
    block = ResidualBlock(1, 4)
    monkeypatch.setattr(block.shortcut, "forward", lambda _: pytest.fail("convolved"))
    assert block(torch.randn(1, 1, 4, 4, 4)).shape == (1, 4, 4, 4, 4)
