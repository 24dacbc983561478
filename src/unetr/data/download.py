"""Large archives from the network: continued where a connection broke, and checked."""

import errno
import fcntl
import hashlib
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Protocol, runtime_checkable
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from unetr.errors import InputError
from unetr.files import as_input_error
from unetr.machine import told_bytes

_CHUNK_BYTES = 1 << 20
_TIMEOUT_S = 60.0
# So often in a row without a byte gained, waiting 1, 2, 4 seconds between.
_ATTEMPTS = 4
_WAIT_S = 1.0


@runtime_checkable
class Listener(Protocol):
    """Whoever watches a download."""

    def say(self, line: str) -> None:
        """One line for the user."""

    def moved(self, what: str, done: int, total: int | None) -> None:
        """So many bytes of `total`, where that is known, are done."""


class _BrokenError(Exception):
    """The transfer ended early, and may go on."""


def part_of(path: Path) -> Path:
    """Where `fetch` keeps what it has of `path`."""
    return path.with_name(path.name + ".part")


def fetch(url: str, path: Path, md5: str, listener: Listener, spare: float = 0.0) -> None:
    """Downloads `url` to `path`, on from what an earlier call left, and checks its sum.

    Args:
        md5: In base 16; what does not sum to it is removed.
        spare: Of the archive's size, what must be free on the disk beside it.

    Raises:
        InputError: no such address, no connection, too little room, a full disk, another sum.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise InputError(f"{url}: not an address of the web; give one that starts with https://")
    part = part_of(path)
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        with _alone(part):
            _fetch(url, part, md5, listener, spare)
            part.replace(path)
    except OSError as error:
        raise as_input_error(part, error) from error


@contextmanager
def _alone(part: Path) -> Iterator[None]:
    """Raises InputError where another process is writing the same file."""
    with part.open("ab") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise InputError(
                    f"{part}: is being downloaded by another process; wait for it"
                ) from None
            # A file system without locks.
        try:
            yield
        finally:
            if part.exists() and not _size(part):
                part.unlink()


def _fetch(url: str, part: Path, md5: str, listener: Listener, spare: float) -> None:
    """To the last byte and checked, still under the name of a part."""
    most, failures = _size(part), 0
    while True:
        try:
            _transfer(url, part, spare, listener)
            break
        except _BrokenError as broken:
            have = _size(part)
            failures = 0 if have > most else failures + 1
            most = max(most, have)
            if failures >= _ATTEMPTS:
                raise InputError(
                    f"{url}: {broken}; the same command goes on from the {told_bytes(have)} that "
                    f"are here, or give another address with --from"
                ) from None
            listener.say(f"{broken}; trying again")
            time.sleep(_WAIT_S * 2 ** max(failures - 1, 0))
    if (found := _md5(part, listener)) != md5.lower():
        part.unlink()
        raise InputError(
            f"{url}: MD5 {found} where {md5} is expected; the file is removed: "
            "download it again, or give another address with --from"
        )


def _transfer(url: str, part: Path, spare: float, listener: Listener) -> None:
    """One connection: from the first byte that is missing to the last."""
    have = _size(part)
    response = _opened(url, have)
    if response is None:
        return
    with response:
        start, total = _span(response, have)
        if have and not start:
            listener.say("the server cannot continue a download, so it begins again")
        if total is not None:
            _check_room(part, total, total - start + int(spare * total))
        done = start
        # as_input_error is for the disk alone: what fails in the network arrives as _BrokenError.
        try:
            with part.open("ab" if start else "wb") as file:
                for chunk in _chunks(response):
                    file.write(chunk)
                    done += len(chunk)
                    listener.moved("downloading", done, total)
        except OSError as error:
            raise as_input_error(part, error) from error
    if total is not None and done < total:
        raise _BrokenError(f"the connection broke after {told_bytes(done)} of {told_bytes(total)}")


def _opened(url: str, have: int) -> HTTPResponse | None:
    """The server's answer to a request for the bytes from `have`; None if these are all.

    Raises:
        InputError: it refuses for good.
        _BrokenError: it may answer another time.
    """
    headers = {"Accept-Encoding": "identity", "User-Agent": "unetr"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        response: HTTPResponse = urlopen(Request(url, headers=headers), timeout=_TIMEOUT_S)
    except HTTPError as error:
        error.close()
        if error.code == 416 and _size_told(error.headers.get("Content-Range")) == have:
            return None
        if error.code == 416:
            # More is here than there is: of another archive. Ask for the whole.
            return _opened(url, 0)
        if error.code >= 500 or error.code in (408, 429):
            raise _BrokenError(f"the server answers {error.code} {error.reason}") from None
        raise InputError(
            f"{url}: the server answers {error.code} {error.reason}; give another address with "
            "--from"
        ) from None
    except (OSError, HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) else error
        raise _BrokenError(f"no connection ({reason})") from None
    return response


def _span(response: HTTPResponse, have: int) -> tuple[int, int | None]:
    """The first byte that the answer brings, and how many the whole has, if it says so."""
    told = response.headers.get("Content-Range") or ""
    if response.status == 206 and told.startswith(f"bytes {have}-"):
        return have, _size_told(told)
    length = response.headers.get("Content-Length")
    return 0, int(length) if length else None


def _size_told(content_range: str | None) -> int | None:
    """1000 for `bytes 200-999/1000` and `bytes */1000`."""
    match = re.search(r"/(\d+)$", content_range or "")
    return int(match[1]) if match else None


def _chunks(response: HTTPResponse) -> Iterator[bytes]:
    try:
        while chunk := response.read(_CHUNK_BYTES):
            yield chunk
    except (OSError, HTTPException) as error:
        raise _BrokenError(f"the connection broke ({error or type(error).__name__})") from None


def _check_room(part: Path, total: int, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if free < needed:
        raise InputError(
            f"{part.parent}: {told_bytes(needed)} must be free for an archive of "
            f"{told_bytes(total)} and what is in it, but {told_bytes(free)} are; free some space "
            "or give another folder with --to"
        )


def check_sum(archive: Path, md5: str, listener: Listener) -> None:
    """Compares the sum of an archive that was not downloaded here.

    Raises:
        InputError: it has another.
    """
    if (found := _md5(archive, listener)) != md5.lower():
        raise InputError(
            f"{archive}: MD5 {found} where {md5} is expected; move it away to download the "
            "archive, or give the sum of this one with --md5"
        )


def _md5(path: Path, listener: Listener) -> str:
    total, done = path.stat().st_size, 0
    found = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            found.update(chunk)
            done += len(chunk)
            listener.moved("checking", done, total)
    return found.hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
