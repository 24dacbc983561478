"""The decoders of the paper's ablation (table 4), after SETR (arXiv:2012.15840), in 3D.

They see tokens alone, not the input: what the paper's own decoder gains over them is what skips
at every resolution are worth.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from unetr.model.instance_norm import activated
from unetr.model.sizes import Triple, product, upsampling


class NaiveDecoder(nn.Module):
    """NUP, naive upsampling: two 1x1x1 convolutions, then trilinear to full resolution."""

    def __init__(
        self, out_channels: int, patch_size: Triple, hidden_size: int, feature_size: int
    ) -> None:
        super().__init__()
        self.factor = product(upsampling(patch_size))
        self.projection = ConvNorm(hidden_size, 8 * feature_size, 1)
        self.head = nn.Conv3d(8 * feature_size, out_channels, 1)

    def forward(
        self, skips: Sequence[Tensor], bottleneck: Float[Tensor, "b k nx ny nz"]
    ) -> Float[Tensor, "b o x y z"]:
        """Logits; the skips are not used."""
        return upsample(self.head(self.projection(bottleneck)), self.factor)


class ProgressiveDecoder(nn.Module):
    """PUP, progressive upsampling: a convolution and a doubling, until all voxels are there."""

    def __init__(
        self, out_channels: int, patch_size: Triple, hidden_size: int, feature_size: int
    ) -> None:
        super().__init__()
        self.factors = upsampling(patch_size)
        widths = [feature_size * 2**level for level in reversed(range(len(self.factors)))]
        self.convolutions = nn.ModuleList(
            ConvNorm(coarse, width, 3)
            for coarse, width in zip([hidden_size, *widths[:-1]], widths, strict=True)
        )
        self.head = nn.Conv3d(([hidden_size, *widths])[-1], out_channels, 1)

    def forward(
        self, skips: Sequence[Tensor], bottleneck: Float[Tensor, "b k nx ny nz"]
    ) -> Float[Tensor, "b o x y z"]:
        """Logits; the skips are not used."""
        y = bottleneck
        for convolve, factor in zip(self.convolutions, self.factors, strict=True):
            y = upsample(convolve(y), factor)
        logits: Tensor = self.head(y)
        return logits


class MultiLevelDecoder(nn.Module):
    """MLA, multi-level aggregation: a stream per layer, summed from the deepest up, concatenated.

    The streams meet half way to full resolution, as SETR's do.
    """

    def __init__(
        self,
        out_channels: int,
        patch_size: Triple,
        hidden_size: int,
        feature_size: int,
        skips: int,
    ) -> None:
        super().__init__()
        factors = upsampling(patch_size)
        half = (len(factors) + 1) // 2
        self.first, self.second = product(factors[:half]), product(factors[half:])
        wide, narrow, streams = 8 * feature_size, 4 * feature_size, skips + 1
        self.reduce = nn.ModuleList(ConvNorm(hidden_size, wide, 1) for _ in range(streams))
        self.mix = nn.ModuleList(ConvNorm(wide, wide, 3) for _ in range(streams))
        self.refine = nn.ModuleList(ConvNorm(wide, narrow, 3) for _ in range(streams))
        self.head = nn.Conv3d(narrow * streams, out_channels, 1)

    def forward(
        self,
        skips: Sequence[Float[Tensor, "b k nx ny nz"]],
        bottleneck: Float[Tensor, "b k nx ny nz"],
    ) -> Float[Tensor, "b o x y z"]:
        """Logits."""
        streams = []
        above: Tensor | None = None
        for index, z in enumerate((bottleneck, *reversed(skips))):
            reduced = self.reduce[index](z)
            above = reduced if above is None else above + reduced
            streams.append(upsample(self.refine[index](self.mix[index](above)), self.first))
        return upsample(self.head(torch.cat(streams, dim=1)), self.second)


class ConvNorm(nn.Module):
    """Convolution, instance normalisation, LReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Float[Tensor, "b c x y z"]) -> Float[Tensor, "b f x y z"]:
        """Features on the same grid."""
        return activated(self.conv(x))


def upsample(x: Float[Tensor, "b c nx ny nz"], factor: Triple) -> Float[Tensor, "b c x y z"]:
    """Trilinear interpolation to `factor` times as many voxels."""
    size = [voxels * times for voxels, times in zip(x.shape[2:], factor, strict=True)]
    return F.interpolate(x, size, mode="trilinear", align_corners=False)
