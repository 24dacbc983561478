"""Rotary positions on a 3D token grid (Su et al., arXiv:2104.09864; in 3D as in Primus)."""

import torch
from jaxtyping import Float
from torch import Tensor

from unetr.model.sizes import Triple

# Cosines and sines (tokens, pairs) of the angle by which each pair of a head's features is turned.
Rotation = tuple[Tensor, Tensor]

_BASE = 10_000.0


def rotation(grid: Triple, registers: int, head_width: int, like: Tensor) -> Rotation:
    """How far each token's features are turned.

    A third of the pairs turns with the position along each axis; pairs that are left over, and
    register tokens, which come first and have no place, are not turned.

    Args:
        like: Its device is used.
    """
    pairs = head_width // 2
    each = pairs // 3
    frequencies = _BASE ** (-torch.arange(each, device=like.device) / max(each, 1))
    places = [torch.arange(n, device=like.device, dtype=torch.float32) for n in grid]
    x, y, z = torch.meshgrid(*places, indexing="ij")
    angles = torch.cat([axis.flatten()[:, None] * frequencies for axis in (x, y, z)], dim=1)
    turned = torch.zeros(registers + len(angles), pairs, device=like.device)
    turned[registers:, : 3 * each] = angles
    return turned.cos(), turned.sin()


def rotate(heads: Float[Tensor, "b h n d"], turn: Rotation) -> Float[Tensor, "b h n d"]:
    """Queries or keys with each pair of features turned; features i and i + d/2 are a pair."""
    cosine, sine = (part.to(heads.dtype) for part in turn)
    first, second = heads.chunk(2, dim=-1)
    return torch.cat((first * cosine - second * sine, first * sine + second * cosine), dim=-1)
