"""Whether torch is writing the network down rather than computing it."""

import torch


def is_traced() -> bool:
    """Whether the network is being exported or compiled: it must be seen in torch's own
    operations then, layer by layer."""
    traced: bool = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return traced
