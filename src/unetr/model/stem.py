"""Convolutions beside the transformer: the input's own features at every resolution of the decoder.

In the paper the input meets one block of convolutions at full resolution, and what the decoder
knows of the resolutions between voxels and tokens comes from tokens alone. On small data sets that
is learnt slowly. Here convolutions take the input down step by step, their features join the
decoder's skips, and the coarsest enter the tokens (Xiao et al., *Early Convolutions Help
Transformers See Better*, arXiv:2106.14881).
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from unetr.model.residual_block import ResidualBlock
from unetr.model.sizes import Triple


class ConvolutionalStem(nn.Module):
    """Residual blocks, each but the first behind a strided convolution.

    Args:
        widths: Channels per step of the decoder, coarsest first.
        factors: Upsampling of those steps; the stem goes down by the same ones.
        hidden_size: Width of the tokens.
    """

    def __init__(
        self,
        in_channels: int,
        widths: Sequence[int],
        factors: Sequence[Triple],
        hidden_size: int,
    ) -> None:
        super().__init__()
        finest_first = list(reversed(widths))
        down = list(reversed(factors))
        self.input_encoder = ResidualBlock(in_channels, finest_first[0])
        self.downsamplings = nn.ModuleList(
            _strided(finer, coarser, factor)
            for finer, coarser, factor in zip(
                finest_first[:-1], finest_first[1:], down[:-1], strict=True
            )
        )
        self.blocks = nn.ModuleList(ResidualBlock(width, width) for width in finest_first[1:])
        self.to_tokens = _strided(finest_first[-1], hidden_size, down[-1])

    def forward(
        self, x: Float[Tensor, "b c x y z"]
    ) -> tuple[list[Float[Tensor, "b f _ _ _"]], Float[Tensor, "b k nx ny nz"]]:
        """Features per step of the decoder, coarsest first, and what is added to the tokens."""
        y = self.input_encoder(x)
        features = [y]
        for downsample, block in zip(self.downsamplings, self.blocks, strict=True):
            y = block(downsample(y))
            features.append(y)
        return features[::-1], self.to_tokens(y)


def _strided(in_channels: int, out_channels: int, factor: Triple) -> nn.Module:
    """A convolution whose kernel is its stride, the counterpart of the decoder's deconvolutions."""
    return nn.Conv3d(in_channels, out_channels, factor, stride=factor, bias=False)
