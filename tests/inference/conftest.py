"""Networks whose answer is plain from the scan, and plans for them."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unetr.checkpoint.model import Model
from unetr.data.plan import Label, Normalisation, Plan
from unetr.inference.predictor import Predictor

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


@pytest.fixture
def predictor(octants: Model) -> Predictor:
    return Predictor(octants, engine="torch", precision="fp32", device="cpu")


@pytest.fixture
def write_scan():
    """Writes one with two bright cubes."""

    def write(path: Path, seed: int = 0, size: tuple[int, int, int] = (20, 24, 28)) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        array = np.random.default_rng(seed).normal(0, 0.02, size)
        array[4:8, 4:8, 4:8] = array[14:18, 16:20, 20:24] = 3
        affine = np.diag([-1.0, 1.0, 1.0, 1.0])
        affine[:3, 3] = seed
        nib.save(nib.Nifti1Image(array.astype(np.float32), affine), path)

    return write


@pytest.fixture
def scans(tmp_path: Path, write_scan) -> Path:
    """A folder of three."""
    folder = tmp_path / "scans"
    for index in range(3):
        write_scan(folder / f"case{index}_0000.nii.gz", index)
    return folder
