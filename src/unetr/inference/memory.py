"""How much memory there is, and what a scan will take of it."""

import math
from collections.abc import Sequence
from pathlib import Path

import psutil

GB = 1e9
_CGROUP = Path("/sys/fs/cgroup")


def resident_gb() -> float:
    """Memory this process holds now."""
    return float(psutil.Process().memory_info().rss) / GB


def available_gb() -> float:
    """Memory this process may hold in all: what it has, and what is free, in its container."""
    free = float(psutil.virtual_memory().available)
    limit = _container_free()
    return resident_gb() + (free if limit is None else min(free, limit)) / GB


def _container_free() -> int | None:
    """Bytes left below the container's limit; None where there is none (cgroup v2, then v1)."""
    for limit_file, used_file in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            limit = (_CGROUP / limit_file).read_text().strip()
            used = int((_CGROUP / used_file).read_text())
        except (OSError, ValueError):
            continue
        # Version 1 writes "none" as a number near 2^63.
        if limit.isdigit() and int(limit) < 2**60:
            return max(int(limit) - used, 0)
    return None


def slab_gb(classes: int, patch_voxels: Sequence[int], size: Sequence[int]) -> float:
    """Memory of the sliding window over a scan of `size` (x, y, z) on the network's grid: float32
    scores of one patch's thickness, their weights, and what one window adds."""
    face = max(patch_voxels[1], size[1]) * max(patch_voxels[2], size[2])
    return 4 * (classes + 1) * (patch_voxels[0] * face + 2 * math.prod(patch_voxels)) / GB


def plane_gb(classes: int, size: Sequence[int]) -> float:
    """Memory of one finished plane of float32 scores on the network's grid."""
    return 4 * classes * size[1] * size[2] / GB


def result_gb(classes: int, native: Sequence[int], probabilities: bool) -> float:
    """Memory of the result on the scan's own grid: labels, float16 probabilities if kept, and the
    few planes of scores that are between the grids (the largest planes: the axis is not known)."""
    face = math.prod(native) / min(native)
    return ((2 + 2 * classes * probabilities) * math.prod(native) + 6 * 4 * classes * face) / GB
