"""The command line within this process."""

from collections.abc import Callable

import pytest

from unetr.cli.main import run


@pytest.fixture
def unetr(capsys, monkeypatch) -> Callable[..., tuple[int, str, str]]:
    """Exit code, stdout and stderr of `unetr` with these words, in 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")

    def call(*words: object) -> tuple[int, str, str]:
        code = run([str(word) for word in words])
        output = capsys.readouterr()
        return code, output.out, output.err

    return call
