"""Two processes do what one does, and the death of one is told."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from unetr.data.dataset import open_dataset
from unetr.errors import InputError
from unetr.training.distributed import Processes
from unetr.training.history import read_history
from unetr.training.state import load_state

from .beside import beside

SCRIPT = Path(__file__).with_name("ranks.py")


def run(processes: int, *arguments):
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    if processes > 1:
        command[1:1] = [
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc-per-node={processes}",
        ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)


def losses(done) -> list[float]:
    return [float(line.split()[1]) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one(tmp_path):
    one, two = run(1, tmp_path / "one"), run(2, tmp_path / "two")
    assert one.returncode == two.returncode == 0, two.stderr
    assert len(losses(one)) == 5
    assert losses(two) == pytest.approx(losses(one), abs=1e-5)
    assert losses(one)[0] != pytest.approx(losses(one)[4], abs=1e-3)
    states = [load_state(tmp_path / name) for name in ("one", "two")]
    for name, value in states[0].network.items():
        # Adam makes steps of one size of gradients that are nothing but rounding, here and there.
        assert (value - states[1].network[name]).norm() < 0.03 * value.norm(), name
    # One writer: every step is in the history once.
    steps = [line["step"] for line in read_history(tmp_path / "two") if "loss" in line]
    assert steps == [1, 2, 3, 4, 5]


@pytest.mark.slow
def test_a_killed_process_ends_the_run_which_resumes(tmp_path):
    killed = run(2, tmp_path / "run", 3)
    assert killed.returncode != 0
    assert "another process of the run is gone; start all of them again" in killed.stderr
    assert load_state(tmp_path / "run").step in (2, 3)
    resumed = run(2, tmp_path / "run")
    assert resumed.returncode == 0, resumed.stderr
    assert load_state(tmp_path / "run").step == 5
    steps = [line["step"] for line in read_history(tmp_path / "run") if "loss" in line]
    assert steps == [1, 2, 3, 4, 5]


def test_bad_input_in_one_process_ends_all():
    def fails():
        raise InputError("scan: damaged")

    done = []
    beside(None).each(lambda: done.append(1))
    with pytest.raises(InputError, match="scan: damaged"):
        beside(None).each(fails)
    with pytest.raises(InputError, match="other scan: damaged"):
        beside(InputError("other scan: damaged")).each(lambda: done.append(2))
    assert done == [1, 2]


def test_alone_everything_is_ones_own():
    alone = Processes()
    assert alone.writes
    assert alone.agree([0.5]) == alone.mean([0.5]) == [0.5]
    assert alone.gather("a") == ["a"]
    with pytest.raises(InputError, match="no such folder"):
        alone.each(lambda: open_dataset(Path("none")))
    assert alone.lead(lambda: "b") == alone.first("b") == "b"
