"""How much memory a scan will take while it is predicted, estimated from above."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from unetr.checkpoint.header import Header
from unetr.data.placement import Placement
from unetr.data.plan import Plan
from unetr.machine import GB, told_bytes

# Planes of scores finished at a time, if memory does not call for fewer.
MOST_PLANES = 32
# Devices that compute in the host's own memory.
ON_HOST = ("cpu", "mps")
_FLOAT32 = 4


@dataclass(frozen=True)
class Need:
    """Memory in GB that a scan takes, besides what the process held when it was read.

    Attributes:
        preparing: Its intensities as float32, before and after resampling.
        windows: The prepared scan, a window in the network, the slab, and the result.
        plane: Each plane of scores finished at a time, on top of that.
        finishing: The result, its maps and post-processing.
    """

    preparing: float
    windows: float
    plane: float
    finishing: float

    @property
    def least(self) -> float:
        """What must be there at the least."""
        return max(self.preparing, self.windows + self.plane, self.finishing)

    def planes(self, spare_gb: float) -> int:
        """Planes to finish at a time so that all stays within `spare_gb`; at least one."""
        return max(1, min(MOST_PLANES, int((spare_gb - self.windows) / self.plane)))


def need(
    placement: Placement,
    plan: Plan,
    *,
    channels: int,
    computing_gb: float,
    slab_on_host: bool,
    probabilities: bool,
    maps: int,
    postprocessing: bool,
) -> Need:
    """What the scan of `placement` needs on the host.

    Args:
        channels: The network's scores, and the entropies averaged with them.
        computing_gb: What the networks take on the host while they compute.
        slab_on_host: Whether scores are summed there.
        probabilities: Whether they are kept.
        maps: Continuous maps kept besides.
    """
    native, network = math.prod(placement.native_shape), math.prod(placement.shape)
    prepared = _FLOAT32 * len(plan.channels) * network
    seen = _seen(plan, placement.shape)
    # Labels are of two bytes at most, probabilities of two.
    result = (2 + 2 * plan.out_channels * probabilities) * native
    laid = _FLOAT32 * maps * network
    # A few planes of scores are between the grids.
    between = 6 * _FLOAT32 * channels * native / placement.native_shape[placement.axes[0]]
    slab = _slab(channels, plan.patch_voxels, placement.shape) if slab_on_host else 0
    # Twice on the network's grid and on the scan's; a copy of the labels, masks, components.
    finished = max(2 * laid + 2 * _FLOAT32 * maps * native, 10 * native * postprocessing)
    return Need(
        preparing=_FLOAT32 * len(plan.channels) * _preparing(placement) / GB,
        windows=computing_gb + (prepared + seen + slab + result + laid + between) / GB,
        # Entropies take three copies on their way.
        plane=(2 + 3 * (maps > 0))
        * _FLOAT32
        * channels
        * placement.shape[1]
        * placement.shape[2]
        / GB,
        finishing=(prepared + result + finished) / GB,
    )


def _seen(plan: Plan, size: Sequence[int]) -> int:
    """Bytes of what windows are cut from beside the scan itself: where there is anything to see,
    and a copy of both that is padded where the scan is thinner than the patch."""
    mask = plan.crop.kind != "none"
    padded = math.prod(map(max, size, plan.patch_voxels))
    if padded == math.prod(size):
        return mask * padded
    return (_FLOAT32 * len(plan.channels) + mask) * padded + mask * math.prod(size)


def _preparing(placement: Placement) -> float:
    """Voxels held at most while the crop is brought to the network's grid, axis by axis."""
    sides = [stop - start for start, stop in placement.box]
    crop = float(math.prod(sides))
    grown = (n / side for n, side in zip(placement.shape, sides, strict=True))
    steps = sorted(g for g, ratio in zip(grown, placement.ratio, strict=True) if ratio != 1)
    if not steps:
        return 2 * crop  # and a copy in the network's layout
    sizes = [0.0, *(crop * math.prod(steps[:k]) for k in range(1, len(steps) + 1))]
    return crop + max(before + after for before, after in itertools.pairwise(sizes))


def refusal(need: Need, spare_gb: float, placement: Placement, limit_gb: float | None) -> str:
    """One line for a scan that does not fit, and what would help."""
    size = " x ".join(map(str, placement.native_shape))
    short = need.least - spare_gb
    if limit_gb is None:
        return (
            f"{placement.source}: {size} voxels need {need.least:.1f} GB, but {spare_gb:.1f} GB of "
            "memory are free; free some, ask for fewer outputs, or cut the scan into parts"
        )
    enough = math.ceil(10 * (limit_gb + short)) / 10
    return (
        f"{placement.source}: {size} voxels need {enough:.1f} GB in all, not {limit_gb:g}; "
        f"give --max-memory {enough:.1f} or more, or cut the scan into parts"
    )


def reading_refusal(needed_gb: float, spare_gb: float, limit_gb: float | None) -> str:
    """For a scan whose voxels alone do not fit."""
    if limit_gb is None:
        return (
            f"its voxels take {_told(needed_gb)}, but {_told(max(spare_gb, 0))} of memory are "
            "free; free some, or cut the scan into parts"
        )
    held = max(limit_gb - spare_gb, 0)
    enough = math.ceil(10 * (held + needed_gb)) / 10
    return (
        f"{_told(held)} are held without a scan, and its voxels take {_told(needed_gb)} of the "
        f"{_told(limit_gb)} that may be used; give --max-memory {enough:.1f} or more"
    )


def _told(gb: float) -> str:
    return told_bytes(round(gb * GB))


def window_gb(header: Header) -> float:
    """What the network takes to compute one window: features at full resolution, of which about
    nine tensors are held at a time, and its logits and scores."""
    plan = header.plan
    held = 9 * _features(header.network.config) + 4 * plan.out_channels
    return _FLOAT32 * held * math.prod(plan.patch_voxels) / GB


def attention_gb(header: Header) -> float:
    """What the attention of one window takes: a block's matrix before and after its softmax."""
    plan, config = header.plan, header.network.config
    sides = zip(plan.patch_voxels, plan.token_voxels, strict=True)
    tokens = math.prod(-(-side // token) for side, token in sides)
    tokens += int(config.get("num_registers", 0))
    return 2 * _FLOAT32 * int(config.get("num_heads", 12)) * tokens**2 / GB


def windows_at_once(header: Header, most: int, spare_gb: float) -> int:
    """Windows, up to `most`, that a quarter of `spare_gb` has room for; at least one."""
    return max(1, int(min(most, spare_gb / 4 / window_gb(header))))


def _features(config: dict[str, Any]) -> int:
    """Channels at full resolution, by the names that the networks have for them."""
    for key in ("feature_size", "init_filters"):
        if key in config:
            return int(config[key])
    filters = config.get("filters") or [32]
    return int(filters[0])


def _slab(channels: int, patch_voxels: Sequence[int], size: Sequence[int]) -> int:
    """Bytes of the sliding window over a scan of `size` (x, y, z) on the network's grid: float32
    scores of one patch's thickness, their weights, and what one window adds."""
    face = max(patch_voxels[1], size[1]) * max(patch_voxels[2], size[2])
    return _FLOAT32 * (channels + 1) * (patch_voxels[0] * face + 2 * math.prod(patch_voxels))
