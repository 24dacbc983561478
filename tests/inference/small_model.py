"""A network small enough to be converted in a moment."""

import torch
from torch import nn

from unetr.checkpoint.model import Model
from unetr.data.plan import Label, Normalisation, Plan


class Small(nn.Module):
    """Layers such as UNETR's: convolution, instance normalisation, transposed convolution."""

    config: dict[str, int] = {}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv3d(2, 8, 2, stride=2),
            nn.InstanceNorm3d(8),
            nn.LeakyReLU(0.01),
            nn.ConvTranspose3d(8, 3, 2, stride=2),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def model_of() -> Model:
    plan = Plan(
        channels=("a", "b"),
        labels=tuple(Label(id=i, name=str(i)) for i in range(3)),
        spacing_mm=(1, 1, 1),
        patch_voxels=(8, 8, 4),
        normalisation=(Normalisation(kind="zscore"),) * 2,
    )
    return Model(Small().eval(), plan)
