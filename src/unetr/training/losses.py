"""The paper's loss: soft Dice with squared denominators plus cross-entropy.

L(G, Y) = 1 - 2/J sum_j (sum_i G_ij Y_ij) / (sum_i G_ij^2 + sum_i Y_ij^2)
            - 1/I sum_i sum_j G_ij log Y_ij
over voxels i and classes j (arXiv:2103.10504, equation 6), per patch, then the mean over patches:
so that a batch split over processes has the same loss as the whole.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Integer, Num
from torch import Tensor
from torch.nn import functional as F

from unetr.model.accumulation import accumulation_dtype
from unetr.training.recipe import Loss
from unetr.training.softmax_loss import SoftmaxDiceCE


def dice_ce(
    logits: Float[Tensor, "b classes x y z"],
    target: Integer[Tensor, "b x y z"] | Num[Tensor, "b classes x y z"],
    loss: Loss = Loss(),  # noqa: B008 - immutable
) -> Float[Tensor, ""]:
    """Soft Dice plus cross-entropy, of softmax or, for overlapping regions, of sigmoid.

    Args:
        logits: Of the network, in any precision; computed in float32 at least.
        target: Class indices (b, x, y, z), or one mask per region (b, regions, x, y, z).
        loss: `squared` sums squares in the denominators as the paper does; False sums the scores
            themselves, the commoner variant.
    """
    if target.ndim < logits.ndim and logits.device.type == "cpu":
        result: Tensor = SoftmaxDiceCE.apply(logits, target, loss)  # type: ignore[no-untyped-call]
        return result
    return by_formula(logits.to(accumulation_dtype(logits)), target, loss)


def by_formula(
    logits: Float[Tensor, "b classes x y z"],
    target: Integer[Tensor, "b x y z"] | Num[Tensor, "b classes x y z"],
    loss: Loss,
) -> Float[Tensor, ""]:
    """`dice_ce` as written down, differentiated by torch: for regions, and on accelerators."""
    background = 0
    if target.ndim == logits.ndim:
        truth, scores = target.float(), logits.sigmoid()
        entropy = F.binary_cross_entropy_with_logits(logits, truth)
    else:
        target = target.long()
        truth = torch.zeros_like(logits).scatter_(1, target[:, None], 1.0)
        log_scores = logits.log_softmax(dim=1)
        scores, entropy = log_scores.exp(), F.nll_loss(log_scores, target)
        background = 0 if loss.include_background else 1
    dice = soft_dice(
        scores[:, background:], truth[:, background:], squared=loss.squared, smooth=loss.smooth
    )
    return loss.dice_weight * (1 - dice.mean()) + loss.ce_weight * entropy


def soft_dice(
    scores: Float[Tensor, "b classes x y z"],
    truth: Float[Tensor, "b classes x y z"],
    squared: bool = True,
    smooth: tuple[float, float] = Loss().smooth,
) -> Float[Tensor, "b classes"]:
    """Dice of scores in [0, 1] against masks of 0 and 1, per patch and class."""
    common = (scores * truth).flatten(2).sum(dim=2)
    size = (scores * scores if squared else scores).flatten(2).sum(dim=2)
    return (2 * common + smooth[0]) / (size + truth.flatten(2).sum(dim=2) + smooth[1])


def supervised(
    outputs: Tensor | Sequence[Tensor],
    target: Integer[Tensor, "b x y z"] | Num[Tensor, "b classes x y z"],
    loss: Loss = Loss(),  # noqa: B008 - immutable
) -> Float[Tensor, ""]:
    """The loss of one output, or of several under deep supervision.

    Outputs come full resolution first; each next one weighs half of the one before (nnU-Net's
    weights, Isensee et al. 2021), and the weights sum to 1. The target is taken down by nearest
    neighbour.
    """
    if isinstance(outputs, Tensor):
        return dice_ce(outputs, target, loss)
    weights = [0.5**level for level in range(len(outputs))]
    total = torch.zeros((), device=target.device)
    for weight, output in zip(weights, outputs, strict=True):
        smaller = nearest(target, output.shape[2:])
        total = total + weight / sum(weights) * dice_ce(output, smaller, loss)
    return total


def nearest(target: Tensor, size: Sequence[int]) -> Tensor:
    """The target with other numbers of voxels along its last three axes."""
    if tuple(target.shape[-3:]) == tuple(size):
        return target
    channels = target if target.ndim == 5 else target[:, None]
    smaller = F.interpolate(channels.float(), tuple(size), mode="nearest-exact").to(target.dtype)
    return smaller if target.ndim == 5 else smaller[:, 0]
