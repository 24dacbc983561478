"""Is the network less sure of the voxels that it gets wrong? On real held-out scans.

The entropy that `unetr predict` writes on request (and, with mirroring, the mutual information)
is asked to tell wrong voxels from right ones: the area under the ROC curve, 0.5 for chance. Over
whole scans that is easy, since far background is right and sure; so it is printed too for the
voxels within 3 mm of the predicted structures' surfaces, where nearly all errors are.

    python benchmarks/uncertainty.py [--model MODEL] [--data DATASET] [--cases N]
"""

import argparse
import statistics
import sys
from pathlib import Path

import numpy as np
from scipy import ndimage
from scipy.stats import rankdata

from runs import find_data, held_out
from unetr import Predictor
from unetr.image import read_image, read_labels
from unetr.inference.exported import load_any

BAND_MM = 3.0


def main() -> None:
    """A row per kind of uncertainty; ends with 1 where it says nothing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=Path("hippocampus"))
    parser.add_argument("--data", default="hippocampus")
    parser.add_argument("--cases", type=int, default=1000)
    options = parser.parse_args()
    model = load_any(options.model)
    cases = held_out(find_data(options.data), model.provenance["validation"])[: options.cases]
    found: dict[str, list[tuple[float, float]]] = {}
    wrong_share: dict[bool, list[float]] = {False: [], True: []}
    for tta in (False, True):
        predictor = Predictor(model, engine="torch", precision="fp32", tta=tta, uncertainty=True)
        names = ["entropy, mirrored", "mutual information, mirrored"] if tta else ["entropy"]
        for case in cases:
            prediction = predictor(read_image(case.images))
            labels = prediction.labels.array[0]
            wrong = labels != read_labels(case.label).array[0]
            near = band(labels > 0, prediction.labels.spacing_mm)
            wrong_share[tta].append(float(wrong.mean()))
            for name, sure in zip(names, prediction.uncertainty.array, strict=True):
                pair = auroc(sure, wrong), auroc(sure[near], wrong[near])
                found.setdefault(name, []).append(pair)
    plain, mirrored = map(statistics.fmean, wrong_share.values())
    print(
        f"{len(cases)} scans that training never saw, {plain:.2%} of voxels wrong, {mirrored:.2%} "
        "with mirroring\n"
    )
    print(f"| area under the ROC curve | all voxels | within {BAND_MM:g} mm of a surface |")
    print("|---|---|---|")
    for name, pairs in found.items():
        everywhere, near = (statistics.fmean(values) for values in zip(*pairs, strict=True))
        print(f"| {name} | {everywhere:.3f} | {near:.3f} |")
        if near <= 0.5:
            sys.exit(f"{name}: no better than chance")


def band(mask: np.ndarray, spacing_mm: tuple[float, ...]) -> np.ndarray:
    """Voxels near the surface of a mask, on both of its sides."""
    inner = ndimage.distance_transform_edt(mask, spacing_mm)
    outer = ndimage.distance_transform_edt(~mask, spacing_mm)
    return np.maximum(inner, outer) <= BAND_MM


def auroc(score: np.ndarray, positive: np.ndarray) -> float:
    """How often a positive voxel scores higher than a negative one (Mann and Whitney's U)."""
    positive = positive.ravel()
    n = int(positive.sum())
    if n in (0, positive.size):
        return float("nan")
    ranks = rankdata(score.ravel())
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * (positive.size - n)))


if __name__ == "__main__":
    main()
