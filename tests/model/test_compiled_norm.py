"""The compiled kernels compute what the pieces compute."""

import pytest
import torch

from unetr.model import compiled_norm
from unetr.model.compiled_norm import CompiledActivated, has_compiler
from unetr.model.instance_norm import activated
from unetr.model.residual_block import ResidualBlock

needs_compiler = pytest.mark.skipif(not has_compiler(), reason="no C++ compiler")
SHAPE = (2, 5, 7, 6, 4)


def results(function, kind, dtype):
    """Output and gradients, in float64."""
    torch.manual_seed(0)
    x, other, grad = (3 * torch.randn(SHAPE, dtype=torch.float64).to(dtype) + 1 for _ in range(3))
    x.requires_grad_()
    if kind == "alone":
        y = function(x, None, False)
    else:
        other.requires_grad_()
        y = function(x, other, kind == "both")
    y.backward(grad)
    found = [y, x.grad] if kind == "alone" else [y, x.grad, other.grad]
    return [each.double() for each in found]


@needs_compiler
@pytest.mark.parametrize("kind", ["alone", "plain", "both"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_values_and_gradients(kind, dtype):
    compiled = results(CompiledActivated.apply, kind, dtype)
    pieces = results(activated, kind, dtype)
    tolerance = 1e-9 if dtype == torch.float64 else 2e-2
    for one, other in zip(compiled, pieces, strict=True):
        assert (one - other).norm() <= tolerance * other.norm()


@needs_compiler
def test_only_large_patches_in_training_and_where_it_is_asked_for(monkeypatch):
    calls = []
    apply = CompiledActivated.apply
    monkeypatch.setattr(CompiledActivated, "apply", lambda *a: calls.append(a) or apply(*a))
    block, x = ResidualBlock(5, 5), torch.randn(SHAPE)
    block(x)
    block.compiled = True
    block(x)
    assert not calls
    monkeypatch.setattr(compiled_norm, "_LEAST", 100)
    expected = block.eval()(x)
    assert not calls
    torch.testing.assert_close(block.train()(x), expected, rtol=1e-4, atol=1e-5)
    assert len(calls) == 2


def test_without_a_compiler_there_are_pieces(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(compiled_norm.shutil, "which", lambda _: None)
        assert not has_compiler.__wrapped__()
    with monkeypatch.context() as patch:  # one that does not work, or is switched off
        patch.setattr(torch, "compile", lambda function: lambda _: 1 / 0)
        assert not has_compiler.__wrapped__()
        patch.setattr(torch, "compile", lambda function: function)
        assert not has_compiler.__wrapped__()


def test_where_compilation_fails_there_are_pieces(monkeypatch):
    def failing(_):
        raise OSError("no space left on the device")

    monkeypatch.setattr(compiled_norm, "_LEAST", 100)
    monkeypatch.setattr(compiled_norm, "has_compiler", lambda: True)
    monkeypatch.setattr(compiled_norm, "_kernel", failing)
    monkeypatch.setattr(CompiledActivated, "apply", lambda *_: pytest.fail("compiled"))
    x = torch.randn(1, 5, 6, 7, 8)
    torch.testing.assert_close(activated(x, compiled=True), activated(x))


@needs_compiler
@pytest.mark.parametrize("kind", ["alone", "plain", "both"])
def test_what_was_compiled_before_is_not_compiled_again(kind, monkeypatch):
    """In the step, where a failure would end the run."""
    monkeypatch.setattr(compiled_norm, "_LEAST", 100)
    shape = torch.Size((1, 3, 4, 5, 6))
    x, other, grad = (torch.randn(shape) for _ in range(3))
    other = None if kind == "alone" else other.requires_grad_()
    assert compiled_norm.has_kernels(x, other, kind == "both")
    with torch.compiler.set_stance("fail_on_recompile"):
        activated(x.requires_grad_(), other, kind == "both", compiled=True).backward(grad)


@needs_compiler
def test_at_full_size_in_float32():
    """Where the kernels run in parallel and sum very many numbers."""
    torch.manual_seed(0)
    x = (3 * torch.randn(1, 16, 64, 64, 64) + 1).requires_grad_()
    grad = torch.randn_like(x)
    found = []
    for compiled in (False, True):
        y = activated(x, compiled=compiled)
        found.append((y.detach(), *torch.autograd.grad(y, x, grad)))
    for pieces, kernel in zip(*found, strict=True):
        assert (pieces - kernel).norm() <= 1e-5 * pieces.norm()
