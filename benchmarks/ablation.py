"""What `auto` gains and loses by each of its choices: one change at a time, the same minutes.

Every row is `unetr train` on fold 1 of the data set with one setting changed, scored on that fold's
validation cases on the scans' own grid as accuracy.py does, without mirroring. Fold 1 is where
choices are made; accuracy.py tells of one that was not made there. Losing rows stay in.

Each row is one training. Intervals and p-values are of cases: they do not contain how much two
trainings differ, of which the row with another seed gives an idea, and are not corrected for the
number of rows.

Runs are kept in --out, and finished ones are not done again. With --at-once N up to N runs are
beside each other, each on its share of the cores.

    python benchmarks/ablation.py [--data DATASET] [--minutes 10] [--rows NAME ...] [--at-once 1]
        [--out FOLDER]
"""

import argparse
from functools import partial
from pathlib import Path

import numpy as np

from runs import (
    add_options,
    budget,
    check_alike,
    described,
    difference,
    find_data,
    run_all,
    score,
    told_budget,
    train,
    values_of,
)
from unetr.checkpoint.header import read_header

FOLD = 1
# Each as `--set` takes it.
ROWS: dict[str, list[str]] = {
    "auto": [],
    "another seed": ["training.seed=1"],
    "no convolutional stem": ["network.stem=false"],
    "no stem, learning rate 1e-3": ["network.stem=false", "training.lr=0.001"],
    "learning rate 1e-3": ["training.lr=0.001"],
    "learning rate 2e-3": ["training.lr=0.002"],
    "learning rate 8e-3": ["training.lr=0.008"],
    "patch that covers the scan, 40 x 56 x 40": ["data.patch_voxels=[40,56,40]"],
    "flips along all axes": ["data.mirror_axes=[0,1,2]"],
    "flips along x and z": ["data.mirror_axes=[0,2]"],
    "token of 16": ["data.token_voxels=[16,16,16]"],
    "token of 4": ["data.token_voxels=[4,4,4]"],
    "twice the channels": ["network.feature_size=16"],
    "half the transformer's width": ["network.hidden_size=128", "network.mlp_dim=512"],
    "half the blocks": ["network.num_layers=4"],
    "rotary blocks (unetr-modern)": ["network.name=unetr-modern"],
    "deep supervision": ["network.deep_supervision=true"],
    "batch of 1": ["training.batch=1"],
    "batch of 4": ["training.batch=4"],
    "no averaged weights": ["training.ema=0"],
    "no rotation and scaling": ["augmentation.rotate_p=0", "augmentation.scale_p=0"],
    "stronger rotation and scaling": [
        "augmentation.rotate_p=0.7",
        "augmentation.rotate_degrees=30",
        "augmentation.scale_p=0.7",
        "augmentation.scale=0.3",
    ],
    "sums instead of squares in the Dice loss": ["loss.squared=false"],
    "hardly smoothed Dice loss": ["loss.smooth=[1e-5,1e-5]"],
    "dropout and more weight decay": ["network.dropout=0.1", "training.weight_decay=0.1"],
    "constant rate, averaged for longer": ["training.schedule=constant", "training.ema=0.9995"],
    "other intensities for the same shapes": ["augmentation.appearance_p=0.15"],
    "structures darker and brighter": ["augmentation.structure_p=0.2"],
    "fewer patches about structures": ["sampling.foreground=0.33"],
}


def main() -> None:
    """Trains what is missing; prints a row for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser, minutes=10, out="ablation")
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS), metavar="NAME")
    options = parser.parse_args()
    data = find_data(options.data)
    names = list(dict.fromkeys(["auto", *options.rows]))
    folder, end = options.out / data.name, budget(options)
    runs = {name: folder / f"{name.replace(' ', '-')}-{end}" for name in names}

    def job(name: str) -> None:
        settings = [word for setting in ROWS[name] for word in ("--set", setting)]
        train(data, runs[name], settings, FOLD, options.minutes)
        score(data, runs[name], mirrored=False)

    run_all([partial(job, name) for name in names], options.at_once)
    check_alike([[run] for run in runs.values()])
    print(f"{data.name}, fold {FOLD}, {told_budget(options)}\n{described(runs.values())}\n")
    print("| changed | steps | Dice | HD95 mm | against auto | p |\n|---|---|---|---|---|---|")
    for name, run in runs.items():
        print(row(name, run, runs["auto"]))


def row(name: str, run: Path, first: Path) -> str:
    """Means, and the paired difference with the first row's Dice."""
    dice, hd95 = (values_of([run / "scores"], metric)[0] for metric in ("dice", "hd95_mm"))
    steps = read_header(run / "model.safetensors").provenance["step"]
    change = difference([run / "scores"], [first / "scores"])
    return f"| {name} | {steps} | {np.nanmean(dice):.4f} | {np.nanmean(hd95):.2f} | {change} |"


if __name__ == "__main__":
    main()
