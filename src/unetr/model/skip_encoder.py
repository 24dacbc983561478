"""From a block's tokens to a finer grid: the paper's projected skips (figure 2, blue and green)."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from unetr.model.residual_block import ResidualBlock
from unetr.model.sizes import Triple
from unetr.model.upsampled_convolution import one_is_cheaper, upsampled_convolution


class SkipEncoder(nn.Module):
    """Deconvolutions from the token grid, each but the first followed by convolutions.

    Args:
        factors: Upsampling per step; none, and the tokens are projected where they lie.
        convolutions: False leaves the convolutions out, as MONAI did by default at first.
    """

    def __init__(
        self, in_channels: int, out_channels: int, factors: Sequence[Triple], convolutions: bool
    ) -> None:
        super().__init__()
        first = factors[0] if factors else (1, 1, 1)
        self.first = deconvolution(in_channels, out_channels, first)
        self.deconvolutions = nn.ModuleList(
            deconvolution(out_channels, out_channels, factor) for factor in factors[1:]
        )
        self.blocks = nn.ModuleList(
            ResidualBlock(out_channels, out_channels) if convolutions else nn.Identity()
            for _ in factors[1:]
        )

    def forward(self, z: Float[Tensor, "b k nx ny nz"]) -> Float[Tensor, "b f x y z"]:
        """Features on the finer grid."""
        x: Tensor = self.first(z)
        layers: Any = zip(self.deconvolutions, self.blocks, strict=True)
        for deconvolve, block in layers:
            upsampled = deconvolve(x)
            if isinstance(block, ResidualBlock) and one_is_cheaper(
                x, deconvolve, block.conv1.weight
            ):
                first = upsampled_convolution(x, deconvolve, block.conv1.weight)
                x = block.rest(first, upsampled)
            else:
                x = block(upsampled)
        return x


def deconvolution(in_channels: int, out_channels: int, factor: Triple) -> nn.ConvTranspose3d:
    """A transposed convolution whose kernel is its stride: each voxel becomes a block of them."""
    return nn.ConvTranspose3d(in_channels, out_channels, factor, stride=factor, bias=False)
