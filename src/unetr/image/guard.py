"""Refuses files before their voxels are touched: a header may claim more than there is."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unetr.errors import InputError
from unetr.image.suffix import cure_for
from unetr.machine import GB, free_gb, told_bytes

# Deflate cannot shrink further: 1032 bytes for one.
_MOST_PER_BYTE = 1032


def check_file(path: Path) -> None:
    """Refuses what is no file with content.

    Raises:
        InputError: missing, a folder, not to be read, or empty.
    """
    try:
        folder = path.is_dir()
        size = path.stat().st_size
        if not folder:
            path.open("rb").close()
    except (FileNotFoundError, ValueError) as error:  # ValueError: a name no file can have
        raise InputError(f"{path}: no such file; check the path") from error
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); check the path and its permissions"
        ) from error
    if folder:
        raise InputError(f"{path}: a folder, not an image; {cure_for(path)}")
    if size == 0:
        raise InputError(f"{path}: empty file; copy or download it again")


def check_size(path: Path, needed_bytes: int, most_bytes: int | None = None) -> None:
    """Refuses a header that promises more voxels than the file or the memory can hold.

    Args:
        needed_bytes: Voxels times bytes of each.
        most_bytes: What the file can hold, if that is known.

    Raises:
        InputError: truncated, or too large for the memory that is free.
    """
    if most_bytes is not None and needed_bytes > most_bytes:
        raise InputError(
            f"{path}: shape: the header promises {told_bytes(needed_bytes)} of voxels, the file "
            f"cannot hold more than {told_bytes(max(most_bytes, 0))}; it is truncated or damaged, "
            "copy it again"
        )
    free = int(free_gb() * GB)
    if needed_bytes > free:
        raise InputError(
            f"{path}: shape: {told_bytes(needed_bytes)} of voxels, but {told_bytes(free)} of "
            "memory are free; crop the scan or take a larger machine"
        )


def most_inflated(path: Path) -> int:
    """Bytes that a compressed file can hold at most."""
    return path.stat().st_size * _MOST_PER_BYTE


def check_shape(path: Path, shape: tuple[int, ...]) -> None:
    """Refuses shapes without voxels.

    Raises:
        InputError: a side is 0, or there are fewer than 3 axes.
    """
    told = " x ".join(map(str, shape))
    if len(shape) < 3:
        raise InputError(f"{path}: shape: {told} has {len(shape)} axes; give a 3D scan")
    if min(shape) < 1:
        raise InputError(f"{path}: shape: {told} holds no voxels; export the scan again")


def check_values(path: Path, array: NDArray[np.generic]) -> None:
    """Refuses NaN and infinity.

    Raises:
        InputError: some voxels are no finite numbers.
    """
    if array.dtype.kind != "f":
        return
    # Minimum and maximum carry NaN along and need no copy.
    if not np.isfinite(array.min()) or not np.isfinite(array.max()):
        count = sum(int(np.count_nonzero(~np.isfinite(part))) for part in array)
        raise InputError(
            f"{path}: voxels: {count} are NaN or infinite; replace them, for example by the "
            "background's value"
        )
