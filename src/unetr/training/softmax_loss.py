"""The paper's loss over classes, with its gradient written out.

At full resolution the scores of all classes are the largest arrays of a step. Taken together the
formula and its derivative pass over them a few times; left to automatic differentiation, which
also needs the labels as masks, many times.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from unetr.training.recipe import Loss


class SoftmaxDiceCE(torch.autograd.Function):
    """`unetr.training.losses.dice_ce` of logits (b, classes, ...) and classes (b, 1, ...).

    Per patch and class, with p the softmax: c is the sum of p over the class's voxels, n their
    number, s the sum of p^2 (or p) over all voxels; Dice is (2 c + smooth) / (s + n + smooth).
    There is a first derivative only.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, loss: Loss) -> Tensor:
        log_p = logits.contiguous().log_softmax(1)
        entropy = -log_p.gather(1, target).mean()
        p = log_p.exp_()
        common, count = _per_class(p, target)
        size = (p * p if loss.squared else p).flatten(2).sum(2)
        numerator = 2 * common + loss.smooth[0]
        denominator = size + count + loss.smooth[1]
        weights = torch.full_like(size, loss.dice_weight)
        if not loss.include_background:
            weights[:, 0] = 0
        weights /= weights.count_nonzero().clamp(min=1)
        value = loss.dice_weight - (weights * numerator / denominator).sum()
        if ctx.needs_input_grad[0]:
            own, every = -2 * weights / denominator, weights * numerator / denominator**2
            ctx.save_for_backward(_gradient(p, target, own, every, loss))
        return value + loss.ce_weight * entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return grad * gradient, None, None


def _per_class(p: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """(b, classes) each: the sum of p over the voxels of the class, and their number."""
    where = target.flatten(1)
    scores = p.gather(1, target).flatten(1).double()
    zeros = scores.new_zeros(p.shape[:2])
    common = zeros.scatter_add(1, where, scores)
    count = zeros.scatter_add(1, where, torch.ones_like(scores))
    return common.to(p.dtype), count.to(p.dtype)


def _gradient(p: Tensor, target: Tensor, own: Tensor, every: Tensor, loss: Loss) -> Tensor:
    """Of the loss by the logits.

    Args:
        own: (b, classes), of the loss by the sum of p over the class's voxels.
        every: (b, classes), of the loss by the sum of p^2 (or p) over all voxels.
    """
    spread = (..., *[None] * (p.ndim - 2))
    g = p * (2 * every)[spread] if loss.squared else every[spread].expand_as(p).clone()
    g.scatter_add_(1, target, own.gather(1, target.flatten(1)).view_as(target))
    # Through the softmax: p (g - sum of p g).
    g -= (g * p).sum(1, keepdim=True)
    g *= p
    entropy = loss.ce_weight / target.numel()
    g.add_(p, alpha=entropy)
    return g.scatter_add_(1, target, p.new_tensor(-entropy).expand_as(target))
