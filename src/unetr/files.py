"""Files that are there whole or not at all, and where those go that can be had again."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from unetr.errors import InputError


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Gives a temporary name beside `path`; renames it to `path` when the block ends well.

    The temporary name keeps the suffixes of `path`, because many writers choose the format by it.
    On an error or an interrupt the temporary file is removed and `path` stays as it was.

    Raises:
        InputError: the folder cannot be written to, or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".part-", suffix=path.name, dir=path.parent)
    except OSError as error:
        raise as_input_error(path, error) from error
    os.close(handle)
    part = Path(name)
    try:
        yield part
        # mkstemp makes files private, and so does safetensors; results are for everyone the umask
        # allows.
        umask = os.umask(0)
        os.umask(umask)
        with suppress(OSError):  # Some network shares do not let anyone.
            part.chmod(0o666 & ~umask)
        part.replace(path)
    except OSError as error:
        raise as_input_error(path, error) from error
    finally:
        part.unlink(missing_ok=True)


def check_writable(folder: Path, option: str = "-o") -> None:
    """Before long work: whether files can be written into `folder`, or it be made. Makes nothing.

    Args:
        option: By which it was given.

    Raises:
        InputError: certainly not.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise InputError(
            f"{folder}: cannot be written to ({there} is a file); give another {option}"
        )
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(
            f"{folder}: cannot be written to (permission denied); give another {option}"
        )


def check_text(name: str) -> None:
    """Whether a file's name can be written into records.

    Raises:
        InputError: it is not UTF-8, as some archives leave names behind.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        told = name.encode(errors="replace").decode()
        raise InputError(f"{told}: a name that is not UTF-8; rename it") from None


def cache_folder() -> Path:
    """Where the system wants what can be had again: XDG_CACHE_HOME/unetr or ~/.cache/unetr.

    Raises:
        InputError: there is no home.
    """
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "unetr"
    try:
        return Path.home() / ".cache" / "unetr"
    except RuntimeError as error:
        raise InputError("there is no home folder for a cache; set XDG_CACHE_HOME") from error


def as_input_error(path: Path, error: OSError) -> InputError:
    """One line that says why `path` could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return InputError(f"{path}: the disk is full; free some space or write elsewhere")
    return InputError(f"{path}: cannot be written ({error.strerror or error})")
