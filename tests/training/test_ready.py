"""A network as the loop runs it."""

import copy

import torch

from unetr import UNETR
from unetr.training import prepare


def test_what_the_network_computes_stays():
    torch.manual_seed(0)
    network = UNETR(1, 3, 32, 8, 4, 24, 48, 2, 4, (1, 2, 3), stem=True)
    ready = prepare(copy.deepcopy(network))
    x = torch.randn(2, 1, 32, 24, 16)
    results = []
    for each in (network, ready):
        y = each(x)
        y.square().mean().backward()
        results.append((y, [parameter.grad for parameter in each.parameters()]))
    torch.testing.assert_close(results[0], results[1], atol=1e-5, rtol=1e-4)
    assert ready.decoder.steps[-1].convolutions.conv1.weight.is_contiguous(
        memory_format=torch.channels_last_3d
    )
