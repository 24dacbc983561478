"""Does a network know a structure by its shape and place, or by how bright it is?

Disease changes brightness: iron darkens liver and spleen in MR. Scans that a training did not see
are predicted as they are, then with one structure after the other changed: its distances from the
scan's darkest voxel times a factor, as `augmentation.structure_p` does in training, or moved by a
constant until its mean is that of what lies within a centimetre about it, which no training does.
Surfaces are as soft as partial volumes make them. Printed is the mean Dice of the changed
structures on the scans' own grid, after the plan's post-processing.

    python benchmarks/brightness.py RUN [RUN ...] [--data DATASET]
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import distance_transform_edt, gaussian_filter

from runs import as_planned, find_data, held_out
from unetr import Predictor
from unetr.image import Volume, read_image, read_labels
from unetr.metrics import score_structures

SURFACE = 0.5
"""Its width in voxels, as the deviation of a Gaussian."""
ABOUT_MM = 10.0

Change = Callable[[Volume, Bool[np.ndarray, "x y z"], Bool[np.ndarray, "x y z"]], Volume]


def main() -> None:
    """A row per run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--data", default="chaos_mr")
    options = parser.parse_args()
    data = find_data(options.data)
    print(f"{data.name}")
    print(f"| run | scans | structures | as it is | {' | '.join(CHANGES)} |")
    print("|---" * (4 + len(CHANGES)) + "|")
    for run in options.runs:
        scans, dice = measured(run, data)
        means = " | ".join(f"{np.mean(each):.3f}" for each in dice.values())
        name = run.parent.name if run.name.startswith("fold_") else run.name
        print(f"| {name} | {scans} | {len(dice['as it is'])} | {means} |", flush=True)


def measured(run: Path, data: Path) -> tuple[int, dict[str, list[float]]]:
    """The number of scans, and the Dice of each structure by what was done to it."""
    model = as_planned(run)
    predictor = Predictor(model, engine="torch", precision="fp32")
    cases = held_out(data, model.provenance["validation"])
    dice: dict[str, list[float]] = {name: [] for name in ("as it is", *CHANGES)}
    for case in cases:
        assert case.label is not None  # only labelled ones are validated on
        scan, truth = read_image(case.images), read_labels(case.label)
        labelled = truth.array[0] > 0

        def keep(name: str, label: int, found: Volume, truth: Volume = truth) -> None:
            pair = found.array[0], truth.array[0]
            score = score_structures(*pair, {"it": [label]}, truth.spacing_mm)["it"].dice
            dice[name].append(score or 0.0)

        unchanged = predictor(scan).labels
        for label in np.unique(truth.array[truth.array > 0]).tolist():
            keep("as it is", label, unchanged)
            for name, change in CHANGES.items():
                changed = change(scan, truth.array[0] == label, labelled)
                keep(name, label, predictor(changed).labels)
    return len(cases), dice


def times(
    factor: float, scan: Volume, mask: Bool[np.ndarray, "x y z"], _labelled: object
) -> Volume:
    """Distances from the darkest voxel times `factor`."""
    low = scan.array.min((1, 2, 3), keepdims=True)
    change = (scan.array.astype(np.float32) - low) * (factor - 1)
    return replace(scan, array=scan.array + change * _soft(mask))


def as_about(
    scan: Volume, mask: Bool[np.ndarray, "x y z"], labelled: Bool[np.ndarray, "x y z"]
) -> Volume:
    """Moved to the mean of what lies about it and has no label."""
    away = distance_transform_edt(~mask, sampling=scan.spacing_mm)
    about = (away < ABOUT_MM) & ~labelled
    shift = [image[about].mean() - image[mask].mean() for image in scan.array]
    return replace(scan, array=scan.array + np.reshape(shift, (-1, 1, 1, 1)) * _soft(mask))


def _soft(mask: Bool[np.ndarray, "x y z"]) -> Float[np.ndarray, "x y z"]:
    return gaussian_filter(mask.astype(np.float32), SURFACE)


CHANGES: dict[str, Change] = {
    "x 0.25": partial(times, 0.25),
    "x 0.5": partial(times, 0.5),
    "x 1.6": partial(times, 1.6),
    "as bright as what lies about it": as_about,
}

if __name__ == "__main__":
    main()
