"""Real held-out scans, re-oriented: do the predicted labels lie on the same anatomy?

Each scan is predicted as it is, and again after its file was rewritten: with other axis orders
and flips (the voxels are the same, stored otherwise), with an affine turned in space (the same
voxels in a tilted patient), and resampled onto a grid that lies obliquely (new voxels, anatomy at
an angle to the axes). Printed is the Dice of each prediction, brought back to the scan's own grid,
with the first one, averaged over structures and cases. The last row is what resampling alone costs:
the first prediction itself, taken to the oblique grid and back.

    python benchmarks/orientations.py [--model MODEL] [--data DATASET] [--cases N]
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from scipy.spatial.transform import Rotation

from runs import find_data, held_out
from unetr import Predictor
from unetr.image import Volume, read_image
from unetr.image.resample import resample_image, resample_labels
from unetr.inference.exported import load_any
from unetr.metrics import score_structures

LEAST = 0.97
DEGREES = (10.0, 8.0, 12.0)


def main() -> None:
    """A row per way of storing a scan; ends with 1 where labels lie elsewhere."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=Path("hippocampus"))
    parser.add_argument("--data", default="hippocampus")
    parser.add_argument("--cases", type=int, default=12)
    options = parser.parse_args()
    model = load_any(options.model)
    cases = held_out(find_data(options.data), model.provenance["validation"])[: options.cases]
    predictor = Predictor(model, engine="torch", precision="fp32")
    found: dict[str, list[float]] = {name: [] for name in (*WAYS, OBLIQUE, ONLY_RESAMPLED)}
    structures = {label.name: [label.id] for label in model.plan.labels[1:]}

    def keep(name: str, again: Volume, first: Volume) -> None:
        scores = score_structures(again.array[0], first.array[0], structures, first.spacing_mm)
        dice = [score.dice for score in scores.values() if score.dice is not None]
        found[name].append(statistics.fmean(dice))

    for case in cases:
        scan = read_image(case.images)
        first = predictor(scan).labels
        for name, stored in WAYS.items():
            again = predictor(stored(scan)).labels
            if stored is not tilted:  # there the patient moved: the voxels are still the same
                again = resample_labels(again, first.affine, first.shape)
            keep(name, again, first)
        turned = oblique(scan)
        there = resample_labels(first, turned.affine, turned.shape)
        for name, labels in ((OBLIQUE, predictor(turned).labels), (ONLY_RESAMPLED, there)):
            keep(name, resample_labels(labels, first.affine, first.shape), first)
    print(f"{len(cases)} scans that training never saw, Dice with the prediction of the file as is")
    print("| stored | mean | lowest |\n|---|---|---|")
    for name, dice in found.items():
        print(f"| {name} | {statistics.fmean(dice):.4f} | {min(dice):.4f} |")
    worst = min(statistics.fmean(found[name]) for name in WAYS)
    if worst < LEAST:
        sys.exit(f"a mean Dice of {worst:.4f}: labels lie elsewhere")


def axes(codes: str) -> Callable[[Volume], Volume]:
    """The same voxels with other axis order and directions."""

    def stored(scan: Volume) -> Volume:
        turn = ornt_transform(io_orientation(scan.affine), axcodes2ornt(codes))
        array = np.stack([nib.apply_orientation(channel, turn) for channel in scan.array])
        affine = scan.affine @ nib.orientations.inv_ornt_aff(turn, scan.shape)
        return replace(scan, array=array, affine=affine)

    return stored


def tilted(scan: Volume) -> Volume:
    """The same voxels, turned about the scan's centre in patient space."""
    return replace(scan, affine=_turn(scan) @ scan.affine)


def oblique(scan: Volume) -> Volume:
    """New voxels: the scan resampled onto a grid that is turned about its centre."""
    affine = _turn(scan) @ scan.affine
    return resample_image(scan, affine, scan.shape, order=3)


def _turn(scan: Volume) -> np.ndarray:
    centre = (scan.affine @ [*((np.array(scan.shape) - 1) / 2), 1])[:3]
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("xyz", DEGREES, degrees=True).as_matrix()
    turn[:3, 3] = centre - turn[:3, :3] @ centre
    return turn


WAYS: dict[str, Callable[[Volume], Volume]] = {
    **{codes: axes(codes) for codes in ("LPS", "LAS", "PIR", "SAL", "IRP", "ASR")},
    "affine turned in space": tilted,
}
OBLIQUE = f"resampled {' / '.join(f'{d:g}' for d in DEGREES)} degrees oblique"
ONLY_RESAMPLED = "only the labels resampled so, and back"

if __name__ == "__main__":
    main()
