"""From voxels to tokens: flattened patches, a linear projection, learned positions."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from unetr.model.sizes import Triple


class PatchEmbedding(nn.Module):
    """Cuts the input into N = XYZ / P^3 patches and projects each to K (paper, equation 1).

    Args:
        grid: Patches per axis for which positions are learned; other grids interpolate them.
        patch_size: Voxels of a patch per axis.
        hidden_size: K.
        dropout: Of the tokens.
    """

    def __init__(
        self,
        in_channels: int,
        grid: Triple,
        patch_size: Triple,
        hidden_size: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.grid = grid
        self.patch_size = patch_size
        # Columns in the order of a flattened patch: x, y, z, then channel fastest.
        self.projection = nn.Linear(math.prod(patch_size) * in_channels, hidden_size)
        self.positions = nn.Parameter(torch.empty(1, math.prod(grid), hidden_size))
        self.dropout = nn.Dropout(dropout)
        nn.init.trunc_normal_(self.positions, std=0.02)

    def forward(self, x: Float[Tensor, "b c x y z"]) -> Float[Tensor, "b n k"]:
        """Tokens, the last axis of the grid fastest; sides must be multiples of the patch's."""
        b, c = x.shape[:2]
        px, py, pz = self.patch_size
        nx, ny, nz = grid = (x.shape[2] // px, x.shape[3] // py, x.shape[4] // pz)
        patches = x.reshape(b, c, nx, px, ny, py, nz, pz)
        patches = patches.permute(0, 2, 4, 6, 3, 5, 7, 1)  # b nx ny nz px py pz c
        tokens = self.projection(patches.reshape(b, nx * ny * nz, px * py * pz * c))
        dropped: Tensor = self.dropout(tokens + self.positions_on(grid))
        return dropped

    def positions_on(self, grid: Triple) -> Float[Tensor, "1 n k"]:
        """The learned positions on another token grid, interpolated between those learned."""
        if grid == self.grid:
            return self.positions
        return resize_positions(self.positions, self.grid, grid)


def resize_positions(
    positions: Float[Tensor, "1 n k"], grid: Triple, new_grid: Triple
) -> Float[Tensor, "1 m k"]:
    """Trilinear interpolation of positions (1, tokens, K) from one token grid to another."""
    volume = positions.transpose(1, 2).reshape(1, -1, *grid)
    volume = F.interpolate(volume, new_grid, mode="trilinear", align_corners=False)
    return volume.flatten(2).transpose(1, 2)
