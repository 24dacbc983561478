"""The body is found again in network input wherever the plan says enough, and only there."""

import numpy as np
import pytest
import torch

from unetr.data.plan import Crop, Label, Normalisation, Plan
from unetr.data.preprocess import preprocess
from unetr.image.volume import Volume
from unetr.inference.body import inside, outside_scores


def plan(crop: Crop, how: Normalisation) -> Plan:
    return Plan(
        channels=("CT",),
        labels=(Label(id=0, name="background"), Label(id=1, name="a")),
        spacing_mm=(1.0, 1.0, 1.0),
        patch_voxels=(16, 16, 16),
        crop=crop,
        normalisation=(how,),
    )


def scan() -> Volume:
    random = np.random.default_rng(0)
    array = random.integers(-1000, -900, (12, 12, 12)).astype(np.float32)
    array[3:9, 4:8, 2:10] = 40
    array[0, 0, 0] = array[11, 11, 11] = -150  # keeps the crop as large as the scan
    return Volume(array[None], np.eye(4))


@pytest.mark.parametrize(
    "how",
    [
        Normalisation(kind="range", low=-175.0, high=250.0),
        Normalisation(kind="standard", low=-900.0, high=300.0, mean=80.0, std=120.0),
        Normalisation(kind="standard", mean=80.0, std=120.0),
    ],
)
def test_threshold_is_found_again(how):
    made = plan(Crop(kind="above", threshold=-175.0), how)
    x, _ = preprocess(made, scan())
    found = inside(made, torch.from_numpy(x))
    assert np.array_equal(found.numpy(), scan().array[0] > -175)


def test_zeros_are_found_again():
    volume = scan()
    volume.array[volume.array < -800] = 0
    made = plan(Crop(kind="nonzero"), Normalisation(kind="zscore", over="nonzero"))
    x, _ = preprocess(made, volume)
    found = inside(made, torch.from_numpy(x))
    # The scan's own mean becomes 0 too, but no voxel has exactly that here.
    assert np.array_equal(found.numpy(), volume.array[0] != 0)


def test_nothing_is_skipped_where_it_cannot_be_told():
    x = torch.zeros(1, 4, 4, 4)
    above = Crop(kind="above", threshold=-500.0)
    for made in (
        plan(Crop(), Normalisation(kind="range", low=-175.0, high=250.0)),
        plan(above, Normalisation(kind="range", low=-175.0, high=250.0)),  # lung looks like air
        plan(above, Normalisation(kind="range", low=-1000.0, high=-500.0)),  # an air-filled organ
        plan(above, Normalisation(kind="standard", low=-999.0, high=-600.0, mean=-900.0, std=50.0)),
        plan(above, Normalisation(kind="zscore")),
        plan(Crop(kind="nonzero"), Normalisation(kind="zscore")),
    ):
        assert inside(made, x) is None


def test_outside_is_background():
    made = plan(Crop(), Normalisation(kind="zscore"))
    assert outside_scores(made, 3).tolist() == [1.0, 0.0, 0.0]
