"""The convolutional building block of encoder and decoder."""

from jaxtyping import Float
from torch import Tensor, nn

from unetr.model.instance_norm import activated


class ResidualBlock(nn.Module):
    """conv3-norm-LReLU-conv3-norm plus the input, then LReLU.

    Where the number of channels changes, the input passes a normalised 1x1x1 convolution.
    Convolutions have no bias: the normalisation after each would remove it.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(in_channels, out_channels, 3, padding=1, bias=False)
        self.conv2 = nn.Conv3d(out_channels, out_channels, 3, padding=1, bias=False)
        self.shortcut = (
            nn.Conv3d(in_channels, out_channels, 1, bias=False)
            if in_channels != out_channels
            else None
        )

    def forward(self, x: Float[Tensor, "b c x y z"]) -> Float[Tensor, "b f x y z"]:
        """Features on the same grid."""
        return self.rest(self.conv1(x), x if self.shortcut is None else self.shortcut(x))

    def rest(
        self, first: Float[Tensor, "b f x y z"], shortcut: Float[Tensor, "b f x y z"]
    ) -> Float[Tensor, "b f x y z"]:
        """What follows the first convolution, and meets what passed beside it."""
        y = self.conv2(activated(first))
        return activated(y, shortcut, normalise_other=self.shortcut is not None)
