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
