"""Several answers to one window made one: members of an ensemble, mirrored views, or both."""

from collections.abc import Callable, Sequence
from itertools import combinations

import torch
from torch import Tensor

from unetr.checkpoint.words import counted
from unetr.inference.device import is_out_of_memory
from unetr.inference.uncertainty import entropy
from unetr.inference.window import Activation, Forward


def mirrorings(axes: Sequence[int]) -> list[tuple[int, ...]]:
    """Every set of the axes (0, 1, 2 for x, y, z), the empty one first: 8 for all three."""
    return [chosen for count in range(len(axes) + 1) for chosen in combinations(axes, count)]


def averaged(
    forwards: Sequence[Forward],
    activation: Activation,
    mirrors: Sequence[tuple[int, ...]] = ((),),
    with_entropy: bool = False,
) -> Forward:
    """A function from windows (b, channels, x, y, z) to mean scores (b, classes, x, y, z).

    Scores are averaged over all members and mirrorings. With `with_entropy` the mean of their
    entropies follows as one more channel.

    Args:
        forwards: The members; each gives scores in [0, 1], not logits.
        activation: What the scores come from: softmax over classes or sigmoid of regions.
    """

    if len(forwards) * len(mirrors) == 1 and not with_entropy:
        return forwards[0]

    def scores(windows: Tensor) -> Tensor:
        total: Tensor | None = None
        for forward in forwards:
            for axes in mirrors:
                found = _one(forward, windows, activation, axes, with_entropy)
                # The sum must be its own: a forward may overwrite what it gave before.
                total = found.clone() if total is None else total.add_(found)
        assert total is not None
        return total.div_(len(forwards) * len(mirrors))

    return scores


def _one(
    forward: Forward,
    windows: Tensor,
    activation: Activation,
    axes: tuple[int, ...],
    with_entropy: bool,
) -> Tensor:
    spatial = [axis + 2 for axis in axes]
    scores = forward(windows.flip(spatial) if axes else windows)
    if axes:
        scores = scores.flip(spatial)
    if not with_entropy:
        return scores
    own = torch.stack([entropy(score, activation) for score in scores])
    return torch.cat([scores, own[:, None]], dim=1)


class Halving:
    """Calls `forward` with fewer windows at a time once an accelerator's memory is exhausted.

    Attributes:
        batch: Most windows per call; halved at each exhaustion, down to one.
        told: Called with a sentence when that happens.
    """

    def __init__(self, forward: Forward, batch: int, told: Callable[[str], None]) -> None:
        self.forward = forward
        self.batch = batch
        self.told = told

    def __call__(self, windows: Tensor) -> Tensor:
        """As `forward`.

        Raises:
            RuntimeError: not even one window fits.
        """
        while True:
            try:
                parts = [self.forward(part) for part in torch.split(windows, self.batch)]
                return parts[0] if len(parts) == 1 else torch.cat(parts)
            except RuntimeError as error:
                if not is_out_of_memory(error) or self.batch == 1:
                    raise
                self.batch //= 2
                self.told(f"out of memory: {counted(self.batch, 'window')} at a time from now on")
