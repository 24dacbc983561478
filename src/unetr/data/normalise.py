"""Intensities of one channel to network input, by the plan's numbers or the image's own."""

from collections.abc import Iterator

import torch
from jaxtyping import Float32
from torch import Tensor

from unetr.data.plan import Normalisation

_PART_VOXELS = 2**21


def normalise_(x: Float32[Tensor, "x y z"], how: Normalisation) -> None:
    """Normalises one channel in place; see `Normalisation` for the kinds.

    With `over="nonzero"`, voxels that are zero do not count and stay zero. A channel without
    spread (one value throughout) becomes 0 where its own spread would be divided by.
    """
    if how.kind == "range":
        low, high = _given(how.low), _given(how.high)
        x.clamp_(low, high).sub_(low).div_(high - low)
        return
    if how.kind == "standard":
        if how.low is not None or how.high is not None:
            x.clamp_(how.low, how.high)
        x.sub_(_given(how.mean)).div_(_given(how.std))
        return
    _zscore_(x, how.over == "nonzero")


def _zscore_(x: Tensor, nonzero: bool) -> None:
    """In parts: masks and float64 copies of all of a large scan would not fit beside it."""
    planes = max(1, _PART_VOXELS // x[0].numel())
    parts = [x[start : start + planes] for start in range(0, len(x), planes)]

    def counted() -> Iterator[Tensor]:
        return (part[part != 0] if nonzero else part for part in parts)

    # float64: float32 sums over a CT's 40 million voxels drift.
    count = sum(values.numel() for values in counted())
    mean = sum(float(values.sum(dtype=torch.float64)) for values in counted()) / max(count, 1)
    squares = sum(float((values - mean).double().square().sum()) for values in counted())
    spread = (squares / max(count, 1)) ** 0.5
    for part in parts:
        outside = part == 0 if nonzero else None
        part.sub_(mean)
        part.div_(spread) if spread > 0 else part.zero_()
        if outside is not None:
            part.masked_fill_(outside, 0.0)


def _given(number: float | None) -> float:
    assert number is not None, "the plan's validation asks for this number"
    return number
