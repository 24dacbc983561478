"""In what sums over many voxels are computed."""

import torch
from torch import Tensor


def wide(x: Tensor) -> torch.dtype:
    """float32, or more where the numbers themselves have more."""
    return torch.promote_types(x.dtype, torch.float32)
