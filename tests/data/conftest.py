"""What tests of downloads share."""

import pytest

from unetr.data import download

from .archive_server import Told


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting before another attempt, and small pieces."""
    monkeypatch.setattr(download, "_WAIT_S", 0.0)
    monkeypatch.setattr(download, "_CHUNK_BYTES", 10_000)


@pytest.fixture
def told() -> Told:
    return Told()
