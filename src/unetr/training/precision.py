"""The numbers a step computes in: chosen by kind of device, on processors by measuring."""

import time
from typing import Literal

import torch
from torch import nn

from unetr.data.plan import Plan
from unetr.errors import InputError

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# A change of precision must be worth it.
_LEAST_GAIN = 1.1


def choose_precision(
    asked: Literal["auto", "fp32", "bf16", "fp16"],
    network: nn.Module,
    plan: Plan,
    device: torch.device,
) -> tuple[Precision, str]:
    """The precision of mixed-precision training, and the reason in words.

    On CUDA bf16 where the device has it, else fp16 with a gradient scaler. On a processor that has
    bf16 instructions one step is timed in both: what they gain differs by processor and network.

    Raises:
        InputError: fp16 asked for on a processor.
    """
    if asked == "fp16" and device.type == "cpu":
        raise InputError("training.precision fp16 needs a GPU; take bf16, fp32 or auto")
    if asked != "auto":
        return asked, "as asked for"
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16", "the GPU computes in it"
        return "fp16", "the GPU has no bf16"
    if device.type != "cpu":
        return "fp32", "the safe choice on this device"
    if not torch.cpu._is_avx512_bf16_supported():
        return "fp32", "the processor has no bf16 instructions"
    fp32, bf16 = (_step_seconds(network, plan, dtype) for dtype in (torch.float32, torch.bfloat16))
    faster = f"a patch took {fp32:.2f} s in fp32 and {bf16:.2f} s in bf16"
    return ("bf16", faster) if fp32 > _LEAST_GAIN * bf16 else ("fp32", faster)


def _step_seconds(network: nn.Module, plan: Plan, dtype: torch.dtype) -> float:
    """Seconds of one forward and backward pass over one patch, after one to warm up."""
    x = torch.zeros(1, len(plan.channels), *plan.patch_voxels)
    seconds = 0.0
    for _ in range(2):
        began = time.perf_counter()
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            outputs = network(x)
        outputs = [outputs] if isinstance(outputs, torch.Tensor) else outputs
        total = torch.stack([output.float().mean() for output in outputs]).sum()
        torch.autograd.backward(total)
        seconds = time.perf_counter() - began
        network.zero_grad(set_to_none=True)
    return seconds
