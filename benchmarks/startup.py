"""How long `unetr --help` and `unetr info` take, beside an interpreter that does nothing.

Processes in turn (A B C A B C), so that all meet the same disturbances; medians and least values.

    python benchmarks/startup.py [--rounds 20]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMITS_S = {"unetr --help": 0.3, "unetr info": 1.0}


def write_model(path: Path) -> None:
    """A model file with the paper's network for BTCV, 371 MB, and random weights."""
    from unetr.checkpoint import Model, save_model
    from unetr.data.plan import Label, Normalisation, Plan
    from unetr.model import UNETR

    plan = Plan(
        channels=("CT",),
        labels=tuple(Label(id=n, name=f"organ {n}" if n else "background") for n in range(14)),
        spacing_mm=(1.0, 1.0, 1.0),
        patch_voxels=(96, 96, 96),
        normalisation=(Normalisation(kind="range", low=-1000.0, high=1000.0),),
    )
    save_model(path, Model(UNETR(1, 14, 96), plan))


def seconds(command: list[str]) -> float:
    """Of one process."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    unetr = str(Path(sys.executable).parent / "unetr")
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.safetensors"
        write_model(model)
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "unetr --help": [unetr, "--help"],
            "unetr info": [unetr, "info", str(model)],
        }
        taken: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(rounds + 1):
            for name, command in commands.items():
                taken[name].append(seconds(command))
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, {rounds} rounds, seconds")
    print(f"{'command':<16} {'median':>7} {'least':>7} {'limit':>6}")
    for name, all_of_them in taken.items():
        warm = all_of_them[1:]  # the first fills the disk's cache
        limit = LIMITS_S.get(name)
        print(
            f"{name:<16} {statistics.median(warm):>7.3f} {min(warm):>7.3f} "
            f"{'' if limit is None else limit:>6}"
        )


if __name__ == "__main__":
    main()
