"""A network ready to run, whatever computes it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from unetr.checkpoint.header import Header
from unetr.data.plan import Plan

Kind = Literal["torch", "torch-compile", "openvino", "onnx"]
EngineName = Literal["auto", Kind]
Precision = Literal["auto", "fp32", "bf16"]


@dataclass(frozen=True)
class Engine:
    """A network ready to run.

    Attributes:
        forward: Windows (b, channels, *patch) float32 on `device` to scores (b, out, *patch)
            float32 in [0, 1]: softmax over the plan's labels, or sigmoid of its regions. The next
            call may overwrite them.
        batch: Windows per call that keep the device busy.
        header: The plan and provenance of the network.
        source: What to call the model in messages.
        ready: Prepares the network, or waits until it is prepared in the background; InputError
            where that fails.
    """

    name: Kind
    precision: Literal["fp32", "bf16"]
    device: torch.device
    forward: Callable[[Tensor], Tensor]
    batch: int
    header: Header
    source: str
    ready: Callable[[], None] = lambda: None

    @property
    def in_torch(self) -> bool:
        """Whether torch computes it, which frees what a network took for the next one."""
        return self.name in ("torch", "torch-compile")


def activation(plan: Plan) -> Callable[[Tensor], Tensor]:
    """From logits (b, out, ...) to scores."""
    return torch.sigmoid if plan.regions else lambda logits: logits.softmax(dim=1)
