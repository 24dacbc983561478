"""A task of the Medical Segmentation Decathlon in a folder: downloaded, checked, unpacked."""

import shutil
import tarfile
import tempfile
from pathlib import Path

from unetr.data.download import Listener, check_sum, fetch
from unetr.data.msd import Task
from unetr.errors import InputError
from unetr.files import as_input_error


def download_task(
    task: Task, folder: Path, listener: Listener, url: str | None = None, md5: str | None = None
) -> Path:
    """Brings `folder / task.name`, a data set in the decathlon's layout; at once if it is there.

    Stopped anywhere, a second call goes on. An archive `folder / "<task.name>.tar"` that somebody
    has put there is used instead of the network, and stays; what was downloaded is removed when it
    is unpacked.

    Args:
        url, md5: Of another archive with the same content; default: the public one.

    Raises:
        InputError: see `fetch`, `check_sum` and `unpack`.
    """
    to = folder / task.name
    if (to / "dataset.json").exists():
        listener.say(f"{to}: already there")
        return to
    if to.exists():
        raise InputError(f"{to}: is there, but holds no dataset.json; remove it or give --to")
    given, own = folder / f"{task.name}.tar", folder / f".{task.name}.tar"
    if given.exists():
        check_sum(given, md5 or task.md5, listener)
        unpack(given, to, listener)
        return to
    if not own.exists():
        # Unpacked, it takes its own size once more.
        fetch(url or task.url, own, md5 or task.md5, listener, spare=1.0)
    unpack(own, to, listener)
    own.unlink()
    return to


def unpack(archive: Path, to: Path, listener: Listener) -> None:
    """Unpacks the folder `to.name` of a tar file to `to`, whole or not at all.

    Members that would land elsewhere, links out of the folder and devices are refused (tarfile's
    data filter); macOS's `._` files are left out.

    Raises:
        InputError: no such archive, or it holds something else; the disk is full.
    """
    part = Path(tempfile.mkdtemp(prefix=".part-", dir=to.parent))
    try:
        with tarfile.open(archive) as tar:
            _extract(tar, archive.stat().st_size, part, listener)
        if not (part / to.name / "dataset.json").is_file():
            raise InputError(
                f"{archive}: holds no {to.name}/dataset.json; remove it and download it again, "
                "from another address"
            )
        (part / to.name).replace(to)
    except (tarfile.TarError, EOFError) as error:
        reason = str(error).splitlines()[0].rstrip(":")
        raise InputError(f"{archive}: cannot be unpacked ({reason}); remove it") from error
    except OSError as error:
        raise as_input_error(to, error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _extract(tar: tarfile.TarFile, total: int, to: Path, listener: Listener) -> None:
    for member in tar:
        if not Path(member.name).name.startswith("._"):
            tar.extract(member, to, filter="data")
        # A compressed archive is smaller than what lies in it.
        listener.moved("unpacking", min(member.offset_data + member.size, total), total)
