"""NRRD and MetaImage files, through SimpleITK."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unetr.errors import InputError
from unetr.files import as_input_error, written_whole
from unetr.image.grid import Grid, check_affine, same_grid
from unetr.image.guard import check_shape, check_size, check_values, most_inflated
from unetr.image.volume import Volume

# ITK's patient axes run left, posterior, superior; ours right, anterior, superior.
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_LONGEST_LINE = 4096


def read_formats(path: Path) -> Volume:
    """Reads a scan; see `unetr.image.read_image`."""
    sitk = _library(path)
    grid = read_formats_grid(path)
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise _unreadable(path) from error
    array = sitk.GetArrayFromImage(image)
    # (t, z, y, x) or (z, y, x, component), to (channel, x, y, z)
    if image.GetDimension() == 4:
        array = array.transpose(0, 3, 2, 1)
    elif grid.channels > 1:
        array = array.transpose(3, 2, 1, 0)
    else:
        array = array.reshape(array.shape[:3]).transpose(2, 1, 0)[None]
    check_values(path, array)
    return Volume(array, grid.affine, None, str(path))


def read_formats_grid(path: Path) -> Grid:
    """Reads the header alone."""
    sitk = _library(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _unreadable(path) from error
    size = tuple(int(n) for n in reader.GetSize())
    check_shape(path, size)
    components = int(reader.GetNumberOfComponents())
    if len(size) > 4 or (len(size) == 4 and components > 1):
        raise InputError(f"{path}: shape: give x, y, z and at most one axis of channels")
    kind = sitk.GetPixelIDValueAsString(reader.GetPixelID())
    if "complex" in kind:
        raise InputError(f"{path}: data type: complex voxels; save one real number per voxel")
    itemsize = _itemsize(kind)
    needed = int(np.prod(size, dtype=object)) * components * itemsize
    suffix = path.suffix.lower()
    # A detached header (.mhd, .nhdr) is a few lines of text whose voxels lie in another file.
    check_size(path, needed, most_inflated(path) if suffix in (".mha", ".nrrd") else None)
    if suffix in (".mha", ".mhd"):
        _check_metaimage(path, needed)
    dimension = len(size)
    directions = np.array(reader.GetDirection()).reshape(dimension, dimension)[:3, :3]
    affine = np.eye(4)
    affine[:3, :3] = directions * np.array(reader.GetSpacing())[:3]
    affine[:3, 3] = np.array(reader.GetOrigin())[:3]
    affine = _LPS_TO_RAS @ affine
    check_affine(affine, path)
    channels = size[3] if dimension == 4 else components
    return Grid((size[0], size[1], size[2]), channels, affine, itemsize)


def _check_metaimage(path: Path, needed: int) -> None:
    """Refuses a file that ends too early: ITK would do so too, but talk of it on stderr."""
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        while "ElementDataFile" not in fields and (line := file.readline(_LONGEST_LINE)):
            key, _, value = line.decode("latin-1").partition("=")
            fields[key.strip()] = value.strip()
        start = file.tell()
    name = fields.get("ElementDataFile", "")
    if name.split()[:1] == ["LIST"] or "%" in name:
        return  # a file per slice
    data = path if name.upper() == "LOCAL" else path.parent / name
    if not data.is_file():
        raise InputError(f"{path}: voxels: {name} is missing; copy that file too")
    here = data.stat().st_size - (start if data == path else 0)
    told = fields.get("CompressedDataSize") or "0"
    if not told.isdecimal():
        raise InputError(
            f"{path}: CompressedDataSize: {told!r} is no number of bytes; copy the file again"
        )
    wanted = int(told)
    if fields.get("CompressedData", "").upper() != "TRUE":
        wanted = needed
    if here < wanted:
        raise _unreadable(path)


def write_formats(path: Path, array: NDArray[Any], affine: NDArray[np.float64]) -> None:
    """Writes an array (channel, x, y, z).

    Raises:
        InputError: a sheared grid, which these formats cannot hold; a full disk.
    """
    sitk = _library(path)
    lps = _LPS_TO_RAS @ unsheared(path, affine, array.shape[1:])
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    directions = lps[:3, :3] / spacing
    components = len(array) > 1
    laid = array.transpose(3, 2, 1, 0) if components else array[0].transpose(2, 1, 0)
    image = sitk.GetImageFromArray(np.ascontiguousarray(laid), isVector=components)
    image.SetSpacing([float(s) for s in spacing])
    image.SetOrigin([float(o) for o in lps[:3, 3]])
    image.SetDirection([float(d) for d in directions.ravel()])
    if path.suffix.lower() in (".mhd", ".nhdr"):
        _write_detached(sitk, image, path)
        return
    with written_whole(path) as part:
        _write(sitk, image, part, path)


def unsheared(
    path: Path, affine: NDArray[np.float64], shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """The affine with its axes at right angles, as far as headers round them.

    Raises:
        InputError: voxels would lie elsewhere: a sheared grid, which these formats cannot hold.
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    left, _, right = np.linalg.svd(affine[:3, :3] / spacing)
    nearest = affine.copy()
    nearest[:3, :3] = left @ right * spacing
    sides = (shape[0], shape[1], shape[2])
    if same_grid(Grid(sides, 1, affine, 1), Grid(sides, 1, nearest, 1)):
        raise InputError(f"{path}: affine: sheared, which this format cannot hold; write .nii.gz")
    return nearest


def _write_detached(sitk: Any, image: Any, path: Path) -> None:
    """A header and the voxels beside it: the header names that file, so it must have its name."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".part-", dir=path.parent) as folder:
            part = Path(folder) / path.name
            _write(sitk, image, part, path)
            # The header last: while it is missing there is no image.
            for written in sorted(part.parent.iterdir(), key=lambda each: each == part):
                written.replace(path.with_name(written.name))
    except OSError as error:
        raise as_input_error(path, error) from error


def _write(sitk: Any, image: Any, part: Path, path: Path) -> None:
    try:
        sitk.WriteImage(image, str(part), useCompression=True)
    except RuntimeError as error:
        # ITK says in many lines where in its sources it gave up, and seldom why.
        raise InputError(
            f"{path}: cannot be written whole, mostly because the disk is full; free some space or "
            "write elsewhere"
        ) from error


def check_library(path: Path) -> None:
    """Raises InputError where SimpleITK is not installed."""
    _library(path)


def _library(path: Path) -> Any:
    try:
        import SimpleITK
    except ImportError:
        raise InputError(
            f"{path}: {path.suffix} files need SimpleITK: pip install 'unetr[formats]'"
        ) from None
    # It would print its warnings past Python.
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    return SimpleITK


def _itemsize(kind: str) -> int:
    """Bytes of a voxel, from ITK's name of its type, such as `16-bit signed integer`."""
    bits = "".join(c for c in kind.split("-")[0] if c.isdigit())
    return int(bits or 8) // 8


def _unreadable(path: Path) -> InputError:
    return InputError(
        f"{path}: not readable as {path.suffix}; it is truncated, damaged or another kind of file"
    )
