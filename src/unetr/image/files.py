"""From files to volumes and back, whatever the format."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from unetr.errors import InputError
from unetr.image import nifti
from unetr.image.formats import (
    check_library,
    read_formats,
    read_formats_grid,
    unsheared,
    write_formats,
)
from unetr.image.grid import Grid, same_grid
from unetr.image.guard import check_file
from unetr.image.suffix import NIFTI_SUFFIXES, cure_for, image_suffix
from unetr.image.volume import Volume

PathLike = str | Path
# What segmentation tools write; fill values of other programs lie far above.
_HIGHEST_LABEL = 2**32 - 1


def read_image(path: PathLike | Sequence[PathLike]) -> Volume:
    """Reads a scan: NIfTI, NRRD or MetaImage.

    Args:
        path: A file, whose fourth axis is channels if it has one, or a file per channel.

    Returns:
        (channel, x, y, z) in the file's own type, float32 where the header scales it, and the
        affine to RAS+ millimetres.

    Raises:
        InputError: not an image, or one that cannot be right: truncated, complex or colour voxels,
            NaN or infinity, no voxels, a singular affine; channels that lie on different grids.
    """
    if isinstance(path, str | Path):
        file = _checked(path)
        return nifti.read_nifti(file) if _is_nifti(file) else read_formats(file)
    volumes = [read_image(each) for each in path]
    if not volumes:
        raise InputError("no file given; give one with all channels or one per channel")
    first = volumes[0]
    for volume in volumes:
        if volume.array.shape[0] != 1:
            raise InputError(
                f"{volume.source}: channels: {volume.array.shape[0]} in a file given as one "
                "channel; give one file with all channels or a file per channel"
            )
        if difference := same_grid(first, volume):
            raise InputError(
                f"{volume.source}: grid: {difference} ({Path(first.source).name}); resample it "
                "onto the first channel"
            )
    if len(volumes) == 1:
        return first
    return replace(first, array=np.concatenate([volume.array for volume in volumes]))


def read_labels(path: PathLike) -> Volume:
    """Reads a label image: (1, x, y, z) in the smallest unsigned type that holds its values.

    Raises:
        InputError: as `read_image`; several channels, negative values or ones that are no integers.
    """
    volume = read_image(path)
    array = volume.array
    if array.shape[0] != 1:
        raise InputError(
            f"{path}: channels: {array.shape[0]} in a label image; give one value per voxel"
        )
    low, high = array.min(), array.max()
    if low < 0:
        raise InputError(f"{path}: label values: {low:g} is negative; labels count from 0")
    if array.dtype.kind == "f" and not np.array_equal(array, np.rint(array)):
        raise InputError(
            f"{path}: label values: not all are integers; is this the image, not its labels?"
        )
    if high > _HIGHEST_LABEL:
        raise InputError(
            f"{path}: label values: {high:g} is above {_HIGHEST_LABEL}; is this the image, not its "
            "labels?"
        )
    # astype keeps the memory layout: files have x fastest.
    return replace(volume, array=array.astype(np.min_scalar_type(int(high)), copy=False))


def read_grid(path: PathLike) -> Grid:
    """Shape, channels and affine from the header, without touching the voxels.

    Raises:
        InputError: a header that is not readable or cannot be right.
    """
    file = _checked(path)
    return nifti.read_nifti_grid(file) if _is_nifti(file) else read_formats_grid(file)


def read_label_names(path: PathLike) -> dict[int, str]:
    """The names that `write_labels` stored, by label id; empty if there are none."""
    file = _checked(path)
    return nifti.read_names(file) if _is_nifti(file) else {}


def check_format(path: PathLike, like: PathLike) -> None:
    """Before long work: whether files of this suffix can be read and written here.

    Args:
        like: The scan on whose grid it will be.

    Raises:
        InputError: an unknown suffix, one that needs SimpleITK, which is not installed, or a
            sheared grid that the format cannot hold.
    """
    if not _is_nifti(file := _named(path)):
        check_library(file)
        grid = read_grid(like)
        unsheared(file, grid.affine, grid.shape)


def write_image(path: PathLike, volume: Volume) -> None:
    """Writes a scan in the format of the path's suffix, whole or not at all.

    Raises:
        InputError: an unknown suffix, a type the format lacks, a full disk.
    """
    file, array = _named(path), _storable(volume.array)
    if not _is_nifti(file):
        write_formats(file, array, volume.affine)
        return
    array = np.moveaxis(array, 0, -1)
    array = array[..., 0] if array.shape[-1] == 1 else array
    nifti.write_nifti(file, array, volume.affine, volume.header)


def write_labels(
    path: PathLike,
    labels: Shaped[np.ndarray, "x y z"],
    like: Volume,
    names: Mapping[int, str] | None = None,
) -> None:
    """Writes a label image on the grid of `like`, in the smallest unsigned type.

    Args:
        labels: Native ids.
        names: By id; NIfTI keeps them in a header extension, which `read_label_names` reads.

    Raises:
        InputError: an unknown suffix, or a full disk.
        ValueError: labels on another grid.
    """
    if labels.shape != like.shape:
        raise ValueError(f"labels {labels.shape} are not on the grid {like.shape}")
    file = _named(path)
    highest = max([int(labels.max()), *(names or {})])
    array = labels.astype(np.min_scalar_type(highest), copy=False)
    if not _is_nifti(file):
        write_formats(file, array[None], like.affine)
        return
    header = like.header.copy() if like.header is not None else None
    if header is not None:
        header["cal_min"] = header["cal_max"] = 0  # the display window was the scan's
        header["intent_code"] = 0
    extension = nifti.names_extension(names) if names else ""
    nifti.write_nifti(file, array, like.affine, header, extension)


def _checked(path: PathLike) -> Path:
    """A file that is there and has content, with a name that says image."""
    file = Path(path)
    check_file(file)
    return _named(file)


def _named(path: PathLike) -> Path:
    file = Path(path)
    if not image_suffix(file):
        raise InputError(f"{file}: not a supported image; {cure_for(file)}")
    return file


def _is_nifti(path: Path) -> bool:
    return image_suffix(path) in NIFTI_SUFFIXES


def _storable(array: Any) -> Any:
    """In a type that every format has and most tools read: 64-bit integers few of them do."""
    if array.dtype == np.bool_:
        return array.astype(np.uint8)
    if array.dtype == np.float16:
        return array.astype(np.float32)
    if array.dtype == np.longdouble:
        return array.astype(np.float64)
    if array.dtype.kind in "iu" and array.dtype.itemsize == 8:
        smallest = np.promote_types(
            np.min_scalar_type(array.min()), np.min_scalar_type(array.max())
        )
        return array.astype(smallest) if smallest.itemsize < 8 else array.astype(np.float64)
    return array
