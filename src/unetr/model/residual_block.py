"""The convolutional building block of encoder and decoder."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

SLOPE = 0.01


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
        y = F.leaky_relu_(instance_norm(self.conv1(x)), SLOPE)
        y = instance_norm(self.conv2(y))
        y += x if self.shortcut is None else instance_norm(self.shortcut(x))
        return F.leaky_relu_(y, SLOPE)


def instance_norm(x: Float[Tensor, "b c x y z"]) -> Float[Tensor, "b c x y z"]:
    """Each channel of each sample to mean 0 and variance 1, without parameters.

    torch.nn.InstanceNorm3d refuses a grid of one voxel; here that voxel becomes 0.
    """
    return torch.instance_norm(x, None, None, None, None, True, 0.0, 1e-5, False)
