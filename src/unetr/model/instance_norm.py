"""Instance normalisation, and the activation behind it, in few passes over memory.

On processors a training step spends as long in moving activations as in convolutions, and torch's
normalisation wants each channel apart while the convolutions want a voxel's channels together.
Here normalisation, sum and LReLU are taken piece by piece, each piece small enough to stay in the
processor's cache, where the convolutions leave it. What the backward pass needs of the input is
recovered from the output (Rota Bulo et al., *In-Place Activated BatchNorm*, arXiv:1712.02616).
"""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from unetr.model.accumulation import accumulation_dtype
from unetr.model.compiled_norm import EPSILON, SLOPE, CompiledActivated, has_kernels
from unetr.model.tracing import is_traced

# Numbers that fit a core's cache with what is computed from them; columns that fill its registers.
_PIECE = 2**18
_COLUMNS = 64
_SOME_ROWS = 16


def instance_norm(x: Float[Tensor, "b c x y z"]) -> Float[Tensor, "b c x y z"]:
    """Each channel of each sample to mean 0 and variance 1, without parameters.

    torch.nn.InstanceNorm3d refuses a grid of one voxel; here that voxel becomes 0.
    """
    return torch.instance_norm(x, None, None, None, None, True, 0.0, EPSILON, False)


def activated(
    x: Float[Tensor, "b c x y z"],
    other: Float[Tensor, "b c x y z"] | None = None,
    normalise_other: bool = False,
    compiled: bool = False,
) -> Float[Tensor, "b c x y z"]:
    """LReLU(norm(x)), LReLU(norm(x) + other) or LReLU(norm(x) + norm(other)).

    Args:
        compiled: In kernels of their own where these pay, see `compiled_norm`.
    """
    if x.device.type == "cpu" and x.numel() and not is_traced():
        compiled = compiled and has_kernels(x, other, normalise_other)
        function = CompiledActivated if compiled else _Activated
        result: Tensor = function.apply(x, other, normalise_other)  # type: ignore[no-untyped-call]
        return result
    y = instance_norm(x)
    if other is not None:
        y += instance_norm(other) if normalise_other else other
    return F.leaky_relu_(y, SLOPE)


class _Activated(torch.autograd.Function):
    """`activated` with channels last.

    The output gives h back, the sum before the activation, and h what was normalised: n = h alone,
    n = h - other, or with both normalised one of them computed again and the other what is left.
    With m the gradient of h, that of x is (m - mean(m) - n mean(m n)) / deviation.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, other: Tensor | None, normalise_other: bool) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last_3d)
        if other is not None:
            other = other.contiguous(memory_format=torch.channels_last_3d)
        scale, shift = _scale_and_shift(x)
        scales, shifts = [scale], [shift]
        if other is not None and normalise_other:
            scale, shift = _scale_and_shift(other)
            scales.append(scale)
            shifts.append(shift)
        out = torch.empty_like(x)
        rows, into = _rows(x), _rows(out)
        other_rows = None if other is None else _rows(other)
        a, b = _spread(scales[0], x), _spread(torch.stack(shifts).sum(0), x)
        c = _spread(scales[1], x) if normalise_other else None
        for piece in _pieces(rows):
            h = torch.addcmul(b, rows[:, piece], a)
            if c is not None and other_rows is not None:
                h.addcmul_(other_rows[:, piece], c)
            elif other_rows is not None:
                h += other_rows[:, piece]
            into[:, piece] = F.leaky_relu_(h, SLOPE)
        # With both normalised x is computed again; else x is what the others leave of the output.
        ctx.save_for_backward(out, x if normalise_other else other)
        ctx.scales, ctx.shift = scales, shifts[0]
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        out, kept = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last_3d)
        scales: list[Tensor] = ctx.scales
        again = _spread(scales[0], out), _spread(ctx.shift, out)
        out_rows, grad_rows, kind = _rows(out), _rows(grad), accumulation_dtype(out)
        kept_rows = None if kept is None else _rows(kept)

        def taken_back(piece: slice) -> tuple[Tensor, list[Tensor]]:
            """The gradient of h, and what was normalised."""
            y = out_rows[:, piece]
            m = torch.ops.aten.leaky_relu_backward(grad_rows[:, piece], y, SLOPE, True).to(kind)
            h = F.leaky_relu(y.to(kind), 1 / SLOPE)
            if kept_rows is None:
                return m, [h]
            if len(scales) == 1:
                return m, [h.sub_(kept_rows[:, piece])]
            first = torch.addcmul(again[1], kept_rows[:, piece], again[0])
            return m, [first, h.sub_(first)]

        columns = out_rows.shape[2]
        total = out.new_zeros(len(out), columns, dtype=kind)
        products = [torch.zeros_like(total) for _ in scales]
        for piece in _pieces(out_rows):
            m, normalised = taken_back(piece)
            total += m.sum(1)
            for product, n in zip(products, normalised, strict=True):
                product += (m * n).sum(1)
        mean = _mean(total, out)
        factors = [
            tuple(_spread(factor, out) for factor in (r, -r * mean, -r * _mean(product, out)))
            for r, product in zip(scales, products, strict=True)
        ]
        results = [torch.empty_like(out) for _ in scales]
        plain = torch.empty_like(out) if kept is not None and len(scales) == 1 else None
        for piece in _pieces(out_rows):
            m, normalised = taken_back(piece)
            for result, n, (a, b, c) in zip(results, normalised, factors, strict=True):
                _rows(result)[:, piece] = torch.addcmul(b, m, a).addcmul_(n, c)
            if plain is not None:
                _rows(plain)[:, piece] = m
        return results[0], results[1] if len(results) == 2 else plain, None


def _scale_and_shift(x: Tensor) -> tuple[Tensor, Tensor]:
    """(b, c) each: norm(x) = scale * x + shift."""
    rows = _rows(x)
    sums = torch.zeros(2, len(x), rows.shape[2], dtype=accumulation_dtype(x))
    # Around a value that is there: else rounding drowns the variance of a channel far from zero.
    some = rows[:, :_SOME_ROWS].to(sums.dtype).mean(1)
    near = some.view(len(x), -1, x.shape[1]).mean(1)
    columns = _spread(near, x)
    for piece in _pieces(rows):
        values = rows[:, piece] - columns
        sums[0] += values.sum(1)
        sums[1] += values.square_().sum(1)
    mean, square = _mean(sums[0], x), _mean(sums[1], x)
    scale = (square - mean * mean).clamp_(min=0).add_(EPSILON).rsqrt_()
    return scale, -(near + mean) * scale


def _repeats(x: Tensor) -> int:
    """Voxels of a row: where their number allows so many that sums fill the registers."""
    return math.gcd(math.prod(x.shape[2:]), max(1, _COLUMNS // x.shape[1]))


def _rows(x: Tensor) -> Tensor:
    """(b, rows, columns): each row the channels of some voxels, as they lie in memory."""
    return x.permute(0, 2, 3, 4, 1).view(len(x), -1, _repeats(x) * x.shape[1])


def _pieces(rows: Tensor) -> list[slice]:
    """Of the rows."""
    height = max(1, _PIECE // (len(rows) * rows.shape[2]))
    return [slice(start, start + height) for start in range(0, rows.shape[1], height)]


def _mean(sums: Tensor, x: Tensor) -> Tensor:
    """(b, c) in float64, of sums over the rows of `x`."""
    voxels = math.prod(x.shape[2:])
    return sums.view(len(x), -1, x.shape[1]).sum(1, dtype=torch.float64) / voxels


def _spread(per_channel: Tensor, x: Tensor) -> Tensor:
    """(b, 1, columns), of one number per sample and channel."""
    return per_channel.to(accumulation_dtype(x)).repeat(1, _repeats(x))[:, None]
