"""An exponential moving average of the weights: what is validated and kept."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Ema:
    """average = decay * average + (1 - decay) * weights, after each step.

    The decay rises with the steps, (1 + n) / (10 + n) up to `decay`, so that the first random
    weights are soon forgotten.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights: list[Tensor] = list(network.parameters())
        self.average = [weight.detach().clone() for weight in self.weights]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Takes the weights after step number `step` (from 1) into the average."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.average, self.weights, 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within the block the network has the averaged weights."""
        own = [weight.detach().clone() for weight in self.weights]
        _copy(self.weights, self.average)
        try:
            yield
        finally:
            _copy(self.weights, own)

    def load(self, average: list[Tensor]) -> None:
        """Continues from a saved average."""
        _copy(self.average, average)


@torch.no_grad()
def _copy(to: list[Tensor], source: list[Tensor]) -> None:
    for into, value in zip(to, source, strict=True):
        into.copy_(value)
