"""A network as the loop runs it."""

import copy

import pytest
import torch

from unetr import UNETR
from unetr.model import compiled_norm
from unetr.model.compiled_norm import CompiledActivated, has_compiler
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


@pytest.mark.skipif(not has_compiler(), reason="no C++ compiler")
def test_compiled_parts_compute_the_same(monkeypatch):
    calls = []
    apply = CompiledActivated.apply
    monkeypatch.setattr(CompiledActivated, "apply", lambda *a: calls.append(a) or apply(*a))
    monkeypatch.setattr(compiled_norm, "_LEAST", 2**12)
    torch.manual_seed(0)
    network = UNETR(1, 3, 16, 8, 4, 24, 48, 2, 4, (1, 2, 3), stem=True)
    x = torch.randn(2, 1, 16, 16, 16)
    results = []
    for compiled in (False, True):
        ready = prepare(copy.deepcopy(network), compiled=compiled)
        y = ready(x)
        y.square().mean().backward()
        results.append((y, [parameter.grad for parameter in ready.parameters()]))
        assert bool(calls) == compiled
    torch.testing.assert_close(results[0], results[1], atol=1e-5, rtol=1e-4)
