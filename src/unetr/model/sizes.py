"""Sizes along three axes, and how a patch grows back to voxels."""

import math
from collections.abc import Sequence

Triple = tuple[int, int, int]


def triple(value: int | Sequence[int], name: str) -> Triple:
    """One positive size per axis.

    Raises:
        ValueError: neither an integer nor three, or one below 1.
    """
    sizes = (value,) * 3 if isinstance(value, int) else tuple(value)
    if len(sizes) != 3 or any(size < 1 for size in sizes):
        raise ValueError(f"{name} {value} must be a positive integer, or one for each of 3 axes")
    return sizes[0], sizes[1], sizes[2]


def upsampling(patch_size: Triple) -> list[Triple]:
    """Factors of the steps from the token grid to voxels, deepest first.

    An axis is upsampled only as often as the patch has reduced it, and in the deepest steps: after
    them the grid is as fine along it as the input, so that (16, 16, 4) gives steps of (2, 2, 2),
    (2, 2, 2), (2, 2, 1), (2, 2, 1).

    Raises:
        ValueError: a patch side that is no power of two.
    """
    if any(side & (side - 1) for side in patch_size):
        raise ValueError(f"patch_size {patch_size}: every side must be a power of two")
    halvings = [side.bit_length() - 1 for side in patch_size]
    steps = []
    for step in range(max(halvings)):
        x, y, z = (2 if step < count else 1 for count in halvings)
        steps.append((x, y, z))
    return steps


def product(factors: Sequence[Triple]) -> Triple:
    """The factor per axis of several steps together."""
    x, y, z = (math.prod(step[axis] for step in factors) for axis in range(3))
    return x, y, z
