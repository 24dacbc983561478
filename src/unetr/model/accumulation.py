"""The type in which sums over many voxels are computed."""

from typing import no_type_check

import torch
from torch import Tensor


@no_type_check  # read by torch for compiled kernels, see there
def accumulation_dtype(x: Tensor) -> torch.dtype:
    """float32, or more where the numbers themselves have more."""
    return torch.promote_types(x.dtype, torch.float32)
