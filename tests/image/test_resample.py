"""Resampling against SimpleITK's: the same places, the same values, no label that was not there."""

import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from unetr.image import Volume, resample_image, resample_labels

from .grids import affines, ball

ORDERS = {0: SimpleITK.sitkNearestNeighbor, 1: SimpleITK.sitkLinear, 3: SimpleITK.sitkBSpline}
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def itk(volume: Volume) -> SimpleITK.Image:
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(volume.array[0].transpose(2, 1, 0)))
    return placed(image, volume.affine)


def placed(image: SimpleITK.Image, affine: NDArray[np.float64]) -> SimpleITK.Image:
    lps = _LPS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    return image


def itk_resampled(
    volume: Volume, affine: NDArray[np.float64], shape: tuple[int, int, int], how: int
) -> NDArray[np.float32]:
    reference = placed(SimpleITK.Image(list(shape), SimpleITK.sitkFloat32), affine)
    found = SimpleITK.Resample(
        itk(volume), reference, SimpleITK.Transform(), how, -999.0, SimpleITK.sitkFloat32
    )
    return SimpleITK.GetArrayFromImage(found).transpose(2, 1, 0)


def around(
    volume: Volume, turn: NDArray[np.float64], shape: tuple[int, int, int], step_mm: float
) -> NDArray[np.float64]:
    """A grid about the volume's centre whose axes are `turn`'s, with voxels of `step_mm`."""
    centre = volume.affine @ (*((n - 1) / 2 for n in volume.shape), 1)
    affine = turn.copy()
    affine[:3, :3] *= step_mm / np.linalg.norm(turn[:3, :3], axis=0)
    affine[:3, 3] = centre[:3] - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


@pytest.mark.parametrize("order", [0, 1, 3])
@given(here=affines(), there=affines(), finer=st.floats(0.3, 1.0))
def test_values_are_simpleitks_on_any_two_grids(
    order: int, here: NDArray[np.float64], there: NDArray[np.float64], finer: float
) -> None:
    volume = ball(affine=here)
    shape = (9, 10, 11)
    affine = around(volume, there, shape, finer * min(volume.spacing_mm))
    mine = resample_image(volume, affine, shape, order).array[0]
    theirs = itk_resampled(volume, affine, shape, ORDERS[order])
    away = np.abs(mine - theirs)
    if order == 0:
        # A place midway between two voxels may go to either.
        matrix = np.linalg.inv(here) @ affine
        places = np.einsum("ij,jxyz->ixyz", matrix[:3, :3], np.indices(shape))
        places += matrix[:3, 3, None, None, None]
        away = away[(np.abs(places % 1 - 0.5) > 1e-3).all(axis=0)]
    # Splines end differently at the borders; nothing of that is left about the centre.
    # The bump is 100 high.
    assert away.max(initial=0) < 5e-3


@pytest.mark.parametrize("order", [1, 3])
def test_what_lies_beyond_is_filled_where_simpleitk_fills(order: int) -> None:
    """A scan ends half a voxel after its outermost centres."""
    volume = ball((8, 9, 10), np.diag([1.0, 2.0, 1.5, 1]))
    affine = np.diag([0.7, 0.7, 0.7, 1.0])
    affine[:3, 3] = -3.01  # no centre lies on the very border
    shape = (20, 36, 26)
    mine = resample_image(volume, affine, shape, order, outside=-999.0).array[0]
    theirs = itk_resampled(volume, affine, shape, ORDERS[order])
    assert np.array_equal(mine == -999, theirs == -999)
    assert 0.1 < np.mean(mine == -999) < 0.9


@given(affine=affines(), step=st.floats(2.5, 4.0))
def test_shrinking_blurs_as_simpleitks_gaussian_does(
    affine: NDArray[np.float64], step: float
) -> None:
    """Noise on a coarser grid: smoothed first, by what a new voxel is larger than an old one.

    The two cut their kernels off differently, which is worth a part of the noise.
    """
    noise = np.random.default_rng(0).normal(0, 10, (1, 18, 18, 18)).astype(np.float32)
    volume = Volume(noise, affine)
    coarse = affine.copy()
    coarse[:3, :3] *= step
    shape = (4, 4, 4)
    middle = affine @ (8.5, 8.5, 8.5, 1)
    coarse[:3, 3] = middle[:3] - coarse[:3, :3] @ (1.5, 1.5, 1.5)
    mine = resample_image(volume, coarse, shape).array[0]
    variance = (np.array(volume.spacing_mm) * (step - 1) / 2) ** 2
    smooth = SimpleITK.DiscreteGaussian(itk(volume), variance.tolist(), 64, 0.001, True)
    blurred = Volume(SimpleITK.GetArrayFromImage(smooth).transpose(2, 1, 0)[None], affine)
    theirs = itk_resampled(blurred, coarse, shape, SimpleITK.sitkLinear)
    plain = itk_resampled(volume, coarse, shape, SimpleITK.sitkLinear)
    assert np.abs(mine - theirs).max() < 0.25 * plain.std()
    assert mine.std() < 0.5 * plain.std()


@pytest.mark.parametrize("order", [0, 1, 3])
def test_the_same_grid_turned_is_the_same_values(order: int) -> None:
    """Flips and permutations displace nothing: not by half a voxel, not at all."""
    volume = ball((6, 7, 8))
    affine = np.array([[0, 0, -1, 5], [1, 0, 0, 0], [0, -1, 0, 7], [0, 0, 0, 1.0]])
    found = resample_image(volume, affine, (7, 8, 6), order).array[0]
    expected = volume.array[0].transpose(1, 2, 0)[:, ::-1, ::-1]
    assert np.abs(found - expected).max() < 1e-4


@given(
    here=affines(),
    there=affines(),
    step_mm=st.floats(0.5, 12.0),
    seed=st.integers(0, 9),
)
def test_no_label_appears_that_was_not_there(
    here: NDArray[np.float64], there: NDArray[np.float64], step_mm: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    values = np.array([0, 3, 200, 65535], np.uint16)
    labels = Volume(values[random.integers(0, 4, (1, 7, 8, 9))], here)
    found = resample_labels(labels, around(labels, there, (8, 7, 6), step_mm), (8, 7, 6))
    assert found.array.dtype == np.uint16
    assert set(np.unique(found.array)) <= set(values)


@given(here=affines(), there=affines(), finer=st.floats(0.3, 1.0))
def test_a_voxel_gets_the_label_that_fills_most_of_it(
    here: NDArray[np.float64], there: NDArray[np.float64], finer: float
) -> None:
    """SimpleITK resamples each label's mask; the largest share wins."""
    bump = ball(affine=here).array
    labels = Volume(np.digitize(bump, [10, 40, 80]).astype(np.uint8) * 50, here)
    shape = (9, 10, 11)
    affine = around(labels, there, shape, finer * min(labels.spacing_mm))
    found = resample_labels(labels, affine, shape).array[0]
    values = np.unique(labels.array)
    masks = [Volume((labels.array == value).astype(np.float32), here) for value in values]
    shares = np.stack([itk_resampled(mask, affine, shape, SimpleITK.sitkLinear) for mask in masks])
    second, first = np.sort(shares, axis=0)[-2:]
    clear = first - second > 1e-3
    assert clear.mean() > 0.7
    assert np.array_equal(found[clear], values[shares.argmax(axis=0)][clear])


def test_beyond_a_label_image_there_is_background() -> None:
    labels = Volume(np.full((1, 3, 3, 3), 7, np.uint8), np.eye(4))
    affine = np.eye(4)
    affine[:3, 3] = -2
    found = resample_labels(labels, affine, (7, 7, 7)).array[0]
    expected = np.zeros((7, 7, 7), np.uint8)
    expected[2:5, 2:5, 2:5] = 7
    assert np.array_equal(found, expected)
