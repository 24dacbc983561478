"""Memory for time: activations computed again in the backward pass."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def recomputed(function: Callable[..., Tensor], *inputs: Tensor | None) -> Tensor:
    """`function(*inputs)`, keeping only the inputs for the backward pass.

    The function must draw no random numbers. The second computation stops as soon as all that the
    backward pass needs is there, so a linear layer at the function's end is not computed twice.
    """
    if not torch.is_grad_enabled():
        return function(*inputs)
    result: Tensor = checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)
    return result


def checkpointed(function: Callable[..., Tensor], *inputs: object) -> Tensor:
    """As `recomputed`, with the same random numbers the second time: for dropout."""
    if not torch.is_grad_enabled():
        return function(*inputs)
    result: Tensor = checkpoint(function, *inputs, use_reentrant=False)
    return result
