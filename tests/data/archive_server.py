"""A web server on this machine that serves one archive, as well or as badly as a test asks."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Archive:
    """What is served, and how.

    Attributes:
        ranges: Whether it can begin anywhere.
        breaks: For each coming answer, after how many bytes the connection breaks.
        refusals: For each coming request, the status it is refused with.
        asked: The Range header of each request.
    """

    content: bytes
    ranges: bool = True
    tells_length: bool = True
    breaks: list[int] = field(default_factory=list)
    refusals: list[int] = field(default_factory=list)
    asked: list[str | None] = field(default_factory=list)
    url: str = ""


@contextmanager
def served(archive: Archive) -> Iterator[Archive]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self, archive)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
    archive.url = f"http://127.0.0.1:{server.server_port}/archive.tar"
    try:
        yield archive
    finally:
        server.shutdown()
        server.server_close()


def answer(request: BaseHTTPRequestHandler, archive: Archive) -> None:
    asked = request.headers.get("Range")
    archive.asked.append(asked)
    if archive.refusals:
        request.send_error(archive.refusals.pop(0))
        return
    total = len(archive.content)
    start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and archive.ranges else 0
    if start >= total:
        request.send_response(416)
        request.send_header("Content-Range", f"bytes */{total}")
        request.end_headers()
        return
    request.send_response(206 if start else 200)
    if start:
        request.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
    if archive.tells_length:
        request.send_header("Content-Length", str(total - start))
    request.end_headers()
    stop = start + archive.breaks.pop(0) if archive.breaks else total
    request.wfile.write(archive.content[start:stop])
    request.close_connection = True


class Told:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.last: dict[str, tuple[int, int | None]] = {}

    def say(self, line: str) -> None:
        self.lines.append(line)

    def moved(self, what: str, done: int, total: int | None) -> None:
        self.last[what] = (done, total)
