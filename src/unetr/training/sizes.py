"""The network's sizes, from the plan, the recipe and the machine."""

import math
from collections.abc import Sequence
from typing import Any

from unetr.data.plan import Plan
from unetr.errors import InputError
from unetr.training.recipe import Network

_UNETR_BASE = {"hidden_size": 768, "mlp_dim": 3072, "num_heads": 12, "num_layers": 12}
# What asks for nothing where it is 0 or false.
_OF_UNETR = ("deep_supervision", "dropout", "drop_path", "num_registers", "checkpointing")
_UNETR_SMALL = {"hidden_size": 256, "mlp_dim": 1024, "num_heads": 8, "num_layers": 8}
_SKIPS: dict[int, Sequence[int]] = {12: (3, 6, 9), 8: (2, 4, 6)}

# Small batches make many steps, which is what a short training lacks.
_BATCH = 2
_CPU_PATCH_VOXELS = 64**3
_SWIN_MULTIPLE = 32
_THICK = 2.0


def patch_limit(limit_voxels: int, device_type: str) -> int:
    """Voxels of a patch that are worth their time on this kind of device."""
    return min(limit_voxels, _CPU_PATCH_VOXELS) if device_type == "cpu" else limit_voxels


def batch_size(asked: int | None, world: int) -> int:
    """Patches of a step over all processes.

    Raises:
        InputError: the batch asked for cannot be shared among the processes.
    """
    if asked is not None:
        if asked % world:
            raise InputError(
                f"training.batch {asked} cannot be shared among {world} processes; "
                f"take a multiple of {world}, or as many processes as divide it"
            )
        return asked
    return math.ceil(_BATCH / world) * world


def learning_rate(asked: float | None, config: dict[str, Any]) -> float:
    """The highest learning rate of a network.

    A transformer's falls with its width (Yang et al., arXiv:2203.03466): 4e-3 at 256, where it was
    chosen; networks without one take what AdamW is mostly given.
    """
    if asked is not None:
        return asked
    width = config.get("hidden_size")
    return 4e-3 * min(1.0, 256 / width) if width else 1e-3


def fit_plan(plan: Plan, network: Network) -> Plan:
    """The plan with a patch that the network can take.

    Swin UNETR halves each axis five times, and normalises over what is left: more than one voxel.
    """
    if network.name != "swinunetr":
        return plan
    size = [math.ceil(n / _SWIN_MULTIPLE) * _SWIN_MULTIPLE for n in plan.patch_voxels]
    if max(size) == _SWIN_MULTIPLE:
        finest = min(range(3), key=lambda axis: plan.spacing_mm[axis])
        size[finest] = 2 * _SWIN_MULTIPLE
    if tuple(size) == plan.patch_voxels:
        return plan
    reasons = plan.reasons | {"patch_voxels": "multiples of 32, as Swin UNETR needs"}
    patch = (size[0], size[1], size[2])
    return plan.model_copy(update={"patch_voxels": patch, "reasons": reasons})


def network_config(network: Network, plan: Plan, device_type: str) -> tuple[str, dict[str, Any]]:
    """The name and the arguments of the network, as `unetr.checkpoint.build_network` takes them.

    Raises:
        InputError: the recipe asks for what that network does not have.
    """
    channels, outputs = len(plan.channels), plan.out_channels
    if network.name in ("unetr", "unetr-modern"):
        return "unetr", _unetr(network, plan, device_type)
    for field in _OF_UNETR:
        if getattr(network, field):
            raise InputError(f"network.{field}: {network.name} is built without; leave it out")
    small = 16 if device_type == "cpu" else 32
    width = network.feature_size or small
    if network.name == "dynunet":
        strides, kernels = pyramid(plan)
        return "dynunet", {
            "spatial_dims": 3,
            "in_channels": channels,
            "out_channels": outputs,
            "kernel_size": kernels,
            "strides": strides,
            "upsample_kernel_size": strides[1:],
            "filters": [min(width * 2**level, 320) for level in range(len(strides))],
            "res_block": False,
        }
    if network.name == "segresnet":
        halvings = min(_halvings(plan), 3)
        return "segresnet", {
            "spatial_dims": 3,
            "init_filters": network.feature_size or 16,
            "in_channels": channels,
            "out_channels": outputs,
            "blocks_down": [1, 2, 2, 4][: halvings + 1],
            "blocks_up": [1] * halvings,
        }
    return "swinunetr", {
        "in_channels": channels,
        "out_channels": outputs,
        "feature_size": network.feature_size or (12 if device_type == "cpu" else 48),
    }


def _unetr(network: Network, plan: Plan, device_type: str) -> dict[str, Any]:
    if network.drop_path and network.name != "unetr-modern":
        raise InputError(
            "network.drop_path: only the blocks of unetr-modern have it; leave it out or give "
            "--network unetr-modern"
        )
    sizes = dict(_UNETR_SMALL if device_type == "cpu" else _UNETR_BASE)
    for key in sizes:
        if (asked := getattr(network, key)) is not None:
            sizes[key] = asked
    if network.hidden_size is not None and network.mlp_dim is None:
        sizes["mlp_dim"] = 4 * network.hidden_size
    layers = sizes["num_layers"]
    if layers < 3 and network.skip_layers is None:
        raise InputError(
            f"network.num_layers {layers}: three blocks feed the decoder; give 3 or more, or "
            "network.skip_layers"
        )
    quarters = [max(k, round(layers * k / 4)) for k in (1, 2, 3)]
    skips: Sequence[int] = _SKIPS.get(layers, quarters)
    if network.skip_layers is not None:
        skips = network.skip_layers
    return {
        "in_channels": len(plan.channels),
        "out_channels": plan.out_channels,
        "img_size": list(plan.patch_voxels),
        "patch_size": list(plan.token_voxels),
        "feature_size": network.feature_size or (8 if device_type == "cpu" else 16),
        **sizes,
        "skip_layers": list(skips),
        "decoder": network.decoder,
        "block": "modern" if network.name == "unetr-modern" else "vit",
        "dropout": network.dropout,
        "drop_path": network.drop_path,
        "num_registers": network.num_registers,
        "checkpointing": network.checkpointing,
        "deep_supervision": network.deep_supervision,
        # The decoders of the ablation have no skips for it to join.
        "stem": network.stem and network.decoder == "unetr",
    }


def pyramid(plan: Plan) -> tuple[list[list[int]], list[list[int]]]:
    """Strides and kernels of a U-Net, level by level, by nnU-Net's rule.

    An axis is halved while 4 voxels at least are left of it, and its spacing is within a factor of
    2 of the finest; until then its kernel is 1 wide.
    """
    size, spacing = list(plan.patch_voxels), list(plan.spacing_mm)
    strides, kernels = [[1, 1, 1]], [[3 if s < _THICK * min(spacing) else 1 for s in spacing]]
    while len(strides) < 6:
        finest = min(spacing)
        stride = [
            2 if n % 2 == 0 and n // 2 >= 4 and s < _THICK * finest else 1
            for n, s in zip(size, spacing, strict=True)
        ]
        if max(stride) == 1:
            break
        size = [n // k for n, k in zip(size, stride, strict=True)]
        spacing = [s * k for s, k in zip(spacing, stride, strict=True)]
        wide = [s < _THICK * min(spacing) for s in spacing]
        kernels.append(
            [3 if now or was == 3 else 1 for now, was in zip(wide, kernels[-1], strict=True)]
        )
        strides.append(stride)
    return strides, kernels


def _halvings(plan: Plan) -> int:
    """How often every axis of the patch can be halved."""
    count = 0
    while all(n % 2 ** (count + 1) == 0 for n in plan.patch_voxels):
        count += 1
    return count
