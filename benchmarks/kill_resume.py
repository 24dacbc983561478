"""Training on real scans, killed (SIGKILL) at 20 random moments and started again.

Half of the moments are any time from the command's start to some steps on, so that preparing is
hit too; the other half come some steps later, be it in a step, in saving or in validating. After
each kill the saved state must load, and must not lie further behind the last step told than the
interval between two saves. The last start is left to end, and must give every weight, moment and
average of a run that was never killed, bit for bit.

    UNETR_TEST_DATA=... python benchmarks/kill_resume.py [--kills 20] [--steps 150]
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

SAVE_STEPS = 4
CASES = 10
SETTINGS = (
    f"training.save_steps={SAVE_STEPS}", "training.log_steps=1", "validation.times=3",
    "network.hidden_size=64", "network.mlp_dim=128", "network.num_heads=4", "network.num_layers=4",
    "network.feature_size=8", "training.precision=fp32",
)  # fmt: skip


def lay_out(source: Path, data: Path) -> None:
    """A data set of some of the hippocampi, by links."""
    description = json.loads((source / "dataset.json").read_text())
    description["training"] = description["training"][:CASES]
    description["test"], description["numTraining"] = [], CASES
    data.mkdir()
    (data / "dataset.json").write_text(json.dumps(description))
    for folder in ("imagesTr", "labelsTr"):
        (data / folder).symlink_to((source / folder).resolve())


class Run:
    """The command, and what it has told so far."""

    def __init__(self, data: Path, folder: Path, steps: int) -> None:
        words = ["train", str(data), "-o", str(folder), "--resume", "--max-steps", str(steps)]
        for setting in SETTINGS:
            words += ["--set", setting]
        command = [sys.executable, "-c", "from unetr.cli.main import main; main()", *words]
        self.step = 0
        self.began, self.first_s = time.monotonic(), 0.0
        self.told: list[str] = []
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.told.append(line.rstrip())
            if line.startswith("step "):
                self.step = int(line[5:].split(",")[0])
                self.first_s = self.first_s or time.monotonic() - self.began

    def end(self) -> int:
        code = self.process.wait()
        self._reader.join()
        return code


def saved_step(folder: Path) -> int:
    """Of the state that the next start resumes from; 0 where none was saved yet."""
    from unetr.training.state import load_state, state_path

    return load_state(folder).step if state_path(folder).exists() else 0


def kill(run: Run, dice: random.Random, some_s: float) -> str:
    """Kills the run at a random moment, and says which."""
    began = time.monotonic()
    if dice.random() < 0.5:
        moment = dice.uniform(0, some_s)
        while time.monotonic() - began < moment and run.process.poll() is None:
            time.sleep(0.01)
        what = "any time"
    else:
        more = dice.randrange(1, 2 * SAVE_STEPS)
        start = None
        while run.process.poll() is None:
            start = run.step if start is None and run.step else start
            if start is not None and run.step >= start + more:
                break
            time.sleep(0.002)
        time.sleep(dice.uniform(0, 0.2))
        what = f"{more} steps on"
    run.process.kill()
    return f"{what}, after {time.monotonic() - began:.1f} s"


def same(a: Path, b: Path) -> bool:
    """Whether two states agree bit for bit in weights, averages and moments."""
    import torch

    from unetr.training.state import load_state

    one, two = load_state(a), load_state(b)
    pairs = [(one.network[name], two.network[name]) for name in one.network]
    pairs += list(zip(one.ema, two.ema, strict=True))
    for key, moments in one.optimizer["state"].items():
        pairs += [(value, two.optimizer["state"][key][name]) for name, value in moments.items()]
    return one.step == two.step and all(torch.equal(x, y) for x, y in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=150)
    arguments = parser.parse_args()
    if not (found := os.environ.get("UNETR_TEST_DATA")):
        sys.exit("UNETR_TEST_DATA is not set")
    dice = random.Random(0)
    with tempfile.TemporaryDirectory() as name:
        data, whole, killed = (Path(name) / each for each in ("data", "whole", "killed"))
        lay_out(Path(found) / "hippocampus", data)
        never = Run(data, whole, arguments.steps)
        if never.end():
            sys.exit("the run that is never killed failed")
        whole_s = time.monotonic() - never.began
        step_s = (whole_s - never.first_s) / arguments.steps
        print(f"never killed: {arguments.steps} steps in {whole_s:.0f} s\n")
        print("| kill | moment | last step told | saved step | lost |")
        print("|---|---|---|---|---|", flush=True)
        worst = done = 0
        for number in range(1, arguments.kills + 1):
            run = Run(data, killed, arguments.steps)
            moment = kill(run, dice, never.first_s + 2 * SAVE_STEPS * step_s)
            code = run.end()
            if code not in (0, -9):
                sys.exit("\n".join(["resuming failed:", *run.told[-5:]]))
            done += code == 0
            saved = saved_step(killed)
            told = run.step or saved
            worst = max(worst, told - saved)
            print(f"| {number} | {moment} | {told} | {saved} | {told - saved} |", flush=True)
        if code := Run(data, killed, arguments.steps).end():
            sys.exit(f"the last start ended with {code}")
        print(
            f"\nmost steps lost: {worst}, saved every {SAVE_STEPS}; ended before its kill: {done}"
        )
        if worst > SAVE_STEPS:
            sys.exit("more was lost than lies between two saves")
        if not same(whole, killed):
            sys.exit("the weights differ from those of the run that was never killed")
        print("weights, moments and averages equal those of the run never killed, bit for bit")


if __name__ == "__main__":
    main()
