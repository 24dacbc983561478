"""What the data costs a training step: cropping and augmentation by one worker beside the network.

The loop's own network and optimiser step on one batch that is ready (`ready`), on batches from the
loop's worker thread (`unetr`), and on batches from MONAI's CacheDataset and its DataLoader with one
worker process (`MONAI`), in turn. Waiting is the part of a step that the network stood still for
its batch. The second table is of the two pipelines alone, without a network beside them: their
share is what one core takes to prepare a batch, of the step on the ready one. Cases, sampling and
augmentation are those of `augmentation.py`; ours are mapped from files, as in a training, MONAI's
are in memory.

    python benchmarks/data_pipeline.py [--sizes btcv hippocampus] [--rounds 3] [--steps 10]
"""

import argparse
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai import __version__ as monai_version
from monai import data as monai_data
from monai import transforms as mt

from augmentation import BOTH, ArrayCase, made_case, made_plan, monai_chain
from training_step import BATCH, CLASSES, RECIPES, our_learner, patches
from unetr.data.cache import CachedCase
from unetr.training.batches import Batch, Batches
from unetr.training.recipe_toml import load_recipe

SIZES = ("btcv", "hippocampus")
CASES = 8
# MONAI's loader prepares nothing ahead across epochs, and real data sets have longer ones.
TIMES = 50
# Batches that both sides prepare ahead, and how long that takes at most.
AHEAD = 2
SETTLED_S = 3.0
# Of a pipeline alone.
ALONE_S = 5.0
Take = Callable[[], Batch]


def monai_batches(cases: list[Any], size: str, recipe: Any) -> Iterator[Batch]:
    """As MONAI's tutorials have it: cached cases, then one dictionary transform after another."""
    batch, plan = BATCH[size][0], made_plan(BATCH[size][2:])
    positive = recipe.sampling.foreground
    crop = mt.RandCropByPosNegLabeld(
        BOTH, "label", plan.patch_voxels, pos=positive, neg=1 - positive, num_samples=1,
        fg_indices_key="label_fg_indices", bg_indices_key="label_bg_indices",
    )  # fmt: skip
    items = [
        {"image": torch.from_numpy(case.image), "label": torch.from_numpy(case.labels[None])}
        for case in cases
    ] * TIMES
    chain = [mt.FgBgToIndicesd("label"), crop, *monai_chain(recipe.augmentation, plan)]
    cached = monai_data.CacheDataset(items, mt.Compose(chain), progress=False)
    loader = monai_data.DataLoader(
        cached, batch_size=batch, shuffle=True, num_workers=1, persistent_workers=True
    )
    for _ in itertools.count():
        for found in loader:
            x, y = found["image"].as_tensor(), found["label"].as_tensor()
            yield Batch(x, y[:, 0], ("case",) * batch)


def alone(take: Take, batch: int) -> float:
    """Samples a second of a pipeline that nothing runs beside."""
    time.sleep(SETTLED_S)
    for _ in range(AHEAD):
        take()
    taken, began = 0, time.perf_counter()
    while time.perf_counter() - began < ALONE_S:
        take()
        taken += 1
    return taken * batch / (time.perf_counter() - began)


def stored(case: ArrayCase, folder: Path) -> CachedCase:
    """The case as the loop has it: mapped from files."""
    folder.mkdir()
    np.save(folder / "image.npy", case.image)
    np.save(folder / "labels.npy", case.labels)
    return CachedCase(tuple(case.foreground), case.labelled, folder)


def compare(size: str, precision: str, rounds: int, steps: int, folder: Path) -> str:
    """Prints three rows of the first table; the row of the second."""
    recipe = load_recipe(RECIPES[size])
    learner, rate = our_learner(size, precision)
    batch, patch = BATCH[size][0], BATCH[size][2:]
    ready = Batch(*patches(BATCH[size], CLASSES[size]), ("a",) * batch)
    cases = [made_case(patch) for _ in range(CASES)]
    theirs = monai_batches(cases, size, recipe)
    on_disk = [stored(case, folder / f"{size}-{k}") for k, case in enumerate(cases)]
    names = [str(k) for k in range(CASES)]
    number = itertools.count(1)

    def timed(take: Take) -> tuple[float, float]:
        """Seconds of a step, and those of them that it waited for its batch."""
        # What another side still prepares must not run now, nor what was prepared count as free.
        time.sleep(SETTLED_S)
        for _ in range(AHEAD):
            take()
        waited, began = 0.0, time.perf_counter()
        for _ in range(steps):
            asked = time.perf_counter()
            found = take()
            waited += time.perf_counter() - asked
            step = next(number)
            learner.gradients([found], seed=step)
            learner.apply(rate, step)
        return (time.perf_counter() - began) / steps, waited / steps

    with Batches(names, on_disk.__getitem__, made_plan(patch), recipe, batch) as ours:
        sides: dict[str, Take] = {
            "ready": lambda: ready, "unetr": ours.take, "MONAI": lambda: next(theirs),
        }  # fmt: skip
        # The first round of each warms up.
        found = [{name: timed(take) for name, take in sides.items()} for _ in range(rounds + 1)][1:]
        pairs = [(alone(ours.take, batch), alone(sides["MONAI"], batch)) for _ in range(rounds)]
    own, peer = map(statistics.median, zip(*pairs, strict=True))
    on_ready = statistics.median(row["ready"][0] for row in found)
    for name in sides:
        seconds, waited = (statistics.median(row[name][k] for row in found) for k in (0, 1))
        print(
            f"| {size} | {precision} | {name} | {seconds:.3f} | {batch / seconds:.1f} | "
            f"{100 * waited / seconds:.0f} % |",
            flush=True,
        )
    shares = " | ".join(f"{100 * batch / rate / on_ready:.1f} %" for rate in (own, peer))
    return f"| {size} | {own:.1f} | {peer:.1f} | {own / peer:.1f} | {shares} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=SIZES, choices=SIZES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10)
    arguments = parser.parse_args()
    precision = "bf16" if torch.cpu._is_avx512_bf16_supported() else "fp32"
    threads = f"{torch.get_num_threads()} threads, {os.cpu_count()} cores"
    print(f"torch {torch.__version__}, MONAI {monai_version}, {threads}\n")
    print("| size | precision | batches | s a step | samples/s | waiting |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            compare(size, precision, arguments.rounds, arguments.steps, Path(folder))
            for size in arguments.sizes
        ]
    print("\n| alone | unetr samples/s | MONAI samples/s | ratio | unetr's share | MONAI's share |")
    print("|---|---|---|---|---|---|")
    print(*rows, sep="\n")


if __name__ == "__main__":
    main()
