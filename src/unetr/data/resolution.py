"""Spacing, patch and token size: how finely the network looks, and how far."""

import math
from collections.abc import Sequence

from unetr.data.facts import Triple
from unetr.data.fingerprint import Fingerprint

Size = tuple[int, int, int]

ANISOTROPIC = 3.0
"""Spacing ratio from which slices count as thick: nnU-Net's (Isensee et al. 2021)."""

LARGEST_TOKEN = 16
LEAST_TOKENS = 4

# A patch should show at least this share of the scan: below it nnU-Net adds a network of a lower
# resolution (Isensee et al. 2021). Here it is the only one: a transformer, above all on a
# processor, has the budget of one.
_LEAST_SHARE = 1 / 4
COARSENED = "coarsened from"
"""What the spacing's reason says where it is."""
_MOST_COARSENING = 2.0
_LEAST_STRUCTURE_VOXELS = 500

# Peak memory of a training step: benchmarks/training_memory.py prints what these rest on.
_FIXED_GB = 2.0
_BYTES_PER_VOXEL = 1500
_BYTES_PER_OUTPUT = 24


def memory_estimate_gb(patch_voxels: int, batch: int, outputs: int) -> float:
    """Peak memory of a training step: weights with gradients and moments, then activations.

    Args:
        patch_voxels: Voxels of one patch.
        batch: Patches in the step.
        outputs: Output channels of the network.
    """
    return _FIXED_GB + patch_voxels * batch * _bytes_per_voxel(outputs) / 1e9


def voxel_budget(memory_gb: float, batch: int, outputs: int) -> int:
    """Voxels of one patch so that a training step over a batch of them fits into memory."""
    free_gb = max(memory_gb - _FIXED_GB, 0.25)
    return int(free_gb * 1e9 / _bytes_per_voxel(outputs) / batch)


def _bytes_per_voxel(outputs: int) -> int:
    return _BYTES_PER_VOXEL + _BYTES_PER_OUTPUT * outputs


def choose_spacing(fingerprint: Fingerprint, extent_mm: Triple, budget: int) -> tuple[Triple, str]:
    """The target spacing: the median, but for thick slices and for scans far larger than a patch.

    Args:
        fingerprint: The data set's fingerprint.
        extent_mm: The median scan's size after the crop.
        budget: Voxels a patch may have.
    """
    median = fingerprint.spacing_mm.median
    target = list(median)
    reason = "the median of the cases, so that most of them are resampled least"
    thick = max(range(3), key=lambda axis: median[axis])
    others = [median[axis] for axis in range(3) if axis != thick]
    if median[thick] > ANISOTROPIC * max(others):
        target[thick] = max(fingerprint.spacing_10th_mm[thick], max(others))
        reason = (
            f"the median in the slice; along {'xyz'[thick]}, {median[thick] / max(others):.1f} "
            "times coarser, the slice distance of the finer cases (10th percentile), so that "
            "none of their slices is lost"
        )
    coarse = _coarsened(fingerprint, target, extent_mm, budget)
    if coarse != target:
        reason += (
            f"; {COARSENED} {' x '.join(f'{mm:.3g}' for mm in target)} mm, because a patch "
            f"would show less than 1/{round(1 / _LEAST_SHARE)} of the median scan"
        )
    x, y, z = coarse
    return (x, y, z), reason


def _coarsened(
    fingerprint: Fingerprint, target: list[float], extent_mm: Triple, budget: int
) -> list[float]:
    """Coarsens the finest axes in small steps; stops at twice the median or at small structures."""
    volumes_ml = [label.median_ml for label in fingerprint.labels if label.median_ml > 0]
    smallest_mm3 = 1000 * min(volumes_ml, default=0.0)
    most = [_MOST_COARSENING * mm for mm in target]
    spacing = list(target)
    while budget < _LEAST_SHARE * math.prod(e / s for e, s in zip(extent_mm, spacing, strict=True)):
        finest = min(spacing)
        finer = [s * 1.02 if s <= 1.02 * finest else s for s in spacing]
        too_small = math.prod(finer) * _LEAST_STRUCTURE_VOXELS > smallest_mm3
        if too_small or any(s > limit for s, limit in zip(finer, most, strict=True)):
            break
        spacing = finer
    return target if spacing == target else [_rounded(mm) for mm in spacing]


def _rounded(mm: float) -> float:
    """To a thousandth, or to three digits of what is smaller."""
    return round(mm, max(3, 2 - math.floor(math.log10(mm))))


def choose_patch(
    extent_mm: Triple, spacing_mm: Triple, budget: int, limit: str
) -> tuple[Size, Size, str]:
    """Patch and token size in voxels, and why the patch is what it is.

    The patch starts as the median scan rounded down to whole tokens: rounded up, it would mostly
    hold padding at its borders, which costs as much as anatomy. While it is over the budget, its
    longest side in mm loses a token, so that it nears a cube in the patient. `limit` says in words
    what the budget comes from.
    """
    size = [max(1, math.ceil(e / s - 0.01)) for e, s in zip(extent_mm, spacing_mm, strict=True)]
    token = choose_tokens(size, spacing_mm)
    patch = [max(1, n // t) * t for n, t in zip(size, token, strict=True)]
    whole = list(patch)
    while math.prod(patch) > budget:
        able = [axis for axis in range(3) if patch[axis] > 2 * token[axis]]
        if not able:
            break
        longest = max(able, key=lambda axis: (patch[axis] * spacing_mm[axis], patch[axis]))
        patch[longest] -= token[longest]
    token = [min(a, b) for a, b in zip(token, choose_tokens(patch, spacing_mm), strict=True)]
    mm = " x ".join(f"{n * s:.0f}" for n, s in zip(patch, spacing_mm, strict=True))
    if patch == whole:
        reason = f"the median scan ({' x '.join(map(str, size))} voxels) in whole tokens: {mm} mm"
    elif math.prod(patch) > budget:
        reason = f"the least patch that tokens make, though {limit} permits less: {mm} mm"
    else:
        reason = (
            f"as much of the median scan ({' x '.join(map(str, size))} voxels) "
            f"as {limit} permits, about as long on each side: {mm} mm"
        )
    return (patch[0], patch[1], patch[2]), (token[0], token[1], token[2]), reason


def choose_tokens(size: Sequence[int], spacing_mm: Triple) -> list[int]:
    """Powers of two: 16 on the finest axis, less where slices are thick or the patch is small."""
    finest = min(spacing_mm)
    tokens = []
    for voxels, mm in zip(size, spacing_mm, strict=True):
        token = LARGEST_TOKEN
        while token > 1 and token // 2 * mm >= LARGEST_TOKEN * finest * 0.99:
            token //= 2
        while token > LEAST_TOKENS and voxels < LEAST_TOKENS * token:
            token //= 2
        tokens.append(token)
    return tokens
