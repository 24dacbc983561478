"""Memory for time: activations computed again in the backward pass."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def recomputed(function: Callable[..., Tensor], *inputs: object, random: bool = False) -> Tensor:
    """`function(*inputs)`, keeping only the inputs for the backward pass.

    The second computation stops as soon as all that the backward pass needs is there, so a linear
    layer at the function's end is not computed twice.

    Args:
        random: The function draws random numbers, as dropout does: the same the second time.
    """
    if not torch.is_grad_enabled():
        return function(*inputs)
    result: Tensor = checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=random)
    return result
