"""The state on disk, and the signals that ask for it."""

import subprocess
import sys

import pytest
import torch

from unetr.errors import InputError
from unetr.training.state import State, load_state, save_state


def state(step):
    return State(step, 1.0, 0, -1.0, {"weight": torch.ones(3)}, {})


@pytest.mark.parametrize(
    "told",
    [
        "PytorchStreamWriter failed writing file data/0: file write failed",
        "[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0",
    ],
)
def test_full_disk_is_one_line_and_the_old_state_stays(tmp_path, monkeypatch, told):
    def full(content, path):
        path.write_bytes(b"half")
        raise RuntimeError(told)

    save_state(tmp_path, state(1))
    with monkeypatch.context() as patched:
        patched.setattr("unetr.training.state.torch.save", full)
        with pytest.raises(
            InputError, match=r"state\.pt: cannot be written.*disk is full"
        ) as caught:
            save_state(tmp_path, state(2))
    assert "\n" not in str(caught.value)
    assert load_state(tmp_path).step == 1
    assert [path.name for path in (tmp_path / "last").iterdir()] == ["state.pt"]


def test_a_state_that_is_none_is_told_in_one_line(tmp_path):
    save_state(tmp_path, state(1))
    (tmp_path / "last" / "state.pt").write_bytes(bytes(1000))
    with pytest.raises(InputError, match=r"state\.pt: not a whole state.*--overwrite$") as caught:
        load_state(tmp_path)
    assert "\n" not in str(caught.value)


def test_other_failures_are_not_taken_for_a_full_disk(tmp_path, monkeypatch):
    def broken(content, path):
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr("unetr.training.state.torch.save", broken)
    with pytest.raises(RuntimeError, match="CUDA error"):
        save_state(tmp_path, state(1))


SIGNALLED = """
import os, signal
from unetr.training.state import stop_on_signals

def send(number):
    os.kill(os.getpid(), number)

with stop_on_signals() as stop:
    {body}
"""


def signalled(body: str) -> None:
    """In a process of its own: who is signalled here may be a worker of the tests."""
    code = SIGNALLED.format(body=body.replace("\n", "\n    "))
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_sigterm_may_come_again_and_again():
    signalled(
        "for _ in range(3): send(signal.SIGTERM)\n"
        "assert (stop.requested, stop.signal) == (True, signal.SIGTERM)\n"
        # Ctrl-C after it is a first one, too.
        "send(signal.SIGINT)\n"
        "assert stop.signal == signal.SIGTERM"
    )


def test_a_second_ctrl_c_interrupts_at_once():
    signalled(
        "send(signal.SIGINT)\n"
        "assert (stop.requested, stop.signal) == (True, signal.SIGINT)\n"
        "send(signal.SIGTERM)\n"
        "try: send(signal.SIGINT)\n"
        "except KeyboardInterrupt: pass\n"
        "else: raise AssertionError('not interrupted')"
    )
