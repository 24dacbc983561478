"""NIfTI files."""

import json
import logging
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel import imageglobals, volumeutils
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from unetr.errors import InputError
from unetr.files import written_whole
from unetr.image.grid import Grid, check_affine, is_orthogonal
from unetr.image.guard import check_shape, check_size, check_values, most_inflated
from unetr.image.volume import Volume

_BROKEN = (ImageFileError, HeaderDataError, OSError, EOFError, zlib.error, ValueError, KeyError)
# The NIfTI standard's code for plain text.
_COMMENT = 6
_LABELS_KEY = "label_names"

# What nibabel mends in a damaged header it tells on stderr, beside the one line of the error.
imageglobals.logger.setLevel(logging.CRITICAL)


def read_nifti(path: Path) -> Volume:
    """Reads a scan; see `unetr.image.read_image`."""
    image = _open(path)
    grid = _grid(path, image)
    try:
        array = _voxels(path, image.dataobj)
    except _BROKEN as error:
        raise _unreadable(path, error) from error
    channels_last = array.reshape((*grid.shape, grid.channels), order="F")
    channels_first = np.moveaxis(channels_last, -1, 0)
    check_values(path, channels_first)
    _tell_oddities(path, image.header)
    if not is_orthogonal(grid.affine, tolerance=0.01):
        warnings.warn(
            f"{path}: the grid is sheared, as a tilted gantry leaves it; distances and volumes are "
            "as if it were not: resample the scan onto a grid at right angles",
            stacklevel=3,
        )
    return Volume(channels_first, grid.affine, image.header.copy(), str(path))


def read_nifti_grid(path: Path) -> Grid:
    """Reads the header alone."""
    return _grid(path, _open(path))


def write_nifti(
    path: Path,
    array: NDArray[Any],
    affine: NDArray[np.float64],
    header: Any,
    extension: str | None = None,
) -> None:
    """Writes an array (x, y, z) or (x, y, z, channel) with what can be kept of a NIfTI header.

    Args:
        extension: Text to write in place of the header's own extensions, which tell of the scan.
    """
    old = header if isinstance(header, nib.Nifti1Header) else None
    kind = nib.Nifti2Image if isinstance(old, nib.Nifti2Header) else nib.Nifti1Image
    image = kind(array, affine, old, dtype=array.dtype)
    image.header.set_slope_inter(1, 0)
    # nibabel keeps a header's own affine where it is close; ours is exact or set anew.
    if old is None or not np.array_equal(image.header.get_best_affine(), affine):
        image.set_sform(affine, code=1)
        # Quaternions cannot say a sheared affine.
        image.set_qform(*((affine, 1) if is_orthogonal(affine) else (None, 0)))
    if extension is not None:
        image.header.extensions.clear()
    if extension:
        note = nib.nifti1.Nifti1Extension(_COMMENT, extension.encode())
        image.header.extensions.append(note)
    with written_whole(path) as part:
        nib.save(image, part)


def names_extension(names: Mapping[int, str]) -> str:
    """Label names as the text of a header extension."""
    return json.dumps({_LABELS_KEY: {str(key): name for key, name in names.items()}})


def read_names(path: Path) -> dict[int, str]:
    """Label names from the header extension that `names_extension` made; empty if there is none."""
    for extension in _open(path).header.extensions:
        try:
            text = extension.get_content()
            content = json.loads(text if isinstance(text, str) else bytes(text).rstrip(b"\0"))
            return {int(key): str(name) for key, name in content[_LABELS_KEY].items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return {}


def _open(path: Path) -> Any:
    """The image with its header read and its voxels not."""
    try:
        image = nib.load(path, mmap=False)
    except _BROKEN as error:
        raise _unreadable(path, error) from error
    if not isinstance(image, nib.Nifti1Image):
        raise InputError(f"{path}: not a NIfTI file; convert it to one")
    return image


def _grid(path: Path, image: Any) -> Grid:
    """What the header says, once it is known to be possible."""
    header = image.header
    shape = tuple(int(n) for n in header.get_data_shape())
    check_shape(path, shape)
    if len(shape) > 5 or (len(shape) == 5 and shape[3] != 1):
        told = " x ".join(map(str, shape))
        raise InputError(f"{path}: shape: {told}; give x, y, z and at most one axis of channels")
    dtype = header.get_data_dtype()
    if dtype.kind not in "iufb":
        kind = "complex" if dtype.kind == "c" else "colour"
        raise InputError(f"{path}: data type: {kind} voxels; save one real number per voxel")
    needed = int(np.prod(shape, dtype=object)) * dtype.itemsize
    compressed = path.name.lower().endswith(".gz")
    most = most_inflated(path) if compressed else path.stat().st_size - image.dataobj.offset
    check_size(path, needed, most)
    affine = np.array(image.affine, np.float64)
    check_affine(affine, path)
    channels = int(np.prod(shape[3:], dtype=int))
    return Grid((shape[0], shape[1], shape[2]), channels, affine, dtype.itemsize)


def _voxels(path: Path, proxy: Any) -> NDArray[Any]:
    """The voxels, float32 where the header scales them, in the machine's byte order."""
    with nib.openers.ImageOpener(path) as stream:
        array: NDArray[Any] = volumeutils.array_from_file(
            proxy.shape, proxy.dtype, stream, proxy.offset, mmap=False
        )
        # nibabel stops at the last voxel, but only the checksum at a gzip stream's end tells
        # whether what was read is what was written.
        while stream.read(1 << 20):
            pass
    if proxy.slope == 1 and proxy.inter == 0:
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    # In place: nibabel's own scaling would hold a CT in float64, eight bytes a voxel.
    scaled: NDArray[Any] = array.astype(np.float32)
    scaled *= proxy.slope
    scaled += proxy.inter
    return scaled


def _tell_oddities(path: Path, header: Any) -> None:
    """Warns where a header places the scan in two ways, in none, or in another unit."""
    try:
        unit = header.get_xyzt_units()[0]
    except KeyError:
        unit = f"unit {int(header['xyzt_units'])}, which NIfTI does not know"
    if unit not in ("mm", "unknown"):
        warnings.warn(
            f"{path}: the header gives lengths in {unit}; they are taken for mm", stacklevel=4
        )
    qcode, scode = int(header["qform_code"]), int(header["sform_code"])
    if not qcode and not scode:
        warnings.warn(
            f"{path}: the header has no orientation; axes are taken to run left, front, up",
            stacklevel=4,
        )
    if not qcode or not scode:
        return
    sform = header.get_sform()
    try:
        qform = header.get_qform()
    except (HeaderDataError, ValueError):
        qform = np.zeros((4, 4))
    extent = np.array([*header.get_data_shape()[:3], 1.0])
    side = np.linalg.norm(sform[:3, :3], axis=0).min()
    if np.abs((qform - sform) * extent).max() > 0.1 * side:
        warnings.warn(
            f"{path}: qform and sform place the scan differently; the sform is used", stacklevel=4
        )


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = (" ".join(str(error).split()) or type(error).__name__).replace(str(path), "it")
    # nibabel tries the beginning against every format, and can say no more.
    why = "" if reason.startswith("Cannot work out file type") else f" ({reason[:120]})"
    return InputError(
        f"{path}: not readable as NIfTI{why}; it is truncated, damaged or another kind of file"
    )
