"""Several files as the channels of one scan: only on one grid."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from unetr.errors import InputError
from unetr.image import Grid, Volume, read_grid, read_image, same_grid

AFFINE = np.diag([1.0, 2.0, 3.0, 1.0])


def save(path: Path, value: int = 0, affine=AFFINE, shape=(4, 5, 6)) -> Path:
    nib.save(nib.Nifti1Image(np.full(shape, value, np.int16), affine), path)
    return path


def moved(millimetres: float) -> np.ndarray:
    affine = AFFINE.copy()
    affine[0, 3] += millimetres
    return affine


def test_files_are_channels_in_their_order(tmp_path: Path) -> None:
    files = [save(tmp_path / f"{k}.nii.gz", value) for k, value in enumerate((7, 3, 5))]
    volume = read_image(files)
    assert volume.array.shape == (3, 4, 5, 6)
    assert [int(channel.max()) for channel in volume.array] == [7, 3, 5]
    assert np.array_equal(volume.affine, AFFINE)
    assert volume.source == str(files[0])


def test_one_file_in_a_list_is_a_scan(tmp_path: Path) -> None:
    assert read_image([save(tmp_path / "a.nii.gz")]).array.shape == (1, 4, 5, 6)
    with pytest.raises(InputError, match="no file given"):
        read_image([])


def test_channels_of_different_types_share_the_wider(tmp_path: Path) -> None:
    first = save(tmp_path / "a.nii.gz", 300)
    nib.save(nib.Nifti1Image(np.full((4, 5, 6), 0.5, np.float32), AFFINE), tmp_path / "b.nii.gz")
    volume = read_image([first, tmp_path / "b.nii.gz"])
    assert volume.array.dtype == np.float32
    assert volume.array[:, 0, 0, 0].tolist() == [300, 0.5]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"shape": (4, 5, 7)}, "shape 4 x 5 x 7 instead of 4 x 5 x 6"),
        ({"affine": moved(30)}, "voxels lie up to 30 mm apart"),
        ({"affine": np.diag([1.0, 2.0, 4.0, 1])}, "spacing 1 x 2 x 4 mm instead of 1 x 2 x 3 mm"),
        ({"affine": np.diag([-1.0, 2.0, 3.0, 1])}, "voxels lie up to 6 mm apart"),
        ({"shape": (4, 5, 6, 2)}, "channels: 2 in a file given as one channel"),
    ],
)
def test_channels_on_another_grid_are_refused(tmp_path: Path, change: dict, told: str) -> None:
    files = [save(tmp_path / "a.nii.gz"), save(tmp_path / "b.nii.gz", **change)]
    with pytest.raises(InputError) as caught:
        read_image(files)
    message = str(caught.value)
    assert message.startswith(f"{files[1]}: ")
    assert told in message
    assert "\n" not in message


@pytest.mark.parametrize(("millimetres", "same"), [(0.04, True), (0.06, False)])
def test_a_twentieth_of_a_voxel_is_tolerated(
    tmp_path: Path, millimetres: float, same: bool
) -> None:
    first = read_grid(save(tmp_path / "a.nii.gz"))
    second = read_grid(save(tmp_path / "b.nii.gz", affine=moved(millimetres)))
    assert (same_grid(first, second) == "") is same


def test_a_small_turn_shows_at_the_far_corner() -> None:
    """Affines may differ little in each number and a voxel at the other end of the scan."""
    tilted = np.eye(4)
    tilted[0, 1] = 0.005
    small, large = (
        (Grid(shape, 1, np.eye(4), 2), Grid(shape, 1, tilted, 2))
        for shape in ((9, 9, 9), (512, 512, 100))
    )
    assert same_grid(*small) == ""
    assert same_grid(*large) == "affine: voxels lie up to 2.56 mm apart"


def test_a_volume_knows_spacing_and_orientation() -> None:
    affine = np.array([[0, 0, -2.0, 0], [-3, 0, 0, 0], [0, 4, 0, 0], [0, 0, 0, 1]])
    volume = Volume(np.zeros((1, 2, 3, 4)), affine)
    assert volume.shape == (2, 3, 4)
    assert volume.spacing_mm == (3.0, 4.0, 2.0)
    assert volume.orientation == "PSL"
