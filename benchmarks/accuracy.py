"""Accuracy under one budget: networks trained by the same command, scored on cases they never saw.

Every row is `unetr train` with the same data, plan, sampling, augmentation, loss and minutes, then
`unetr predict` of the fold's validation cases with and without mirroring, and `unetr evaluate` on
the scans' own grid. Cases of all folds are scored together, each by a model not trained on it.
Nothing is chosen on them: the model is the last one, not the best of several validations, and its
post-processing is the plan's, not what `unetr train` chooses at its end. The plan itself is made
from all labelled cases, as nnU-Net's is: its spacing, crop, intensities, and which structures come
in one piece.

`auto` is what `unetr train` does by itself; choices in it were made on fold 1 of the hippocampi.
One was not: plans of few scans have structures made darker and brighter because a liver in fold 0
of chaos_mr, as dark as iron makes them, was not found; there `auto` is judged by the case that it
was made for. `same-brightness` is without, and was trained before that case was looked at.
`paper` is the network of arXiv:2103.10504 at its published size, patches of 16 included, `dynunet`
nnU-Net's; both go by auto's recipe, with the learning rate that `unetr` has for such a network.
Intervals are bootstrapped over cases; differences are paired, against the first network. Each run
is one training: how much two of one kind differ is not in the intervals.

Runs are in --out, their scores are kept in --scores, beside this script; what is in either is not
done again: it may be stopped and started. Others of both measure anew. With --at-once N up to N
runs are beside each other, each on its share of the cores.

    python benchmarks/accuracy.py [--data DATASET] [--networks auto dynunet paper] [--folds 0]
        [--minutes 60] [--at-once 1] [--out FOLDER] [--scores FOLDER]

DATASET is a folder, or the name of one in the folder that UNETR_TEST_DATA names.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from kept import Kept, described, difference, summary
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

_PAPER = (
    "data.token_voxels=[16,16,16]",
    "network.stem=false",
    "network.feature_size=16",
    "network.hidden_size=768",
    "network.mlp_dim=3072",
    "network.num_heads=12",
    "network.num_layers=12",
)
# What `unetr train` is told.
NETWORKS = {
    "auto": [],
    "same-brightness": ["--set", "augmentation.structure_p=0"],
    "paper": [word for setting in _PAPER for word in ("--set", setting)],
    "modern": ["--network", "unetr-modern"],
    "dynunet": ["--network", "dynunet"],
    "segresnet": ["--network", "segresnet"],
    "swinunetr": ["--network", "swinunetr"],
}


def main() -> None:
    """Trains what is missing, then prints a row per network and way of predicting."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser, minutes=60, out="accuracy")
    parser.add_argument("--networks", nargs="+", default=["auto", "dynunet", "paper"],
                        choices=list(NETWORKS))  # fmt: skip
    parser.add_argument("--folds", nargs="+", type=int, default=[0])
    options = parser.parse_args()
    runs = [[run_folder(options, name, fold) for fold in options.folds]
            for name in options.networks]  # fmt: skip
    missing = [
        partial(measure, options, runs[row][column], NETWORKS[name], fold, ways=(False, True))
        for column, fold in enumerate(options.folds)
        for row, name in enumerate(options.networks)
        if not is_kept(options, runs[row][column], NETWORKS[name])
    ]
    run_all(missing, options.at_once)
    tables = read_alike(options, runs)
    print(f"{data_name(options)}, folds {options.folds}, {told_budget(options, tables[0][0])}")
    print(described(kept for folds in tables for kept in folds) + "\n")
    print("| network | steps | mirrored | n | Dice | HD95 mm | undefined | by structure: Dice "
          f"(HD95 mm) | Dice beside {options.networks[0]} | p |\n" + "|---" * 10 + "|")  # fmt: skip
    for name, folds in zip(options.networks, tables, strict=True):
        for mirrored in (False, True):
            print(row(name, folds, tables[0], mirrored))


def run_folder(options: argparse.Namespace, network: str, fold: int) -> Path:
    """In --out."""
    return options.out / data_name(options) / f"{network}-{budget(options)}" / f"fold_{fold}"


def row(network: str, folds: Sequence[Kept], first: Sequence[Kept], mirrored: bool) -> str:
    """Means over cases and structures, and the paired difference with the first network."""
    scores, others = ([kept.mirrored if mirrored else kept.plain for kept in kepts]
                      for kepts in (folds, first))  # fmt: skip
    steps = np.mean([kept.steps for kept in folds])
    change = "| " if folds is first else difference(scores, others)
    return (f"| {network} | {steps:.0f} | {'yes' if mirrored else 'no'} | {summary(scores)} "
            f"| {change} |")  # fmt: skip


if __name__ == "__main__":
    main()
