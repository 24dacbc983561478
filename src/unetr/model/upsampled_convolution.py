"""A deconvolution and the convolution behind it, as one deconvolution.

Nothing bends between the two, so their product is again a deconvolution: of kernel 4 and stride 2
where the first had kernel and stride 2 and the second kernel 3. A finer voxel then reads 2 x 2 x 2
coarse ones in place of 3 x 3 x 3 fine ones, and what is only convolved is never upsampled.
"""

import math
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from unetr.model.tracing import is_traced

Kernel = Float[Tensor, "f m _ _ _"]


def one_is_cheaper(
    coarse: Float[Tensor, "b c _ _ _"], upsample: nn.ConvTranspose3d, kernel: Kernel
) -> bool:
    """Whether fewer multiplications are left, the product of the kernels included.

    Only on processors, where it was measured. Counted for one sample, so that processes which
    share a batch compute as one process does.

    Args:
        kernel: Its input may be more than what is upsampled.
    """
    if coarse.device.type != "cpu" or is_traced():
        return False
    features, _, *sides = kernel.shape
    factor, between, taps = upsample.stride, upsample.out_channels, math.prod(sides)
    voxels = math.prod(coarse.shape[2:]) * math.prod(factor)
    apart = voxels * between * (upsample.in_channels + taps * features)
    product = [f + side - 1 for f, side in zip(factor, sides, strict=True)]
    read = math.prod(n / f for n, f in zip(product, factor, strict=True))
    at_once = voxels * read * upsample.in_channels * features
    multiplied = upsample.in_channels * between * features * taps * math.prod(product)
    return at_once + multiplied < apart


def upsampled_convolution(
    coarse: Float[Tensor, "b c nx ny nz"], upsample: nn.ConvTranspose3d, kernel: Kernel
) -> Float[Tensor, "b f x y z"]:
    """The convolution of upsample(coarse) with `kernel`, padded to keep its grid.

    Args:
        upsample: Its kernel is its stride, without bias or padding.
        kernel: Of odd sides.
    """
    sides = kernel.shape[2:]
    # The kernels' product is the one convolved with the other, in full precision.
    with torch.autocast(coarse.device.type, enabled=False):
        product = F.conv3d(upsample.weight, kernel, padding=[n - 1 for n in sides])
    stride = cast(tuple[int, int, int], upsample.stride)
    return F.conv_transpose3d(coarse, product, stride=stride, padding=[n // 2 for n in sides])
