"""Downloaded tasks: found by name, unpacked, checked."""

import errno
import hashlib
import importlib.metadata
import io
import os
import re
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

from unetr.data.archive import download_task, unpack
from unetr.data.msd import TASKS, Task, find_task
from unetr.errors import InputError
from unetr.files import cache_folder

from .archive_server import Archive, Told, served

pytestmark = pytest.mark.usefixtures("at_once")


def tar_of(members: dict[str, bytes], *, link: tuple[str, str] | None = None) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        if link:
            member = tarfile.TarInfo(link[0])
            member.type, member.linkname = tarfile.SYMTYPE, link[1]
            tar.addfile(member)
    return file.getvalue()


SPLEEN = {
    "Task09_Spleen/dataset.json": b"{}",
    "Task09_Spleen/._dataset.json": b"macOS",
    "Task09_Spleen/imagesTr/spleen_2.nii.gz": b"scan",
}


@pytest.fixture
def task() -> Task:
    return Task("Task09_Spleen", hashlib.md5(tar_of(SPLEEN)).hexdigest(), "spleen, CT")


def test_a_task_is_unpacked_and_its_archive_removed(tmp_path: Path, told: Told, task: Task) -> None:
    with served(Archive(tar_of(SPLEEN))) as server:
        found = download_task(task, tmp_path, told, server.url)
        assert found == tmp_path / "Task09_Spleen"
        assert list(tmp_path.iterdir()) == [found]
        files = sorted(path.relative_to(tmp_path).as_posix() for path in found.rglob("*.*"))
        assert files == sorted(name for name in SPLEEN if "._" not in name)
        assert (found / "imagesTr" / "spleen_2.nii.gz").read_bytes() == b"scan"
        # The umask's rights, not those of a private temporary folder.
        assert found.stat().st_mode & 0o777 == 0o777 & ~_umask()
        assert download_task(task, tmp_path, told, server.url) == found
        assert told.lines == [f"{found}: already there"]
        assert len(server.asked) == 1


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (tar_of({"../escaped.txt": b"x"}), "cannot be unpacked"),
        (tar_of(SPLEEN, link=("Task09_Spleen/link", "/etc/passwd")), "cannot be unpacked"),
        (tar_of({"Other/dataset.json": b"{}"}), "holds no Task09_Spleen/dataset.json"),
        (b"no archive at all", "cannot be unpacked"),
        (tar_of(SPLEEN)[:700], "cannot be unpacked"),
    ],
)
def test_what_is_no_such_archive_leaves_nothing(
    content: bytes, said: str, tmp_path: Path, told: Told
) -> None:
    archive = tmp_path / "folder" / "a.tar"
    archive.parent.mkdir()
    archive.write_bytes(content)
    with pytest.raises(InputError, match=said) as caught:
        unpack(archive, archive.parent / "Task09_Spleen", told)
    assert "\n" not in str(caught.value)
    assert list(archive.parent.iterdir()) == [archive]
    assert list(tmp_path.iterdir()) == [archive.parent]


def test_a_disk_that_fills_while_unpacking_leaves_the_archive_alone(
    tmp_path: Path, told: Told, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with served(Archive(tar_of(SPLEEN))) as server:
        with monkeypatch.context() as patch:
            patch.setattr(tarfile, "copyfileobj", full)
            with pytest.raises(InputError, match="Task09_Spleen: the disk is full"):
                download_task(task, tmp_path, told, server.url)
        assert [path.name for path in tmp_path.iterdir()] == [".Task09_Spleen.tar"]
        # What is here is not fetched again.
        download_task(task, tmp_path, told, server.url)
        assert len(server.asked) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["Task09_Spleen"]


def test_an_archive_that_was_there_is_checked_and_stays(
    tmp_path: Path, told: Told, task: Task
) -> None:
    archive = tmp_path / "Task09_Spleen.tar"
    archive.write_bytes(tar_of(SPLEEN))
    assert (download_task(task, tmp_path, told) / "dataset.json").exists()
    assert archive.exists()
    archive.write_bytes(tar_of(SPLEEN | {"Task09_Spleen/other": b""}))
    shutil.rmtree(tmp_path / "Task09_Spleen")
    with pytest.raises(InputError, match=r"Task09_Spleen.tar: MD5 .* where .*, or give .* --md5"):
        download_task(task, tmp_path, told)
    assert list(tmp_path.iterdir()) == [archive]


def test_a_folder_of_that_name_is_not_touched(tmp_path: Path, told: Told, task: Task) -> None:
    (tmp_path / task.name).mkdir()
    with pytest.raises(InputError, match=r"holds no dataset.json; remove it or give --to"):
        download_task(task, tmp_path, told)


@pytest.mark.parametrize("name", ["Task09_Spleen", "task09_spleen", "Task09", "spleen", "9", "09"])
def test_a_task_has_many_names(name: str) -> None:
    assert find_task(name) == TASKS[8]
    assert find_task(name).url.endswith(".amazonaws.com/Task09_Spleen.tar")


def test_an_unknown_name_lists_the_near_ones() -> None:
    with pytest.raises(InputError, match=r"splen: no task .*; near are Task09_Spleen$"):
        find_task("splen")
    with pytest.raises(InputError, match=r"known are Task01_BrainTumour, .*, Task10_Colon$"):
        find_task("zzzz")


def test_the_tasks_are_those_that_monai_names() -> None:
    # Its text: to import it takes seconds.
    source = importlib.metadata.distribution("monai").locate_file("monai/apps/datasets.py")
    text = Path(str(source)).read_text()
    assert re.findall(r'"(Task\d\d_\w+)": "(https[^"]+)"', text) == [(t.name, t.url) for t in TASKS]
    assert re.findall(r'"(Task\d\d_\w+)": "(\w{32})"', text) == [(t.name, t.md5) for t in TASKS]


def test_the_cache_is_where_the_system_keeps_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/unetr")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "unetr"
