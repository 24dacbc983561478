"""Downloads from a server on this machine: whole, broken, continued, wrong, onto a full disk."""

import errno
import hashlib
import importlib.metadata
import io
import os
import re
import shutil
import tarfile
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unetr.data import download
from unetr.data.archive import cache_folder, download_task, unpack
from unetr.data.download import fetch, part_of, told_bytes
from unetr.data.msd import TASKS, Task, find_task
from unetr.errors import InputError

from .archive_server import Archive, served

CONTENT = np.random.default_rng(0).bytes(300_000)
MD5 = hashlib.md5(CONTENT).hexdigest()


class Told:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.last: dict[str, tuple[int, int | None]] = {}

    def say(self, line: str) -> None:
        self.lines.append(line)

    def moved(self, what: str, done: int, total: int | None) -> None:
        self.last[what] = (done, total)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_WAIT_S", 0.0)
    monkeypatch.setattr(download, "_CHUNK_BYTES", 10_000)


@pytest.fixture
def server() -> Iterator[Archive]:
    with served(Archive(CONTENT)) as archive:
        yield archive


@pytest.fixture
def told() -> Told:
    return Told()


def test_the_whole_arrives(server: Archive, tmp_path: Path, told: Told) -> None:
    to = tmp_path / "new" / "archive.tar"
    fetch(server.url, to, MD5.upper(), told)
    assert to.read_bytes() == CONTENT
    assert list(to.parent.iterdir()) == [to]
    assert server.asked == [None]
    assert told.last == {"downloading": (300_000, 300_000), "checking": (300_000, 300_000)}
    assert told.lines == []


def test_a_broken_connection_is_taken_up_where_it_broke(
    server: Archive, tmp_path: Path, told: Told
) -> None:
    server.breaks = [100_000, 50_000]
    fetch(server.url, tmp_path / "a.tar", MD5, told)
    assert (tmp_path / "a.tar").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-", "bytes=150000-"]
    assert [line.partition(" of ")[0] for line in told.lines] == [
        "the connection broke after 100 kB",
        "the connection broke after 150 kB",
    ]


def test_what_an_earlier_call_left_is_not_asked_for_again(
    server: Archive, tmp_path: Path, told: Told
) -> None:
    part_of(tmp_path / "a.tar").write_bytes(CONTENT[:123_456])
    fetch(server.url, tmp_path / "a.tar", MD5, told)
    assert (tmp_path / "a.tar").read_bytes() == CONTENT
    assert server.asked == ["bytes=123456-"]


def test_a_complete_part_is_only_checked(server: Archive, tmp_path: Path, told: Told) -> None:
    part_of(tmp_path / "a.tar").write_bytes(CONTENT)
    fetch(server.url, tmp_path / "a.tar", MD5, told)
    assert (tmp_path / "a.tar").read_bytes() == CONTENT
    assert list(told.last) == ["checking"]


def test_a_part_longer_than_the_archive_is_replaced(
    server: Archive, tmp_path: Path, told: Told
) -> None:
    part_of(tmp_path / "a.tar").write_bytes(CONTENT + b"more")
    fetch(server.url, tmp_path / "a.tar", MD5, told)
    assert (tmp_path / "a.tar").read_bytes() == CONTENT
    assert server.asked == ["bytes=300004-", None]


@pytest.mark.parametrize("tells_length", [True, False])
def test_a_server_without_ranges_begins_again(
    server: Archive, tmp_path: Path, told: Told, tells_length: bool
) -> None:
    server.ranges, server.tells_length = False, tells_length
    part_of(tmp_path / "a.tar").write_bytes(CONTENT[:123_456])
    fetch(server.url, tmp_path / "a.tar", MD5, told)
    assert (tmp_path / "a.tar").read_bytes() == CONTENT
    assert told.lines == ["the server cannot continue a download, so it begins again"]


def test_a_connection_that_brings_nothing_is_given_up_and_can_go_on(
    server: Archive, tmp_path: Path, told: Told
) -> None:
    server.breaks = [100_000, 0, 0, 0, 0, 0, 0]
    with pytest.raises(InputError, match=r"broke after 100 kB of 300 kB; .* the 100 kB that"):
        fetch(server.url, tmp_path / "a.tar", MD5, told)
    assert len(server.asked) == 5
    assert not (tmp_path / "a.tar").exists()
    server.breaks = []
    fetch(server.url, tmp_path / "a.tar", MD5, told)
    assert server.asked[-1] == "bytes=100000-"
    assert (tmp_path / "a.tar").read_bytes() == CONTENT


def test_an_overloaded_server_is_asked_again_and_a_missing_file_is_not(
    server: Archive, tmp_path: Path, told: Told
) -> None:
    server.refusals = [503, 500]
    fetch(server.url, tmp_path / "a.tar", MD5, told)
    assert (tmp_path / "a.tar").read_bytes() == CONTENT
    server.refusals, server.asked = [404], []
    with pytest.raises(InputError, match=r"archive.tar: the server answers 404 Not Found; give"):
        fetch(server.url, tmp_path / "b.tar", MD5, told)
    assert len(server.asked) == 1


def test_no_server_is_one_line(tmp_path: Path, told: Told) -> None:
    with served(Archive(b"")) as gone:
        pass
    with pytest.raises(InputError, match=r"no connection \(.*refused.*--from") as caught:
        fetch(gone.url, tmp_path / "a.tar", MD5, told)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="not an address of the web"):
        fetch("file:///etc/passwd", tmp_path / "a.tar", MD5, told)


def test_another_sum_is_told_and_nothing_is_left(
    server: Archive, tmp_path: Path, told: Told
) -> None:
    with pytest.raises(InputError, match=rf"MD5 {MD5} where {'0' * 32} is expected"):
        fetch(server.url, tmp_path / "a.tar", "0" * 32, told)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's always full device")
def test_a_full_disk_is_one_line(server: Archive, tmp_path: Path, told: Told) -> None:
    part = part_of(tmp_path / "a.tar")
    part.symlink_to("/dev/full")
    with pytest.raises(InputError, match=r"a.tar.part: the disk is full; free some space"):
        fetch(server.url, tmp_path / "a.tar", MD5, told)
    assert not (tmp_path / "a.tar").exists()


def test_too_little_room_is_seen_before_the_first_byte(
    server: Archive, tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 0, 599_999))
    with pytest.raises(InputError, match=r"600 kB must be free .* 300 kB .* but 600 kB are"):
        fetch(server.url, tmp_path / "a.tar", MD5, told, spare=1.0)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 0, 600_000))
    fetch(server.url, tmp_path / "a.tar", MD5, told, spare=1.0)


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
        assert [path.name for path in tmp_path.iterdir()] == ["Task09_Spleen.tar"]
        # What is here is not fetched again.
        download_task(task, tmp_path, told, server.url)
        assert len(server.asked) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["Task09_Spleen"]


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


def test_sizes_are_told_in_units() -> None:
    assert [told_bytes(n) for n in (17, 300_000, 27_100_000, 1_610_000_000)] == [
        "17 bytes",
        "300 kB",
        "27.1 MB",
        "1.61 GB",
    ]
