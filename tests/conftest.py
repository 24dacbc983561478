"""What all tests share: where real scans lie, and how hard hypothesis tries."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from unetr.cli import talk

# Where the tests run in the background, Ctrl-C is ignored, and would be by the processes that they
# start to interrupt them.
signal.signal(signal.SIGINT, signal.default_int_handler)

# torch and file work make single examples slow; a deadline would time the machine, not the code.
_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("quick", max_examples=50, **_COMMON)
settings.register_profile("ci", max_examples=500, **_COMMON)
settings.load_profile("quick")


@pytest.fixture(autouse=True)
def as_loud_as_usual(monkeypatch) -> None:
    """A command run by another test in this process may have been told to be quiet."""
    monkeypatch.setattr(talk, "_loudness", talk.Loudness.normal)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real scans named by UNETR_TEST_DATA; the test is skipped where it is unset."""
    folder = os.environ.get("UNETR_TEST_DATA")
    if not folder:
        pytest.skip("UNETR_TEST_DATA is not set")
    return Path(folder).resolve()
