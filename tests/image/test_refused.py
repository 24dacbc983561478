"""Files that cannot be right: one line each, and no voxel touched where the header tells it."""

import gzip
import os
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from unetr.errors import InputError
from unetr.image import guard as guard_module
from unetr.image import read_grid, read_image, read_labels

ARRAY = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def header(shape: tuple[int, ...] = (2, 3, 4), dtype: type = np.float32) -> nib.Nifti1Header:
    made = nib.Nifti1Header()
    made.set_data_dtype(dtype)
    made.set_data_shape(shape)
    made.set_sform(np.eye(4), 1)
    made["magic"], made["vox_offset"] = b"n+1", 352
    return made


def raw(path: Path, head: nib.Nifti1Header, voxels: bytes = ARRAY.tobytes()) -> Path:
    data = head.binaryblock + b"\0" * 4 + voxels
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def saved(path: Path, array: np.ndarray) -> Path:
    nib.save(nib.Nifti1Image(array, np.eye(4), dtype=array.dtype), path)
    return path


def changed(index: tuple[int, int, int], value: float) -> np.ndarray:
    array = ARRAY.copy()
    array[index] = value
    return array


def with_affine(*diagonal: float) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        head = header()
        for row, value in zip(("srow_x", "srow_y", "srow_z"), diagonal, strict=True):
            head[row] = 0
            head[row]["xyz".index(row[-1])] = value
        return raw(folder / "a.nii", head)

    return build


def cut(name: str, part: float) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        noise = np.random.default_rng(0).normal(size=(1, 20, 20, 20)).astype(np.float32)
        path = folder / f"a{name}"
        if name.startswith(".nii"):
            saved(path, noise[0])
        else:
            SimpleITK.WriteImage(SimpleITK.GetImageFromArray(noise[0]), str(path))
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * part) if part < 1 else -int(part)])
        return path

    return build


def bit_flipped(folder: Path) -> Path:
    path = saved(folder / "a.nii.gz", np.random.default_rng(0).normal(size=(20, 20, 20)))
    data = bytearray(path.read_bytes())
    data[-6] ^= 1  # in the checksum: every voxel can be read, and only that tells of damage
    path.write_bytes(data)
    return path


def written(name: str, content: bytes) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return build


def unknown_type(folder: Path) -> Path:
    head = header()
    head["datatype"] = 12345
    return raw(folder / "a.nii", head)


def dicom_folder(folder: Path) -> Path:
    (folder / "series").mkdir()
    (folder / "series" / "IM0001.dcm").write_bytes(bytes(128) + b"DICM")
    return folder / "series"


def without_voxel_file(folder: Path) -> Path:
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(ARRAY), str(folder / "a.mhd"))
    (folder / "a.raw").unlink()
    return folder / "a.mhd"


def metaimage(name: str, lines: str) -> Callable[[Path], Path]:
    head = "ObjectType = Image\nNDims = 3\nDimSize = 2 3 4\nElementType = MET_SHORT\n"
    return written(name, (head + lines).encode())


REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda d: d / "a.nii.gz", "no such file; check the path"),
    "a folder": (lambda d: d, "a folder, not an image; supported endings are"),
    "a folder of dicom": (dicom_folder, "a folder, not an image; convert DICOM to NIfTI first"),
    "a name too long": (lambda d: d / ("a" * 300 + ".nii"), "cannot be read (File name too long)"),
    "another ending": (
        written("a.jpg", b"\xff\xd8"),
        "not a supported image; pictures have two axes",
    ),
    "empty": (written("a.nii.gz", b""), "empty file; copy or download it again"),
    "text": (written("a.nii", b"no scan at all"), "not readable as NIfTI"),
    "text in gzip": (written("a.nii.gz", gzip.compress(b"no" * 999)), "not readable as NIfTI"),
    "no gzip": (written("a.nii.gz", bytes(999)), "not readable as NIfTI"),
    "no nrrd": (written("a.nrrd", bytes(999)), "not readable as .nrrd; it is truncated"),
    "no metaimage": (written("a.mha", bytes(999)), "not readable as .mha; it is truncated"),
    "NaN": (lambda d: saved(d / "a.nii.gz", changed((1, 2, 3), np.nan)), "voxels: 1 are NaN or"),
    "infinity": (lambda d: saved(d / "a.nii", changed((0, 0, 0), -np.inf)), "voxels: 1 are NaN"),
    "zero size": (lambda d: raw(d / "a.nii", header((2, 0, 4))), "2 x 0 x 4 holds no voxels"),
    "negative size": (lambda d: raw(d / "a.nii", header((2, -3, 4))), "2 x -3 x 4 holds no voxels"),
    "2D": (lambda d: saved(d / "a.nii.gz", ARRAY[0]), "shape: 3 x 4 has 2 axes; give a 3D scan"),
    "5D": (
        lambda d: saved(d / "a.nii.gz", np.ones((2, 3, 4, 2, 2), np.float32)),
        "2 x 3 x 4 x 2 x 2; give x, y, z and at most one axis of channels",
    ),
    "complex": (
        lambda d: saved(d / "a.nii.gz", ARRAY.astype(np.complex64)),
        "data type: complex voxels; save one real number per voxel",
    ),
    "colour": (
        lambda d: saved(d / "a.nii.gz", np.zeros((2, 3, 4), [(c, "u1") for c in "RGB"])),
        "data type: colour voxels; save one real number per voxel",
    ),
    "singular affine": (with_affine(1, 0, 1), "affine: singular or not finite; correct the header"),
    "affine of NaN": (with_affine(1, np.nan, 1), "affine: singular or not finite"),
    "affine of infinity": (with_affine(1, np.inf, 1), "affine: singular or not finite"),
    "unknown type": (unknown_type, "not readable as NIfTI (data code 12345 not recognized)"),
    "fewer voxels than promised": (
        lambda d: raw(d / "a.nii", header(), ARRAY.tobytes()[:50]),
        "the header promises 96 bytes of voxels, the file cannot hold more than 50 bytes",
    ),
    "nii cut in its header": (cut(".nii", 0.005), "not readable as NIfTI"),
    "nii cut in half": (cut(".nii", 0.5), "promises 32 kB of voxels, the file cannot hold"),
    "nii without its last byte": (cut(".nii", 1), "promises 32 kB of voxels"),
    "nii.gz cut in half": (cut(".nii.gz", 0.5), "not readable as NIfTI"),
    "nii.gz without its last byte": (cut(".nii.gz", 1), "not readable as NIfTI"),
    "nii.gz with a bit flipped": (bit_flipped, "not readable as NIfTI (CRC check failed"),
    "nrrd cut": (cut(".nrrd", 0.9), "not readable as .nrrd"),
    "mha cut": (cut(".mha", 0.9), "not readable as .mha"),
    "mhd without voxels": (without_voxel_file, "voxels: a.raw is missing; copy that file too"),
    "mhd without voxels in a folder": (
        metaimage("a.mhd", "ElementDataFile = raw/a.raw\n"),
        "voxels: raw/a.raw is missing; copy that file too",
    ),
    "mhd without voxels elsewhere": (
        metaimage("a.mhd", "ElementDataFile = /nowhere/a.raw\n"),
        "voxels: /nowhere/a.raw is missing; copy that file too",
    ),
    "mha of a size that is none": (
        metaimage(
            "a.mha",
            "CompressedData = True\nCompressedDataSize = 1.5\nElementDataFile = LOCAL\n",
        ),
        "CompressedDataSize: '1.5' is no number of bytes; copy the file again",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_line_that_names_the_file(
    case: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    build, told = REFUSED[case]
    path = build(tmp_path)
    with pytest.raises(InputError) as caught:
        read_image(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert told in message
    assert "\n" not in message
    # Nor do the libraries underneath talk beside it.
    assert capfd.readouterr() == ("", "")


BOMB = (4000, 4000, 4000)


def bomb_nifti(path: Path) -> Path:
    """128 GB of int16 promised by a file of 100 kB."""
    return raw(path, header(BOMB, np.int16), bytes(100_000_000 if path.suffix == ".gz" else 99_000))


def bomb_text(path: Path) -> Path:
    if path.suffix.startswith(".m"):
        text = (
            "ObjectType = Image\nNDims = 3\nBinaryData = True\nCompressedData = True\n"
            "DimSize = 4000 4000 4000\nElementSpacing = 1 1 1\nElementType = MET_SHORT\n"
            f"ElementDataFile = {'LOCAL' if path.suffix == '.mha' else 'a.zraw'}\n"
        )
    else:
        text = (
            "NRRD0004\ntype: short\ndimension: 3\nsizes: 4000 4000 4000\nendian: little\n"
            f"encoding: gzip\n{'data file: a.zraw' if path.suffix == '.nhdr' else ''}\n\n"
        )
    path.write_bytes(text.encode() + bytes(99_000))
    path.with_name("a.zraw").write_bytes(bytes(99_000))
    return path


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd"])
@pytest.mark.parametrize("read", [read_grid, read_image, read_labels])
def test_a_header_that_promises_128_gb_is_refused_before_its_voxels_are_touched(
    suffix: str, read: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = (bomb_nifti if suffix.startswith(".nii") else bomb_text)(tmp_path / f"a{suffix}")
    assert path.stat().st_size < 110_000
    monkeypatch.setattr(SimpleITK, "ReadImage", untouched)
    monkeypatch.setattr(nib.volumeutils, "array_from_file", untouched)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"shape: .*128 GB of voxels"):
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def untouched(*_: object, **__: object) -> None:
    raise AssertionError("the voxels were read")


def test_a_scan_that_memory_cannot_hold_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path / "a.nii.gz", np.zeros((50, 50, 50), np.float32))
    monkeypatch.setattr(guard_module, "free_gb", lambda: 400e-6)
    with pytest.raises(InputError, match="shape: 500 kB of voxels, but 400 kB of memory are free"):
        read_image(path)


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (ARRAY + 0.5, "label values: not all are integers; is this the image"),
        (ARRAY - 3, "label values: -3 is negative"),
        (ARRAY * 1e20, "label values: 2.3e+21 is above 4294967295; is this the image"),
        (np.ones((2, 3, 4, 2), np.uint8), "channels: 2 in a label image"),
    ],
)
def test_what_cannot_be_labels_is_refused(array: np.ndarray, told: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.nii.gz", array)
    with pytest.raises(InputError) as caught:
        read_labels(path)
    assert str(caught.value).startswith(f"{path}: {told}")


def test_a_file_without_permission_is_refused() -> None:
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = saved(Path(folder) / "a.nii.gz", ARRAY)
        path.chmod(0)
        if user == 0:
            os.seteuid(65534)  # permissions do not bind root
        try:
            with pytest.raises(InputError, match=r"cannot be read \(Permission denied\)"):
                read_image(path)
        finally:
            os.seteuid(user)
