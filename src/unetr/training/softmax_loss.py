"""The paper's loss over classes, with its gradient written out.

At full resolution the scores of all classes are the largest arrays of a step. Left to automatic
differentiation, which also needs the labels as masks, formula and derivative pass over memory many
times. Here both go through the voxels in pieces that stay in the processor's cache: one pass over
the logits for the value, one for the gradient.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from unetr.model.accumulation import accumulation_dtype
from unetr.training.recipe import Loss

# Numbers that fit the cache with what is computed from them.
_PIECE = 2**17


class SoftmaxDiceCE(torch.autograd.Function):
    """`unetr.training.losses.dice_ce` of logits (b, classes, ...) and classes (b, ...).

    Per patch and class, with p the softmax: c is the sum of p over the class's voxels, n their
    number, s the sum of p^2 (or p) over all voxels; Dice is (2 c + smooth) / (s + n + smooth).
    There is a first derivative only.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, loss: Loss) -> Tensor:
        common, count, size = torch.zeros(3, *logits.shape[:2], dtype=torch.float64)
        entropy = 0.0
        for patch, _, log_p, where in _pieces(logits, target):
            own = log_p.gather(0, where)[0]
            entropy -= float(own.sum(dtype=torch.float64)) / target.numel()
            p = log_p.exp_()
            common[patch].scatter_add_(0, where[0], own.double().exp_())
            count[patch] += torch.bincount(where[0], minlength=len(p))
            size[patch] += (p * p if loss.squared else p).sum(1)
        numerator = 2 * common + loss.smooth[0]
        denominator = size + count + loss.smooth[1]
        weights = torch.full_like(size, loss.dice_weight)
        if not loss.include_background:
            weights[:, 0] = 0
        weights /= weights.count_nonzero().clamp(min=1)
        value = loss.dice_weight - (weights * numerator / denominator).sum()
        ctx.save_for_backward(logits, target)
        ctx.loss = loss
        # Derivatives of the loss by c, and by s.
        ctx.by_common = -2 * weights / denominator
        ctx.by_size = weights * numerator / denominator**2
        total: Tensor = value + loss.ce_weight * entropy
        return total.to(accumulation_dtype(logits))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        logits, target = ctx.saved_tensors
        loss: Loss = ctx.loss
        kind, factor = accumulation_dtype(logits), float(grad)
        by_common, by_size = ((factor * one).to(kind) for one in (ctx.by_common, ctx.by_size))
        entropy = factor * loss.ce_weight / target.numel()
        # In a layout whose voxels lie in one line.
        last = logits.ndim == 5 and logits.is_contiguous(memory_format=torch.channels_last_3d)
        layout = torch.channels_last_3d if last else torch.contiguous_format
        gradient = torch.empty_like(logits, memory_format=layout)
        into = gradient.view(*gradient.shape[:2], -1)
        for patch, piece, log_p, where in _pieces(logits, target):
            p = log_p.exp_()
            every = by_size[patch][:, None]
            g = p * (2 * every) if loss.squared else every.expand_as(p).clone()
            g.scatter_add_(0, where, by_common[patch][where])
            # Through the softmax: p (g - sum of p g).
            g -= (g * p).sum(0)
            g *= p
            g.add_(p, alpha=entropy)
            g.scatter_add_(0, where, g.new_tensor(-entropy).expand_as(where))
            into[patch, :, piece] = g
        return gradient, None, None


def _pieces(logits: Tensor, target: Tensor) -> Iterator[tuple[int, slice, Tensor, Tensor]]:
    """Patch, voxels, log softmax (classes, n) of these, and their classes (1, n)."""
    flat, classes = logits.detach().flatten(2), target.flatten(1)
    length = max(1, _PIECE // logits.shape[1])
    for patch in range(len(logits)):
        for start in range(0, classes.shape[1], length):
            piece = slice(start, start + length)
            x = flat[patch, :, piece].to(accumulation_dtype(logits)).contiguous()
            yield patch, piece, x.log_softmax(0), classes[patch, piece].long()[None]
