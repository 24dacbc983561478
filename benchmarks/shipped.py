"""The model in the package, on the cases that its training did not see.

`hippocampus`, as installed, in `unetr predict` with and without mirroring, and `unetr evaluate` on
the scans' own grid. The interval is bootstrapped over cases.

    UNETR_TEST_DATA=FOLDER python benchmarks/shipped.py
"""

import tempfile
from pathlib import Path

import numpy as np

from runs import find_data, unetr, values_of
from unetr.checkpoint import load_model
from unetr.data.dataset import open_dataset
from unetr.evaluation.statistics import bootstrap_interval

NAME = "hippocampus"
METRICS = ("dice", "hd95_mm")


def main() -> None:
    """Prints a row per way of predicting."""
    data = find_data(NAME)
    unseen = set(load_model(NAME).provenance["validation"])
    scans = [str(c.images[0]) for c in open_dataset(data).cases if c.name in unseen]
    print("| mirrored | n | Dice | HD95 mm | undefined | by structure: Dice (HD95 mm) |")
    print("|---" * 6 + "|")
    for mirrored in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            out, scores = Path(folder, "labels"), Path(folder, "scores")
            unetr(["predict", NAME, *scans, "-o", str(out), *["--tta"] * mirrored])
            unetr(["evaluate", str(out), str(data), "-o", str(scores)])
            (dice, names), (hd95, _) = (values_of([scores], metric) for metric in METRICS)
        low, high = bootstrap_interval(dice) or (np.nan, np.nan)
        means = zip(names, np.nanmean(dice, axis=0), np.nanmean(hd95, axis=0), strict=True)
        parts = ", ".join(f"{name} {mean:.3f} ({mm:.2f})" for name, mean, mm in means)
        print(f"| {'yes' if mirrored else 'no'} | {len(dice)} | {np.nanmean(dice):.4f} "
              f"[{low:.4f}, {high:.4f}] | {np.nanmean(hd95):.2f} | {np.isnan(hd95).sum()} "
              f"| {parts} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
