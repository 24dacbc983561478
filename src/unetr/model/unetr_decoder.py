"""The paper's decoder: up from the bottleneck, a skip at each resolution (figure 2)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from unetr.model.residual_block import ResidualBlock
from unetr.model.sizes import Triple, upsampling
from unetr.model.skip_encoder import SkipEncoder, deconvolution
from unetr.model.stem import ConvolutionalStem
from unetr.model.upsampled_convolution import one_is_cheaper, upsampled_convolution


class UNETRDecoder(nn.Module):
    """Deconvolution, concatenation with the projected skip, convolutions; and again.

    With the paper's patch of 16 there are four steps: skips z9, z6 and z3 join the first three and
    the input's own features the last. A finer patch has fewer steps than skips: those that remain
    join on the token grid itself, before it is upsampled. A coarser one has more: its deepest
    steps have no skip.

    Args:
        skips: Number of block outputs used besides the last.
        deep_supervision: Also give logits at half and at a quarter of the resolution.
        skip_convolutions: See SkipEncoder.
        stem: Convolutional features of the input join every step (see ConvolutionalStem), in place
            of one block at full resolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        patch_size: Triple,
        hidden_size: int,
        feature_size: int,
        skips: int,
        *,
        deep_supervision: bool = False,
        skip_convolutions: bool = True,
        stem: bool = False,
    ) -> None:
        super().__init__()
        factors = upsampling(patch_size)
        factors = [(1, 1, 1)] * (skips + 1 - len(factors)) + factors
        # Features double with each step away from the input, up to 2^(number of steps - 1).
        widths = [feature_size * 2**level for level in reversed(range(len(factors)))]
        without = len(factors) - 1 - skips
        self.input_encoder: nn.Module
        if stem:
            self.input_encoder = ConvolutionalStem(in_channels, widths, factors, hidden_size)
        else:
            self.input_encoder = ResidualBlock(in_channels, feature_size)
        self.skip_encoders = nn.ModuleList(
            SkipEncoder(hidden_size, widths[step], _real(factors[: step + 1]), skip_convolutions)
            for step in range(without, len(factors) - 1)
        )
        self.steps = nn.ModuleList(
            DecoderStep(coarse, width, factor, joins=stem or step >= without)
            for step, (coarse, width, factor) in enumerate(
                zip([hidden_size, *widths[:-1]], widths, factors, strict=True)
            )
        )
        self.head = nn.Conv3d(feature_size, out_channels, 1)
        # Coarser than a quarter there is little left to supervise.
        deep = min(2, len(upsampling(patch_size)) - 1) if deep_supervision else 0
        self.deep_heads = nn.ModuleList(
            nn.Conv3d(feature_size * 2**level, out_channels, 1) for level in range(1, deep + 1)
        )

    def encode(self, x: Float[Tensor, "b c x y z"]) -> tuple[list[Tensor | None], Tensor | None]:
        """The input's own features for each step, coarsest first, and what is added to the tokens.

        Without a stem only the last step has some, and the tokens none.
        """
        if isinstance(self.input_encoder, ConvolutionalStem):
            own, added = self.input_encoder(x)
            return own, added
        return [None] * (len(self.steps) - 1) + [self.input_encoder(x)], None

    def forward(
        self,
        own: Sequence[Tensor | None],
        skips: Sequence[Float[Tensor, "b k nx ny nz"]],
        bottleneck: Float[Tensor, "b k nx ny nz"],
    ) -> list[Tensor]:
        """Logits (b, out_channels, ...), full resolution first.

        Args:
            own: The input's own features per step, as `encode` gives them.
            skips: Outputs of the skip layers in rising order; the deepest joins first.
        """
        y = bottleneck
        features = []
        waiting = list(zip(self.skip_encoders, reversed(skips), strict=True))
        without = len(self.steps) - 1 - len(waiting)
        for step, (up, joining) in enumerate(zip(self.steps, own, strict=True)):
            if without <= step < len(self.steps) - 1:
                encode, skip = waiting[step - without]
                joining = encode(skip) if joining is None else encode(skip) + joining
            y = up(y, joining)
            features.append(y)
        outputs = [self.head(y)]
        if self.training:
            outputs += [
                head(feature)
                for head, feature in zip(self.deep_heads, features[-2::-1], strict=False)
            ]
        return outputs


class DecoderStep(nn.Module):
    """Deconvolution, concatenation (upsampled, skip), residual convolutions (figure 2, yellow)."""

    def __init__(self, in_channels: int, out_channels: int, factor: Triple, joins: bool) -> None:
        super().__init__()
        self.upsample = deconvolution(in_channels, out_channels, factor)
        self.convolutions = ResidualBlock(out_channels * (1 + joins), out_channels)

    def forward(
        self, y: Float[Tensor, "b c nx ny nz"], skip: Float[Tensor, "b f x y z"] | None
    ) -> Float[Tensor, "b f x y z"]:
        """Features one step finer."""
        block = self.convolutions
        if skip is None:
            finer: Tensor = block(self.upsample(y))
        elif block.shortcut is not None and one_is_cheaper(y, self.upsample, block.conv1.weight):
            finer = block.rest(
                self._convolved(y, skip, block.conv1), self._convolved(y, skip, block.shortcut)
            )
        else:
            finer = block(torch.cat((self.upsample(y), skip), dim=1))
        return finer

    def _convolved(self, y: Tensor, skip: Tensor, convolution: nn.Conv3d) -> Tensor:
        """The convolution of (upsampled, skip), each part with its own part of the kernel."""
        own, joining = torch.split(convolution.weight, self.upsample.out_channels, dim=1)
        there = F.conv3d(skip, joining, padding=convolution.padding)
        return upsampled_convolution(y, self.upsample, own).add_(there)


def _real(factors: Sequence[Triple]) -> list[Triple]:
    """The steps that upsample at all."""
    return [factor for factor in factors if max(factor) > 1]
