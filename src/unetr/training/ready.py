"""A network as the loop runs it."""

import torch
from torch import nn

from unetr.machine import keep_freed_memory
from unetr.model.residual_block import ResidualBlock


def prepare(network: nn.Module, compiled: bool = True) -> nn.Module:
    """The same network, made ready for many steps; what it computes does not change.

    On a processor its weights are laid out with channels last: convolutions then read and write a
    voxel's channels together. (On GPUs torch's instance normalisation takes and gives channels
    first, so that each would turn all features round twice.) From now on this process also keeps
    the memory that a step frees for the next one.

    Args:
        compiled: Compile normalisation and activation of large patches on processors, where there
            is a C++ compiler: some seconds for each shape in the first step, less from then on.
    """
    keep_freed_memory()
    for module in network.modules():
        if isinstance(module, ResidualBlock):
            module.compiled = compiled
    if any(weight.device.type != "cpu" for weight in network.parameters()):
        return network
    ready: nn.Module = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return ready
