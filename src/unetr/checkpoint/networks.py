"""From a network's stored name and configuration to the network."""

from collections.abc import Callable
from typing import Any

from torch import nn

from unetr.errors import InputError

MONAI_NAMES = {"dynunet": "DynUNet", "segresnet": "SegResNet", "swinunetr": "SwinUNETR"}


def build_network(name: str, config: dict[str, Any]) -> nn.Module:
    """Builds a network with fresh weights.

    Args:
        name: `unetr` is this package's; `dynunet`, `segresnet` and `swinunetr` are MONAI's, for
            comparison, and import MONAI only here because that takes seconds.
        config: The keyword arguments of its constructor.

    Raises:
        InputError: an unknown name, or arguments that the network does not take.
    """
    constructor = _constructor(name)
    try:
        network: nn.Module = constructor(**config)
    except (TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"network {name!r}: configuration does not fit: {reason}") from error
    return network


def _constructor(name: str) -> Callable[..., nn.Module]:
    if name == "unetr":
        from unetr.model import UNETR

        return UNETR
    if name not in MONAI_NAMES:
        known = ", ".join(("unetr", *MONAI_NAMES))
        raise InputError(f"network {name!r} is not known; known are {known}")
    from monai.networks import nets

    found: Callable[..., nn.Module] = getattr(nets, MONAI_NAMES[name])
    return found
