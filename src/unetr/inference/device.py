"""The processor or accelerator to compute on."""

import os

import torch

from unetr.errors import InputError


def find_device(device: str) -> torch.device:
    """The device of that name; for `auto` an accelerator where there is one.

    Under torchrun an accelerator without a number, such as cuda, is the process's own.
    """
    own = int(os.environ.get("LOCAL_RANK", 0))
    if device == "auto":
        found = torch.accelerator.current_accelerator(check_available=True)
        if found is None:
            return torch.device("cpu")
        count = torch.accelerator.device_count()
        if own >= count:
            raise InputError(
                f"process {own + 1} of this machine, which has {count} {found.type} devices; "
                "start fewer with --nproc-per-node, or give --device"
            )
        return torch.device(found.type, own)
    try:
        place = torch.device(device)
        if place.type != "cpu" and ":" not in device and "LOCAL_RANK" in os.environ:
            place = torch.device(place.type, own)
        torch.empty(1, device=place)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device {device!r} is not available: {reason}; try cpu") from error
    return place


def gpu_has_bf16(device: torch.device) -> bool:
    """Whether that CUDA device computes in bf16 itself; torch answers for the present one."""
    with torch.cuda.device(device):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an accelerator's memory was too little; Apple's says so in words alone."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "backend out of memory" in str(error)
    )
