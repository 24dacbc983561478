"""Does a network know a structure by its shape and place, or by how bright it is?

Disease changes brightness: iron darkens liver and spleen in MR. Scans that a training did not see
are predicted as they are, then once per structure and factor with that one structure darker or
brighter: its distances from the scan's darkest voxel times the factor, its surface as soft as
partial volumes make it. Printed is the mean Dice of the changed structures, on the scans' own grid,
after the plan's post-processing.

    python benchmarks/brightness.py RUN [RUN ...] [--data DATASET]
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from scipy.ndimage import gaussian_filter

from runs import as_planned, find_data
from unetr import Predictor
from unetr.data.dataset import open_dataset
from unetr.image import Volume, read_image, read_labels
from unetr.metrics import score_structures

FACTORS = (0.25, 0.5, 1.0, 1.6)
SURFACE = 0.5
"""Its width in voxels, as the deviation of a Gaussian."""


def main() -> None:
    """A row per run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--data", default="chaos_mr")
    options = parser.parse_args()
    data = find_data(options.data)
    print("| run | scans | structures | " + " | ".join(f"x {factor:g}" for factor in FACTORS)
          + " |\n" + "|---" * (3 + len(FACTORS)) + "|")  # fmt: skip
    for path in options.runs:
        scans, structures, dice = measured(path, data)
        means = " | ".join(f"{np.mean(dice[factor]):.3f}" for factor in FACTORS)
        print(f"| {path.name} | {scans} | {structures} | {means} |", flush=True)


def measured(path: Path, data: Path) -> tuple[int, int, dict[float, list[float]]]:
    """Numbers of scans and of their structures, and the Dice of each by factor."""
    model = as_planned(path)
    predictor = Predictor(model, engine="torch", precision="fp32")
    unseen = set(model.provenance["validation"])
    cases = [case for case in open_dataset(data).cases if case.name in unseen]
    dice: dict[float, list[float]] = {factor: [] for factor in FACTORS}
    for case in cases:
        scan, truth = read_image(case.images), read_labels(case.labels)
        as_it_is = predictor(scan).labels
        for label in np.unique(truth.array)[1:]:
            mask = truth.array[0] == label
            for factor in FACTORS:
                found = (
                    as_it_is if factor == 1 else predictor(brightened(scan, mask, factor)).labels
                )
                score = score_structures(
                    found.array[0], truth.array[0], {"it": [int(label)]}, truth.spacing_mm
                )
                dice[factor].append(score["it"].dice or 0.0)
    return len(cases), len(dice[1.0]), dice


def brightened(scan: Volume, mask: Bool[np.ndarray, "x y z"], factor: float) -> Volume:
    """The scan with one structure's distances from the darkest voxel times `factor`."""
    image = scan.array.astype(np.float32)
    low = image.min((1, 2, 3), keepdims=True)
    share = gaussian_filter(mask.astype(np.float32), SURFACE)
    return replace(scan, array=low + (image - low) * (1 + (factor - 1) * share))


if __name__ == "__main__":
    main()
