"""The numbers a step computes in: chosen by kind of device, on processors by measuring."""

import time
from typing import Literal

import torch
from torch import nn

from unetr.data.plan import Plan
from unetr.errors import InputError
from unetr.inference.device import gpu_has_bf16

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# A change of precision must be worth it.
_LEAST_GAIN = 1.1
_THIN = "processors get gradients wrong in bf16 where a layer is 2 voxels long in the first axis"


def choose_precision(
    asked: Literal["auto", "fp32", "bf16", "fp16"],
    network: nn.Module,
    plan: Plan,
    device: torch.device,
) -> tuple[Precision, str]:
    """The precision of mixed-precision training, and the reason in words.

    On CUDA bf16 where the device has it, else fp16 with a gradient scaler. On a processor that has
    bf16 instructions one step is timed in both: what they gain differs by processor and network.
    Where bf16 would be wrong there, it is not taken.

    Args:
        network: Laid out as the loop runs it.

    Raises:
        InputError: as `check_precision`.
    """
    if asked != "auto":
        check_precision(asked, network, plan, device, "take fp32 or auto")
        return asked, "as asked for"
    if device.type == "cuda":
        if gpu_has_bf16(device):
            return "bf16", "the GPU computes in it"
        return "fp16", "the GPU has no bf16"
    if device.type != "cpu":
        return "fp32", "the safe choice on this device"
    if not torch.cpu._is_avx512_bf16_supported():
        return "fp32", "the processor has no bf16 instructions"
    if _has_thin_convolution(network, plan):
        return "fp32", _THIN
    fp32, bf16 = (_step_seconds(network, plan, dtype) for dtype in (torch.float32, torch.bfloat16))
    faster = f"a patch took {fp32:.2f} s in fp32 and {bf16:.2f} s in bf16"
    return ("bf16", faster) if fp32 > _LEAST_GAIN * bf16 else ("fp32", faster)


def check_precision(
    precision: Precision, network: nn.Module, plan: Plan, device: torch.device, cure: str
) -> None:
    """Refuses what the device cannot train in.

    Raises:
        InputError: fp16 on a processor, bf16 where its gradients are wrong there or a GPU has none,
            either on Apple's, whose transposed convolutions have neither.
    """
    if device.type == "cuda":
        if precision == "bf16" and not gpu_has_bf16(device):
            raise InputError(f"training.precision bf16: {device} has none; {cure}")
        return
    if device.type == "mps" and precision != "fp32":
        raise InputError(f"training.precision {precision}: not on {device}; {cure}")
    if device.type != "cpu":
        return
    if precision == "fp16":
        raise InputError(f"training.precision fp16 needs a GPU; {cure}")
    if precision == "bf16" and _has_thin_convolution(network, plan):
        raise InputError(f"training.precision bf16: {_THIN}; {cure}")


def _has_thin_convolution(network: nn.Module, plan: Plan) -> bool:
    """Whether a convolution meets a grid that is 2 voxels long in its first axis.

    There oneDNN, as of torch 2.13, sums memory into the weights' gradient in bf16 that nobody wrote
    to. It shows when freed memory is overwritten: MALLOC_PERTURB_=165 in the environment.
    """
    thin = []
    hooks = [
        module.register_forward_pre_hook(lambda _, inputs: thin.append(inputs[0].shape[2] == 2))
        for module in network.modules()
        if isinstance(module, nn.Conv3d) and module.kernel_size[0] > 1
    ]
    with torch.no_grad():
        network(torch.zeros(1, len(plan.channels), *plan.patch_voxels))
    for hook in hooks:
        hook.remove()
    return any(thin)


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
