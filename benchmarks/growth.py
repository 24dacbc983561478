"""How time and memory of a prediction grow with the length of the scan.

Scans of 512 x 512 voxels (0.8 mm) and 125 to 1000 planes (1.0 mm), a body in air, a small network,
14 classes, under one --max-memory: each from file to written file in a process of its own. The time
of the windows should be the same for each of them; the peak may grow by what the scan itself and
its labels take, not by class scores.

![Time over windows, memory over the length of the scan](growth.png)

    python benchmarks/growth.py [--planes 125 250 500 1000] [--max-memory GB]
"""

import argparse
import math
import tempfile
from pathlib import Path

import matplotlib

from predict_large import predicted
from unetr.inference.window import window_starts

matplotlib.use("Agg")
from matplotlib import pyplot

PICTURE = Path(__file__).parents[1] / "docs" / "growth.png"


def main() -> None:
    """A row per length, and the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--planes", type=int, nargs="+", default=[125, 250, 500, 1000])
    parser.add_argument("--max-memory", type=float, default=6.0)
    options = parser.parse_args()
    rows = []
    print("| planes | scan, float32 GB | windows | whole s | windows s | ms a window | peak GB |")
    print("|---|---|---|---|---|---|---|")
    for planes in options.planes:
        with tempfile.TemporaryDirectory() as temporary:
            seconds, peak, record = predicted(Path(temporary), planes, options.max_memory)
        spent = record["cases"]["scan"]["seconds"]["windows"]
        # The body is 340 x 250 mm wide, the network's voxels 1.5 x 1.5 x 2 mm.
        starts = window_starts((227, 167, planes // 2), (96, 96, 96), 0.5)
        windows = math.prod(map(len, starts))
        scan = 512 * 512 * planes * 4 / 1e9
        rows.append((planes, windows, seconds, spent, peak, scan))
        print(f"| {planes} | {scan:.2f} | {windows} | {seconds:.0f} | {spent:.0f} "
              f"| {1000 * spent / windows:.0f} | {peak:.2f} |", flush=True)  # fmt: skip
    draw(rows)


def draw(rows: list[tuple[int, int, float, float, float, float]]) -> None:
    """Time over the number of windows, memory over that of planes."""
    planes, windows, seconds, spent, peak, scan = zip(*rows, strict=True)
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(8, 3), layout="constrained")
    left.plot(windows, seconds, "o-", label="from file to file")
    left.plot(windows, spent, "s--", label="windows")
    left.set(xlabel="windows of 96 x 96 x 96", ylabel="seconds", xlim=(0, None), ylim=(0, None))
    right.plot(planes, peak, "o-", label="peak memory")
    right.plot(planes, scan, "s--", label="the scan in float32")
    right.set(xlabel="planes of 512 x 512", ylabel="GB", xlim=(0, None), ylim=(0, None))
    for axes in (left, right):
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(PICTURE, dpi=110)


if __name__ == "__main__":
    main()
