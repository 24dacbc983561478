"""How a run ends before its end."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch

from unetr.checkpoint.words import times
from unetr.data.plan import Plan
from unetr.inference.device import is_out_of_memory
from unetr.training.recipe import Recipe


class TrainingError(RuntimeError):
    """The run failed: its loss is not finite, or one of its processes is gone.

    The message is one line; the command line exits with code 1.
    """


class Stopped(Exception):  # noqa: N818 - it is no error
    """The run was asked to stop, and its state is saved.

    Args:
        replaced: False where what it was to replace is still as it was.
    """

    def __init__(self, replaced: bool = True) -> None:
        super().__init__()
        self.replaced = replaced


@contextmanager
def told_of_memory(step: int, recipe: Recipe, plan: Plan, device: torch.device) -> Iterator[None]:
    """Raises TrainingError where an accelerator has too little memory for a step."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingError(
            f"step {step}: a batch of {recipe.training.batch} with patches of "
            f"{times(plan.patch_voxels)} voxels does not fit into the memory of {device}; begin "
            "anew (--overwrite) with a smaller training.batch or data.patch_voxels, or UNETR's "
            "network.checkpointing=true"
        ) from error


def not_finite(step: int, loss: float, norm: float, lr: float, names: Iterable[str]) -> str:
    """What to tell of a step whose loss or gradient is no number."""
    return (
        f"step {step}: the loss is {loss:g}, the gradient's norm {norm:g} at learning rate "
        f"{lr:.3g}, on {', '.join(sorted(set(names)))}; look at these cases, or start again with "
        "a lower training.lr"
    )
