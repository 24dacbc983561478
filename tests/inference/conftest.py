"""Networks whose answer is plain from the scan, and plans for them."""

import pytest
import torch
from torch import Tensor, nn

from unetr.checkpoint.model import Model
from unetr.data.plan import Label, Normalisation, Plan

OCTANTS = 8


class Octants(nn.Module):
    """Labels what is bright by where it lies: 1 to 8 for the octant of the patch.

    Its answer depends on every axis's direction, so that labels show when an axis went astray.
    """

    config: dict[str, int] = {}  # noqa: RUF012

    def forward(self, x: Tensor) -> Tensor:
        halves = [
            torch.arange(n).view([-1 if a == b else 1 for b in range(3)]) >= n // 2
            for a, n in enumerate(x.shape[2:])
        ]
        octant = halves[0] * 4 + halves[1] * 2 + halves[2] * 1
        bright = 20 * (x.mean(1) - 0.5)
        logits = torch.full((len(x), OCTANTS + 1, *x.shape[2:]), -40.0)
        for number in range(OCTANTS):
            logits[:, number + 1] = torch.where(octant == number, bright, -40.0)
        logits[:, 0] = 0.0
        return logits


@pytest.fixture
def octants() -> Model:
    """Over one window of 64^3 at 1 mm, RAS; bright is half a standard deviation above the mean."""
    plan = Plan(
        channels=("MR",),
        labels=tuple(Label(id=10 * i, name=f"octant {i}") for i in range(OCTANTS + 1)),
        orientation="RAS",
        spacing_mm=(1.0, 1.0, 1.0),
        patch_voxels=(64, 64, 64),
        normalisation=(Normalisation(kind="zscore"),),
    )
    return Model(Octants().eval(), plan)
