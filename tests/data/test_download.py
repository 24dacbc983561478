"""Downloads from a server on this machine: whole, broken, continued, wrong, onto a full disk."""

import fcntl
import hashlib
import shutil
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from unetr.data.download import fetch, part_of
from unetr.errors import InputError

from .archive_server import Archive, Told, served

pytestmark = pytest.mark.usefixtures("at_once")

CONTENT = np.random.default_rng(0).bytes(300_000)
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def server() -> Iterator[Archive]:
    with served(Archive(CONTENT)) as archive:
        yield archive


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


def test_two_downloads_of_one_file_do_not_meet(server: Archive, tmp_path: Path, told: Told) -> None:
    part = part_of(tmp_path / "a.tar")
    with part.open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(InputError, match=r"a\.tar\.part: is being downloaded by another"):
            fetch(server.url, tmp_path / "a.tar", MD5, told)
    assert server.asked == []
    fetch(server.url, tmp_path / "a.tar", MD5, told)
    assert (tmp_path / "a.tar").read_bytes() == CONTENT


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
