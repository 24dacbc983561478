"""Sides of a comparison, each a process of its own that computes when told to.

Peaks and what an allocator keeps do not mix then, and only one side computes at a time.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path


class Side:
    """A process that answers each question with numbers.

    Args:
        script: With `words` it must come to `answer`.
        environment: On top of this process's.
    """

    def __init__(
        self, script: str, words: Sequence[str], threads: int, environment: dict[str, str]
    ) -> None:
        own = {"OMP_NUM_THREADS": str(threads), **environment}
        self._process = subprocess.Popen(
            [sys.executable, script, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | own,
        )
        self.ready = self._answer()

    def compute(self) -> tuple[float, ...]:
        """What it computes is up to its `answer`."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> tuple[float, ...]:
        assert self._process.stdout is not None
        if not (line := self._process.stdout.readline()):
            sys.exit("one of the sides failed")
        return tuple(map(float, line.split()))

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def peak_gb() -> float:
    """The most that this process has held since its start or the last reset; unlike getrusage's
    not at least what the process that started it has held."""
    status = Path("/proc/self/status").read_text()
    return float(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e9


def answer(ready: Sequence[float], compute: Callable[[], Sequence[float]]) -> None:
    """The other end: says that it is ready, then computes once per line that comes in."""
    print(*ready, flush=True)
    for _ in sys.stdin:
        print(*compute(), flush=True)
