"""A network as the loop runs it."""

import torch
from torch import nn

from unetr.machine import keep_freed_memory


def prepare(network: nn.Module) -> nn.Module:
    """The same network, made ready for many steps; what it computes does not change.

    Its weights are laid out with channels last: convolutions then read and write a voxel's
    channels together, which most processors and GPUs prefer. From now on this process also keeps
    the memory that a step frees for the next one.
    """
    keep_freed_memory()
    ready: nn.Module = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return ready
