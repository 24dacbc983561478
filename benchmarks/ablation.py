"""What `auto` gains and loses by each of its choices: one change at a time, the same minutes.

Every row is `unetr train` on fold 1 of the data set with one setting changed, scored on that fold's
validation cases on the scans' own grid as accuracy.py does, without mirroring. Fold 1 is where
choices are made; accuracy.py tells of one that was not made there. Losing rows stay in.

Each row is one training. Intervals and p-values are of cases: they do not contain how much two
trainings differ, of which the row with another seed gives an idea, and are not corrected for the
number of rows. Steps tell how fast a network is, and what of the processor its row had: beside some
of those kept here, other work went on at the lowest priority, so that they lost about a fifth of
their steps. `auto` and another seed were trained anew without, whatever they had scored.

What is learnt here holds for structures like these. A flip along y exchanges what the labels are
named by, anterior and posterior, and one along z much of it: their rows say little of others.

Runs are in --out, their scores are kept in --scores, beside this script; what is in either is not
done again. Others of both measure anew. With --at-once N up to N runs are beside each other, each
on its share of the cores.

    python benchmarks/ablation.py [--data DATASET] [--minutes 10] [--rows NAME ...] [--at-once 1]
        [--out FOLDER] [--scores FOLDER]
"""

import argparse
from functools import partial

import numpy as np

from kept import Kept, described, difference, table
from runs import (
    add_options,
    budget,
    data_name,
    is_kept,
    measure,
    read_alike,
    run_all,
    told_budget,
)

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
    folder = options.out / data_name(options)
    names = list(dict.fromkeys(["auto", *options.rows]))
    runs = {name: folder / f"{name.replace(' ', '-')}-{budget(options)}" for name in names}
    settings = {name: [word for one in ROWS[name] for word in ("--set", one)] for name in names}
    run_all(
        [
            partial(measure, options, run, settings[name], FOLD, ways=(False,))
            for name, run in runs.items()
            if not is_kept(options, run, settings[name])
        ],
        options.at_once,
    )
    found = [kept for (kept,) in read_alike(options, [[run] for run in runs.values()])]
    print(f"{folder.name}, fold {FOLD}, {told_budget(options, found[0])}\n{described(found)}\n")
    print("| changed | steps | Dice | HD95 mm | against auto | p |\n|---|---|---|---|---|---|")
    for name, kept in zip(names, found, strict=True):
        print(row(name, kept, found[0]))


def row(name: str, kept: Kept, first: Kept) -> str:
    """Means, and the paired difference with the first row's Dice."""
    dice, hd95 = (np.nanmean(table([kept.plain], metric)[0]) for metric in ("dice", "hd95_mm"))
    change = "| " if kept is first else difference([kept.plain], [first.plain])
    return f"| {name} | {kept.steps} | {dice:.4f} | {hd95:.2f} | {change} |"


if __name__ == "__main__":
    main()
