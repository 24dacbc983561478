"""The activation behind a normalisation, against torch's own operations in float64."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from unetr.model.instance_norm import activated, instance_norm


def expected(x: Tensor, other: Tensor | None, normalise_other: bool) -> Tensor:
    h = instance_norm(x)
    if other is not None:
        h = h + (instance_norm(other) if normalise_other else other)
    return F.leaky_relu(h, 0.01)


def error(found: Tensor | None, true: Tensor | None) -> float:
    assert found is not None
    assert true is not None
    return float(((found.double() - true).norm() / true.norm()).detach())


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize(
    ("joined", "normalise_other"), [(False, False), (True, False), (True, True)]
)
@pytest.mark.parametrize(
    ("shape", "dtype", "within"),
    [
        ((2, 8, 8, 12, 10), torch.float32, 1e-6),
        ((2, 5, 3, 7, 5), torch.float32, 1e-6),
        # Larger than what is taken at a time.
        ((1, 16, 48, 48, 32), torch.float32, 1e-6),
        ((2, 8, 8, 12, 10), torch.bfloat16, 4e-3),
    ],
)
def test_output_and_gradients(shape, dtype, within, joined, normalise_other, layout):
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(shape, generator=generator) for _ in range(3)]
    x = (3 * drawn[0] + 1).to(dtype, memory_format=layout).requires_grad_()
    other = drawn[1].to(dtype, memory_format=layout).requires_grad_() if joined else None
    grad = drawn[2].to(dtype)
    y = activated(x, other, normalise_other)
    y.backward(grad)
    x64 = x.detach().double().requires_grad_()
    other64 = None if other is None else other.detach().double().requires_grad_()
    true = expected(x64, other64, normalise_other)
    true.backward(grad.double())
    assert error(y, true) < within
    assert error(x.grad, x64.grad) < within
    if other is not None and other64 is not None:
        assert error(other.grad, other64.grad) < within


@pytest.mark.parametrize("normalise_other", [False, True])
def test_an_exported_network_computes_the_same(normalise_other):
    class Network(torch.nn.Module):
        def forward(self, x: Tensor, other: Tensor) -> Tensor:
            return activated(x, other, normalise_other)

    given = tuple(torch.randn(2, 2, 4, 6, 5, 3, generator=torch.Generator().manual_seed(0)))
    exported = torch.export.export(Network(), given)
    assert "instance_norm" in exported.graph_module.code
    torch.testing.assert_close(exported.module()(*given), activated(*given, normalise_other))


def test_a_channel_far_from_zero_keeps_its_variance():
    x = torch.randn(1, 8, 16, 16, 16, generator=torch.Generator().manual_seed(0)) + 300
    assert error(activated(x), expected(x.double(), None, False)) < 5e-5


def test_a_constant_channel_becomes_zero():
    y = activated(torch.full((1, 2, 1, 1, 1), 3.0))
    torch.testing.assert_close(y, torch.zeros_like(y), atol=1e-3, rtol=0)
