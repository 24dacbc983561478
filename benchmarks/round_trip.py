"""Real data sets there and back: inspected, planned, preprocessed, and their labels restored.

For every set of UNETR_TEST_DATA: what `unetr inspect` finds, the planned spacing, and the Dice of
each label map with itself after it went to the network's grid and back. Nothing is trained: this is
what the plan's geometry alone costs, the ceiling of any network that predicts on that grid.

    python benchmarks/round_trip.py [--only hippocampus ...]
"""

import argparse
import os
import statistics
import sys
from pathlib import Path

import numpy as np

from unetr.data.cases import Dataset
from unetr.data.dataset import open_dataset, read_case
from unetr.data.fingerprint import combine
from unetr.data.inspect import compare_cases, inspect
from unetr.data.plan import Plan
from unetr.data.planning import make_plan
from unetr.data.preprocess import preprocess, preprocess_labels, restore
from unetr.metrics import score_structures

SETS = ("hippocampus", "brats_2ch", "chaos_mr", "spleen_ct_crop", "totalseg_example")
LEAST = {"hippocampus": 0.99}


def main() -> None:
    """A row per data set; ends with 1 where a round trip loses more than it may."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=SETS)
    options = parser.parse_args()
    if not (data := os.environ.get("UNETR_TEST_DATA")):
        sys.exit("UNETR_TEST_DATA is not set")
    print("| data set | layout | cases | sound | defects | spacing mm | patch | labels | mean Dice "
          "| lowest |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name in options.only:
        dataset = open_dataset(Path(data) / name)
        reports = list(inspect(dataset))
        sound = [report for report in reports if report.facts]
        found = [*dataset.defects, *compare_cases(dataset, reports)]
        found += [defect for report in reports for defect in report.defects]
        defects = sum(defect.severity == "defect" for defect in found)
        plan = make_plan(dataset, combine(dataset, [report.facts for report in sound]))
        scores = [s for report in sound for s in round_trip(dataset, plan, report.case)]
        mean = statistics.fmean(scores)
        print(f"| {name} | {dataset.layout} | {len(dataset.cases)} | {len(sound)} | {defects} "
              f"| {times(plan.spacing_mm)} | {times(plan.patch_voxels)} | {len(scores)} "
              f"| {mean:.4f} | {min(scores):.4f} |", flush=True)  # fmt: skip
        if mean < LEAST.get(name, 0.95):
            sys.exit(f"{name}: a mean Dice of {mean:.4f} after the round trip is too little")


def round_trip(dataset: Dataset, plan: Plan, case) -> list[float]:
    """Dice of every structure that the case has, or region where the plan has regions."""
    image, labels = read_case(dataset, case)
    x, placement = preprocess(plan, image)
    on_network = preprocess_labels(plan, labels, placement)
    if on_network.shape[-3:] != x.shape[1:]:
        sys.exit(f"{case.name}: image and labels are not on one grid")
    back, native = restore(plan, on_network, placement), labels.array[0]
    if plan.regions:
        structures = {region.name: region.members for region in plan.regions}
        native, back = paint(plan, native), paint(plan, back)
    else:
        structures = {label.name: [label.id] for label in plan.labels[1:]}
    present = {k: ids for k, ids in structures.items() if np.isin(native, ids).any()}
    scores = score_structures(back, native, present, image.spacing_mm)
    return [score.dice for score in scores.values()]


def paint(plan: Plan, labels: np.ndarray) -> np.ndarray:
    """Labels as a network with regions can tell them: each region by its own value."""
    painted = np.zeros_like(labels)
    for region in plan.regions:
        painted[np.isin(labels, region.members)] = region.paint
    return painted


def times(numbers) -> str:
    return " x ".join(f"{number:.4g}" for number in numbers)


if __name__ == "__main__":
    main()
