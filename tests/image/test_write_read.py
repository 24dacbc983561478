"""What is written is what is read: voxels to the bit, and where they lie."""

import resource
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from unetr.errors import InputError
from unetr.image import (
    IMAGE_SUFFIXES,
    Volume,
    read_grid,
    read_image,
    read_label_names,
    read_labels,
    write_image,
    write_labels,
)

from .grids import SMALL_SHAPES, affines, filled

DTYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64")
# Types that some format or many tools lack: the values stay, the type may not.
WIDE = ("bool", "float16", "int64", "uint64")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("written")


def place_in_simpleitk(path: Path, index: tuple[int, ...]) -> tuple[float, float, float, float]:
    """Where another library sees a voxel of the same file (RAS+ mm, 1)."""
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    turn = np.array(reader.GetDirection()).reshape(2 * (reader.GetDimension(),))[:3, :3]
    step = np.array(reader.GetSpacing()[:3]) * index
    left, back, up = turn @ step + np.array(reader.GetOrigin()[:3])
    return -left, -back, up, 1.0


def there_and_back(path: Path, volume: Volume) -> Volume:
    write_image(path, volume)
    return read_image(path)


@pytest.mark.filterwarnings("ignore:.*the grid is sheared")
@given(
    shape=SMALL_SHAPES,
    channels=st.integers(1, 3),
    dtype=st.sampled_from(DTYPES),
    placed=affines().map(lambda affine: (affine, False))
    | affines(sheared=True).map(lambda affine: (affine, True)),
    suffix=st.sampled_from([".nii", ".nii.gz"]),
    header=st.sampled_from([None, nib.Nifti1Header, nib.Nifti2Header]),
)
def test_nifti(
    folder: Path,
    shape: tuple[int, int, int],
    channels: int,
    dtype: str,
    placed: tuple[NDArray[np.float64], bool],
    suffix: str,
    header: type | None,
) -> None:
    """To the bit, the affine too: its numbers are float32's, as in any file."""
    affine, sheared = placed
    array = filled((channels, *shape), dtype)
    path = folder / f"scan{suffix}"
    back = there_and_back(path, Volume(array, affine, header() if header else None))
    assert back.array.dtype == dtype
    assert np.array_equal(back.array, array)
    assert np.array_equal(back.affine, affine)
    assert isinstance(back.header, nib.Nifti2Header) == (header is nib.Nifti2Header)
    # Once more, with the header that was read: nothing drifts.
    again = there_and_back(path, back)
    assert np.array_equal(again.array, array)
    assert np.array_equal(again.affine, affine)
    grid = read_grid(path)
    assert (grid.shape, grid.channels) == (shape, channels)
    assert np.array_equal(grid.affine, affine)
    if not sheared and header is not nib.Nifti2Header:  # which ITK does not read
        corner = (*(n - 1 for n in shape), 1)
        assert place_in_simpleitk(path, corner[:3]) == pytest.approx(affine @ corner, abs=2e-3)


@given(
    shape=SMALL_SHAPES,
    channels=st.integers(1, 3),
    dtype=st.sampled_from(DTYPES),
    affine=affines(),
    suffix=st.sampled_from([".nrrd", ".nhdr", ".mha", ".mhd"]),
)
def test_nrrd_and_metaimage(
    folder: Path,
    shape: tuple[int, int, int],
    channels: int,
    dtype: str,
    affine: NDArray[np.float64],
    suffix: str,
) -> None:
    """Voxels to the bit; the affine to the digits that these formats' text has."""
    array = filled((channels, *shape), dtype)
    path = folder / f"scan{suffix}"
    back = there_and_back(path, Volume(array, affine))
    assert back.array.dtype == dtype
    assert np.array_equal(back.array, array)
    corner = (*(n - 1 for n in shape), 1)
    assert np.abs((back.affine - affine) @ corner).max() < 1e-3
    grid = read_grid(path)
    assert (grid.shape, grid.channels) == (shape, channels)
    assert np.array_equal(grid.affine, back.affine)
    assert place_in_simpleitk(path, corner[:3]) == pytest.approx(affine @ corner, abs=2e-3)


@pytest.mark.parametrize("dtype", WIDE)
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_wide_types_keep_their_values(tmp_path: Path, dtype: str, suffix: str) -> None:
    array = (np.arange(24).reshape(1, 2, 3, 4) * 1000).astype(dtype)
    back = there_and_back(tmp_path / f"a{suffix}", Volume(array, np.eye(4)))
    assert np.array_equal(back.array, array)
    assert back.array.dtype.itemsize <= 4


@pytest.mark.filterwarnings("ignore:.*the grid is sheared")
@given(shape=SMALL_SHAPES, affine=affines(sheared=True), highest=st.sampled_from([1, 255, 600]))
def test_labels_lie_on_the_scans_grid_to_the_bit(
    folder: Path, shape: tuple[int, int, int], affine: NDArray[np.float64], highest: int
) -> None:
    scan = there_and_back(folder / "scan.nii.gz", Volume(filled((1, *shape), "int16"), affine))
    labels = np.random.default_rng(0).integers(0, highest, shape, endpoint=True)
    names = {1: "liver", highest: "pancreas"}
    write_labels(folder / "labels.nii.gz", labels, scan, names)
    back = read_labels(folder / "labels.nii.gz")
    assert np.array_equal(back.array[0], labels)
    assert np.array_equal(back.affine, scan.affine)
    stored = nib.load(folder / "labels.nii.gz")
    assert stored.get_data_dtype() == (np.uint8 if highest < 256 else np.uint16)
    assert read_label_names(folder / "labels.nii.gz") == names


def test_a_header_whose_qform_alone_places_the_scan_is_kept(tmp_path: Path) -> None:
    """Its affine comes from a quaternion, and comes out of the copy bit for bit."""
    affine = np.array([[0.6, -0.8, 0, 5], [0.8, 0.6, 0, -3], [0, 0, 2.5, 7], [0, 0, 0, 1.0]])
    image = nib.Nifti1Image(np.zeros((3, 4, 5), np.int16), None)
    image.set_qform(affine, code=1)
    image.set_sform(None, code=0)
    nib.save(image, tmp_path / "scan.nii.gz")
    scan = read_image(tmp_path / "scan.nii.gz")
    assert scan.affine == pytest.approx(affine, abs=1e-6)
    write_labels(tmp_path / "labels.nii.gz", np.zeros((3, 4, 5), np.uint8), scan)
    assert np.array_equal(read_labels(tmp_path / "labels.nii.gz").affine, scan.affine)


def test_header_fields_and_extensions_are_kept_with_the_scan(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((3, 4, 5), np.int16), np.eye(4))
    image.header["descrip"] = b"from the scanner"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"of the scan"))
    nib.save(image, tmp_path / "scan.nii.gz")
    scan = read_image(tmp_path / "scan.nii.gz")
    write_image(tmp_path / "copy.nii.gz", scan)
    copy = nib.load(tmp_path / "copy.nii.gz").header
    assert copy["descrip"].item() == b"from the scanner"
    assert copy.extensions[0].get_content() == b"of the scan"
    # Labels are another image: they keep the place, not what was noted about the scan.
    write_labels(tmp_path / "labels.nii.gz", np.zeros((3, 4, 5), np.uint8), scan)
    assert not nib.load(tmp_path / "labels.nii.gz").header.extensions
    assert len(scan.header.extensions) == 1


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
def test_header_and_voxels_in_two_files_bear_one_name(tmp_path: Path, suffix: str) -> None:
    volume = Volume(filled((1, 3, 4, 5), "int16"), np.eye(4))
    write_image(tmp_path / f"a{suffix}", volume)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert len(files) == 2
    assert all(name.startswith("a.") for name in files)


def test_metaimage_voxels_in_a_folder_beside_the_header(tmp_path: Path) -> None:
    array = filled((1, 3, 4, 5), "int16")
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array[0].T), str(tmp_path / "a.mhd"))
    (tmp_path / "raw").mkdir()
    (tmp_path / "a.raw").rename(tmp_path / "raw" / "a.raw")
    header = (tmp_path / "a.mhd").read_text()
    for place in ("raw/a.raw", tmp_path / "raw" / "a.raw"):
        (tmp_path / "a.mhd").write_text(header.replace("a.raw", str(place)))
        assert np.array_equal(read_image(tmp_path / "a.mhd").array, array)


@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd"])
def test_a_disk_that_is_full_is_one_line_and_leaves_nothing(tmp_path: Path, suffix: str) -> None:
    """A limit on the size of files stands for the disk's."""
    noise = np.random.default_rng(0).integers(0, 60000, (1, 40, 40, 40)).astype(np.uint16)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(InputError, match="the disk is full; free some space") as caught:
            write_image(tmp_path / f"a{suffix}", Volume(noise, np.eye(4)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(caught.value).startswith(f"{tmp_path / 'a'}{suffix}: ")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_a_sheared_grid_is_refused_where_the_format_has_none(tmp_path: Path, suffix: str) -> None:
    affine = np.eye(4)
    affine[0, 1] = 0.3
    with pytest.raises(InputError, match=r"affine: sheared, .* write \.nii\.gz"):
        write_image(tmp_path / f"a{suffix}", Volume(np.zeros((1, 2, 2, 2), np.uint8), affine))
    assert list(tmp_path.iterdir()) == []


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a supported image"):
        write_image(tmp_path / "a.png", Volume(np.zeros((1, 2, 2, 2), np.uint8), np.eye(4)))
    assert ".nii.gz" in IMAGE_SUFFIXES
