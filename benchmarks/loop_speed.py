"""The training loop's speed on real scans, against another state of this repository.

The recipe `auto` on the hippocampi as a user starts it, with data, augmentation and all, until it
has made some steps; this checkout and `--against` in turn: a git revision, by default the one
before the loop's speed was worked on. Samples per second are the run's own, from its history.jsonl;
the first steps are left out.

    python benchmarks/loop_speed.py [--against REVISION] [--steps 150] [--rounds 2]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
FIRST = 50
BEFORE = "c3f2109"


def samples_per_s(checkout: Path, run: Path, steps: int) -> float:
    """Of the steps after the first ones; the run is killed then."""
    data = Path(os.environ["UNETR_TEST_DATA"]) / "hippocampus"
    words = ["train", str(data), "-o", str(run), "--recipe", "auto", "--fold", "0", "--quiet"]
    code = "import sys; from unetr.cli.main import run; sys.exit(run(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *words, "--set", "training.log_steps=10"]
    environment = os.environ | {"PYTHONPATH": str(checkout / "src")}
    found: dict[int, float] = {}
    with subprocess.Popen(command, env=environment) as process:
        while process.poll() is None and max(found, default=0) < steps:
            time.sleep(0.5)
            if (run / "history.jsonl").exists():
                # The last line may be half written.
                lines = (run / "history.jsonl").read_text().split("\n")[:-1]
                kept = [line for text in lines if "loss" in (line := json.loads(text))]
                found = {line["step"]: line["samples_per_s"] for line in kept}
        process.kill()
    if max(found, default=0) < steps:
        sys.exit(f"{checkout}: the run ended before step {steps}")
    return statistics.median(speed for step, speed in found.items() if FIRST < step <= steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", default=BEFORE, metavar="REVISION")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        other = Path(temporary) / "other"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "-q", "--detach", str(other), arguments.against], check=True)
        try:
            speeds: dict[str, list[float]] = {"this": [], arguments.against: []}
            for number in range(arguments.rounds):
                for name, checkout in zip(speeds, (ROOT, other), strict=True):
                    run = Path(temporary) / f"run-{number}-{checkout.name}"
                    speeds[name].append(samples_per_s(checkout, run, arguments.steps))
        finally:
            subprocess.run([*git, "remove", "--force", str(other)], check=True)
    own, before = (statistics.median(each) for each in speeds.values())
    print("| checkout | samples/s |\n|---|---|")
    print(f"| this | {own:.1f} |\n| {arguments.against} | {before:.1f} |")
    print(f"| ratio | {own / before:.2f} |")


if __name__ == "__main__":
    main()
