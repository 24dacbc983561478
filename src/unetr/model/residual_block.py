"""The convolutional building block of encoder and decoder."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from unetr.model.instance_norm import activated
from unetr.model.tracing import is_traced


class ResidualBlock(nn.Module):
    """conv3-norm-LReLU-conv3-norm plus the input, then LReLU.

    Where the number of channels changes, the input passes a normalised 1x1x1 convolution.
    Convolutions have no bias: the normalisation after each would remove it.

    Attributes:
        compiled: Whether training steps are so many that kernels of their own pay.
    """

    compiled = False

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
        return self.rest(self.conv1(x), x if self.shortcut is None else pointwise(self.shortcut, x))

    def rest(
        self, first: Float[Tensor, "b f x y z"], shortcut: Float[Tensor, "b f x y z"]
    ) -> Float[Tensor, "b f x y z"]:
        """What follows the first convolution, and meets what passed beside it."""
        compiled = self.compiled and self.training
        y = self.conv2(activated(first, compiled=compiled))
        return activated(y, shortcut, self.shortcut is not None, compiled)


def pointwise(convolution: nn.Conv3d, x: Float[Tensor, "b c x y z"]) -> Float[Tensor, "b f x y z"]:
    """A 1x1x1 convolution without bias; of one channel on processors as a matrix product, for which
    torch's convolution takes ten times as long."""
    if convolution.in_channels > 1 or x.device.type != "cpu" or is_traced():
        result: Tensor = convolution(x)
        return result
    voxels = x.permute(0, 2, 3, 4, 1)
    return F.linear(voxels, convolution.weight.flatten(1)).permute(0, 4, 1, 2, 3)
