"""Normalisation and activation in one kernel for each direction, compiled by torch where it can.

What `instance_norm` does piece by piece in torch's operations is here left to TorchInductor, which
writes C++ that goes over memory once for the moments and once for the rest, and computes in
registers in between. It needs a C++ compiler and some seconds per kernel the first time, so it is
for large patches and for many steps.

Arrays are (b, voxels, c), as they lie in memory with channels last. Each function is compiled apart
for each shape; names as in `instance_norm`.
"""

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, no_type_check

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from unetr.model.accumulation import accumulation_dtype

SLOPE = 0.01
EPSILON = 1e-5
# Of fewer numbers the kernels are hardly faster than the pieces, which need no compiler.
_LEAST = 2**20

_log = logging.getLogger(__name__)
_Formula = Callable[..., tuple[Tensor, ...]]


def has_kernels(x: Tensor, other: Tensor | None, normalise_other: bool) -> bool:
    """Compiles kernels for arrays of this size, where they are worth it; whether they are there."""
    # Of one sample, so that processes which share a batch compute as one process does.
    if x.shape[1:].numel() < _LEAST or not has_compiler():
        return False
    return _compile(_formula(other, normalise_other), x.shape, x.dtype)


@cache
def has_compiler() -> bool:
    """Whether there is a C++ compiler that torch can work with."""
    if not any(map(shutil.which, (os.environ.get("CXX", "g++"), "g++", "clang++"))):
        return False
    try:
        with _compiling():
            return bool(torch.compile(_doubled)(torch.ones(4)).sum() == 8)
    except Exception as error:
        _log.info("without compiled kernels: %s: %s", type(error).__name__, error)
        return False


@no_type_check
def _doubled(x: Tensor) -> Tensor:
    """Doubled by what is compiled; switched off, torch.compile would return x without a word."""
    return 2 * x if torch.compiler.is_compiling() else x


@cache
def _compile(formula: _Formula, shape: torch.Size, dtype: torch.dtype) -> bool:
    """Compiles formula and derivative before they are needed; False where that fails, as on a full
    disk, and the pieces have to do."""
    # Different arrays: kernels compiled for one array given twice are for just that.
    blank = torch.zeros(3, shape[0], shape[2:].numel(), shape[1], dtype=dtype)
    grad, *arrays = (each.clone() for each in blank[: 2 if formula is _alone else 3])
    try:
        with _compiling(), torch.no_grad():
            out, *moments = _kernel(formula)(*arrays)
            _kernel(_DERIVATIVES[formula])(grad, out, *arrays[1:], *moments)
    except Exception as error:
        _log.warning("without compiled kernels: %s: %s", type(error).__name__, error)
        return False
    return True


@contextmanager
def _compiling() -> Iterator[None]:
    """In this process, without workers that wait for more to compile; for any number of shapes."""
    alone = torch._inductor.config.patch(compile_threads=1)
    with alone, torch._dynamo.config.patch(recompile_limit=1000):
        yield


class CompiledActivated(torch.autograd.Function):
    """As `instance_norm`'s own function, which says how: two derivatives of the same formula."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, other: Tensor | None, normalise_other: bool) -> Tensor:
        arrays = [
            _rows(each.detach().contiguous(memory_format=torch.channels_last_3d))
            for each in (x, other)
            if each is not None
        ]
        ctx.formula = _formula(other, normalise_other)
        out, *moments = _kernel(ctx.formula)(*arrays)
        # As in `instance_norm`: x where both were normalised, else the other.
        kept = arrays[:1] if normalise_other else arrays[1:]
        ctx.save_for_backward(out, *kept, *moments)
        return _grid(out, x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        like = grad.contiguous(memory_format=torch.channels_last_3d)
        found = _kernel(_DERIVATIVES[ctx.formula])(_rows(like), *ctx.saved_tensors)
        of_x, of_other = [_grid(each, like) for each in found] + [None] * (2 - len(found))
        return of_x, of_other, None


@cache
def _kernel(function: _Formula) -> _Formula:
    compiled = torch.compile(function, dynamic=False)

    def called(*arrays: Tensor) -> tuple[Tensor, ...]:
        with torch.autocast("cpu", enabled=False):
            found: tuple[Tensor, ...] = compiled(*arrays)
        return found

    return called


def _formula(other: Tensor | None, normalise_other: bool) -> _Formula:
    formula: _Formula = _alone if other is None else _both if normalise_other else _plain
    return formula


def _rows(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 4, 1).view(len(x), -1, x.shape[1])


def _grid(rows: Tensor, like: Tensor) -> Tensor:
    b, c, *grid = like.shape
    return rows.view(b, *grid, c).permute(0, 4, 1, 2, 3)


# torch reads these functions, and cannot read through checks of types at run time.


@no_type_check
def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """(b, 1, c): scale and shift that normalise the channels."""
    mean = x.mean(1, keepdim=True)
    centred = x - mean
    scale = ((centred * centred).mean(1, keepdim=True) + EPSILON).rsqrt()
    return scale, -mean * scale


@no_type_check
def _alone(x: Tensor) -> tuple[Tensor, ...]:
    values = x.to(accumulation_dtype(x))
    scale, shift = _moments(values)
    return F.leaky_relu(values * scale + shift, SLOPE).to(x.dtype), scale


@no_type_check
def _plain(x: Tensor, other: Tensor) -> tuple[Tensor, ...]:
    values = x.to(accumulation_dtype(x))
    scale, shift = _moments(values)
    h = values * scale + shift + other
    return F.leaky_relu(h, SLOPE).to(x.dtype), scale


@no_type_check
def _both(x: Tensor, other: Tensor) -> tuple[Tensor, ...]:
    values, others = x.to(accumulation_dtype(x)), other.to(accumulation_dtype(x))
    (scale, shift), (other_scale, other_shift) = _moments(values), _moments(others)
    h = values * scale + shift + (others * other_scale + other_shift)
    return F.leaky_relu(h, SLOPE).to(x.dtype), scale, shift, other_scale


@no_type_check
def _taken_back(grad: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
    """m and h."""
    y, g = out.to(accumulation_dtype(out)), grad.to(accumulation_dtype(out))
    return torch.where(y > 0, g, g * SLOPE), torch.where(y > 0, y, y / SLOPE)


@no_type_check
def _through_norm(m: Tensor, n: Tensor, scale: Tensor) -> Tensor:
    return scale * (m - m.mean(1, keepdim=True) - n * (m * n).mean(1, keepdim=True))


@no_type_check
def _alone_back(grad: Tensor, out: Tensor, scale: Tensor) -> tuple[Tensor, ...]:
    m, h = _taken_back(grad, out)
    return (_through_norm(m, h, scale).to(grad.dtype),)


@no_type_check
def _plain_back(grad: Tensor, out: Tensor, other: Tensor, scale: Tensor) -> tuple[Tensor, ...]:
    m, h = _taken_back(grad, out)
    return _through_norm(m, h - other, scale).to(grad.dtype), m.to(grad.dtype)


@no_type_check
def _both_back(
    grad: Tensor, out: Tensor, x: Tensor, scale: Tensor, shift: Tensor, other_scale: Tensor
) -> tuple[Tensor, ...]:
    m, h = _taken_back(grad, out)
    n = x * scale + shift
    of_x, of_other = _through_norm(m, n, scale), _through_norm(m, h - n, other_scale)
    return of_x.to(grad.dtype), of_other.to(grad.dtype)


_DERIVATIVES = {_alone: _alone_back, _plain: _plain_back, _both: _both_back}
