"""Headers as scanners and tools write them: byte orders, scales, units, two places for one scan."""

import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from unetr.image import Volume, read_image, read_labels, write_image

ARRAY = np.arange(-30, 30, dtype=np.int16).reshape(3, 4, 5)


@pytest.mark.parametrize("dtype", ["i2", "u2", "i4", "f4", "f8"])
@pytest.mark.parametrize("version", [nib.Nifti1Header, nib.Nifti2Header])
def test_big_endian(tmp_path: Path, dtype: str, version: type) -> None:
    header = version(endianness=">")
    kind = nib.Nifti1Image if version is nib.Nifti1Header else nib.Nifti2Image
    values = np.arange(60).reshape(3, 4, 5)
    affine = np.diag([1.5, -2.0, 3.0, 1.0])
    image = kind(values.astype(f">{dtype}"), affine, header, dtype=f">{dtype}")
    nib.save(image, tmp_path / "a.nii.gz")
    assert nib.load(tmp_path / "a.nii.gz").header.endianness == ">"
    volume = read_image(tmp_path / "a.nii.gz")
    assert volume.array.dtype.isnative
    assert volume.array.dtype == np.dtype(dtype)
    assert np.array_equal(volume.array[0], values)
    assert np.array_equal(volume.affine, affine)
    write_image(tmp_path / "b.nii.gz", volume)
    assert np.array_equal(read_image(tmp_path / "b.nii.gz").array, volume.array)


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, -1024.0), (0.25, 0.0), (2.5, 3.0)])
def test_scaled_voxels(tmp_path: Path, slope: float, intercept: float) -> None:
    image = nib.Nifti1Image(ARRAY, np.eye(4))
    image.header.set_slope_inter(slope, intercept)
    nib.save(image, tmp_path / "a.nii.gz")
    # nibabel stores voxels so that they come out as given; here the stored ones are ARRAY.
    raw = nib.load(tmp_path / "a.nii.gz").dataobj.get_unscaled()
    volume = read_image(tmp_path / "a.nii.gz")
    assert volume.array.dtype == np.float32
    assert volume.array[0] == pytest.approx(raw * slope + intercept, rel=1e-6)
    assert not np.array_equal(volume.array[0], raw)
    write_image(tmp_path / "b.nii.gz", volume)
    back = nib.load(tmp_path / "b.nii.gz")
    assert (back.dataobj.slope, back.dataobj.inter) == (1, 0)
    assert np.array_equal(read_image(tmp_path / "b.nii.gz").array, volume.array)


def test_scaled_labels_are_integers_again(tmp_path: Path) -> None:
    labels = np.array([0, 200, 500, 600] * 6, np.float64).reshape(2, 3, 4)
    image = nib.Nifti1Image(labels, np.eye(4))
    image.header.set_data_dtype(np.uint8)
    nib.save(image, tmp_path / "a.nii.gz")
    assert nib.load(tmp_path / "a.nii.gz").dataobj.slope != 1
    with pytest.raises(ValueError, match="not all are integers"):
        read_labels(tmp_path / "a.nii.gz")
    image = nib.Nifti1Image((labels / 100).astype(np.int16), np.eye(4))
    image.header.set_slope_inter(100, 0)
    image.header.set_data_dtype(np.int16)
    stored = nib.Nifti1Header.from_header(image.header)
    stored.set_data_shape(labels.shape)
    stored["magic"], stored["vox_offset"] = b"n+1", 352
    stored["scl_slope"], stored["scl_inter"] = 100, 0
    data = (labels / 100).astype(np.int16).tobytes(order="F")
    (tmp_path / "b.nii").write_bytes(stored.binaryblock + b"\0" * 4 + data)
    back = read_labels(tmp_path / "b.nii")
    assert back.array.dtype == np.uint16
    assert np.array_equal(back.array[0], labels)


def test_channels_are_the_fourth_axis_or_the_fifth(tmp_path: Path) -> None:
    """(x, y, z, c), and (x, y, z, 1, c) as NIfTI says vectors should be kept."""
    array = np.random.default_rng(0).integers(0, 99, (3, 4, 5, 2)).astype(np.int16)
    nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "four.nii.gz")
    nib.save(nib.Nifti1Image(array[:, :, :, None], np.eye(4)), tmp_path / "five.nii.gz")
    nib.save(nib.Nifti1Image(array[..., :1], np.eye(4)), tmp_path / "one.nii.gz")
    expected = np.moveaxis(array, -1, 0)
    assert np.array_equal(read_image(tmp_path / "four.nii.gz").array, expected)
    assert np.array_equal(read_image(tmp_path / "five.nii.gz").array, expected)
    assert np.array_equal(read_image(tmp_path / "one.nii.gz").array, expected[:1])


def placed(path: Path, qform: np.ndarray | None, sform: np.ndarray | None) -> Path:
    image = nib.Nifti1Image(ARRAY, None)
    image.set_qform(qform, code=int(qform is not None))
    image.set_sform(sform, code=int(sform is not None))
    nib.save(image, path)
    return path


def test_where_qform_and_sform_conflict_the_affine_wins_and_spacing_is_its_own(
    tmp_path: Path,
) -> None:
    path = placed(tmp_path / "a.nii.gz", np.diag([3.0, 3.0, 3.0, 1]), np.diag([-1.0, 1.5, 2.0, 1]))
    assert nib.load(path).header.get_zooms() == (3.0, 3.0, 3.0)
    with pytest.warns(UserWarning, match=r"a\.nii\.gz: qform and sform place .* sform is used"):
        volume = read_image(path)
    assert volume.spacing_mm == (1.0, 1.5, 2.0)
    assert volume.orientation == "LAS"
    assert np.array_equal(volume.affine, np.diag([-1.0, 1.5, 2.0, 1]))


def test_rounding_between_qform_and_sform_is_no_conflict(tmp_path: Path) -> None:
    turned = np.array([[0.6, -0.8, 0, 5], [0.8, 0.6, 0, -3], [0, 0, 2.5, 7], [0, 0, 0, 1.0]])
    path = placed(tmp_path / "a.nii.gz", turned, turned)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_image(path).spacing_mm == pytest.approx((1.0, 1.0, 2.5), abs=1e-6)


def test_a_header_without_orientation_is_told(tmp_path: Path) -> None:
    path = placed(tmp_path / "a.nii.gz", None, None)
    with pytest.warns(UserWarning, match="the header has no orientation"):
        assert read_image(path).orientation == "LAS"


def test_another_unit_is_told(tmp_path: Path) -> None:
    image = nib.Nifti1Image(ARRAY, np.eye(4))
    image.header.set_xyzt_units("micron")
    nib.save(image, tmp_path / "a.nii.gz")
    with pytest.warns(UserWarning, match="lengths in micron; they are taken for mm"):
        read_image(tmp_path / "a.nii.gz")


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        ("right-anterior-superior", np.diag([1.0, 2.0, 3.0, 1])),
        ("left-posterior-superior", np.diag([-1.0, -2.0, 3.0, 1])),
        ("left-anterior-superior", np.diag([-1.0, 2.0, 3.0, 1])),
    ],
)
def test_nrrd_spaces(tmp_path: Path, space: str, expected: np.ndarray) -> None:
    text = (
        f"NRRD0004\ntype: uchar\ndimension: 3\nspace: {space}\nsizes: 2 3 4\n"
        "space directions: (1,0,0) (0,2,0) (0,0,3)\nkinds: domain domain domain\n"
        "encoding: raw\nspace origin: (10,20,30)\n\n"
    )
    (tmp_path / "a.nrrd").write_bytes(text.encode() + bytes(range(24)))
    volume = read_image(tmp_path / "a.nrrd")
    expected = expected.copy()
    expected[:3, 3] = np.array([10, 20, 30]) * np.sign(np.diag(expected)[:3])
    assert np.array_equal(volume.affine, expected)
    assert volume.array[0, 1, 2, 3] == 1 + 2 * 2 + 6 * 3


def test_four_axes_of_a_metaimage_are_channels(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 99, (2, 5, 4, 3)).astype(np.int16)
    SimpleITK.WriteImage(
        SimpleITK.GetImageFromArray(array, isVector=False), str(tmp_path / "a.mha")
    )
    volume = read_image(tmp_path / "a.mha")
    assert volume.array.shape == (2, 3, 4, 5)
    assert np.array_equal(volume.array, array.transpose(0, 3, 2, 1))
    assert isinstance(volume, Volume)


def test_a_unit_that_nifti_does_not_know_is_told_of(tmp_path: Path) -> None:
    image = nib.Nifti1Image(ARRAY, np.eye(4))
    image.header["xyzt_units"] = 5
    nib.save(image, tmp_path / "a.nii.gz")
    with pytest.warns(UserWarning, match=r"a.nii.gz: .* unit 5, which NIfTI does not know.* mm"):
        read_image(tmp_path / "a.nii.gz")


@pytest.mark.parametrize(("degrees", "told"), [(20, True), (0.1, False)])
def test_a_tilted_gantry_is_told_of(tmp_path: Path, degrees: float, told: bool) -> None:
    affine = np.eye(4)
    affine[1, 2] = np.tan(np.radians(degrees))
    nib.save(nib.Nifti1Image(ARRAY, affine), tmp_path / "a.nii.gz")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read_image(tmp_path / "a.nii.gz")
    assert any("the grid is sheared" in str(each.message) for each in caught) is told
