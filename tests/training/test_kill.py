"""A run that is killed anywhere goes on from its last save, and ends as if nothing had been."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from unetr.training.state import load_state

SCRIPT = Path(__file__).with_name("killed_runs.py")
KILLS = 20


@pytest.mark.slow
def test_killed_twenty_times_it_ends_as_if_never(tmp_path):
    command = [sys.executable, str(SCRIPT), str(tmp_path), str(KILLS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    *kills, last, never = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(kills) == KILLS
    for kill in kills:
        assert 0 <= kill["reached"] - kill["resumed"] <= 2, kill
    assert len({kill["resumed"] for kill in kills}) > KILLS // 3
    assert last == never == {"status": 0}
    killed, whole = (load_state(tmp_path / name) for name in ("killed", "whole"))
    assert killed.step == whole.step == 40
    for name, value in whole.network.items():
        assert torch.equal(value, killed.network[name]), name
    assert not list((tmp_path / "killed").rglob(".part-*"))
