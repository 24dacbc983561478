"""Accuracy under one budget: networks trained by the same command, scored on cases they never saw.

Every row is `unetr train` with the same data, plan, sampling, augmentation and minutes, then
`unetr predict` of the fold's validation cases with and without mirroring, and `unetr evaluate` on
the scans' own grid. Cases of all folds are scored together, each by the model that never saw it.
Nothing is chosen on them: the model is the last one, not the best of several validations, and its
post-processing is the plan's, not what `unetr train` chooses at its end.
Intervals are bootstrapped over cases; differences are paired, against the first network.

Runs are kept in --out, and what is finished there is not done again: it may be stopped and started.
With --at-once N there are always N runs beside each other, each on its share of the cores.

    python benchmarks/accuracy.py [--data DATASET] [--networks auto dynunet paper] [--folds 0]
        [--minutes 60] [--at-once 1] [--out FOLDER]

DATASET is a folder, or the name of one in the folder that UNETR_TEST_DATA names.
"""

import argparse
import csv
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from queue import SimpleQueue

import numpy as np

from unetr.checkpoint import load_model, save_model
from unetr.checkpoint.header import read_header
from unetr.data.dataset import open_dataset
from unetr.evaluation.comparison import wilcoxon_p
from unetr.evaluation.statistics import bootstrap_interval
from unetr.training.folder import read_manifest
from unetr.training.recipe import load_recipe

# What `unetr train` is told. The paper's network is the plain UNETR at the paper's patch of 16.
NETWORKS = {
    "auto": [],
    "paper": ["--set", "network.stem=false", "--set", "data.token_voxels=[16,16,16]"],
    "modern": ["--network", "unetr-modern"],
    "dynunet": ["--network", "dynunet"],
    "segresnet": ["--network", "segresnet"],
    "swinunetr": ["--network", "swinunetr"],
}


def main() -> None:
    """Trains what is missing, then prints a row per network and way of predicting."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="hippocampus")
    parser.add_argument("--networks", nargs="+", default=["auto", "dynunet", "paper"],
                        choices=list(NETWORKS))  # fmt: skip
    parser.add_argument("--folds", nargs="+", type=int, default=[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--at-once", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("accuracy"))
    options = parser.parse_args()
    data = find_data(options.data)

    def job(network: str, fold: int) -> None:
        run = run_folder(options, data, network, fold)
        train(data, run, NETWORKS[network], fold, options.minutes)
        for mirrored in (False, True):
            score(data, run, mirrored)

    run_all([partial(job, network, fold) for fold in options.folds for network in options.networks],
            options.at_once)  # fmt: skip
    each = f"{options.minutes:g} minutes a run on {told_cores(options.at_once)}"
    print(f"{data.name}, {each}, folds {options.folds}\n")
    print("| network | steps | mirrored | n | Dice | HD95 mm | undefined | by structure: Dice "
          f"(HD95 mm) | Dice beside {options.networks[0]} | p |\n" + "|---" * 10 + "|")  # fmt: skip
    for network in options.networks:
        for mirrored in (False, True):
            print(row(options, data, network, mirrored), flush=True)


def find_data(name: str) -> Path:
    """The data set of that name or path."""
    for data in (Path(name), Path(os.environ.get("UNETR_TEST_DATA", "")) / name):
        if data.is_dir():
            return data
    sys.exit(f"{name}: no such data set; give --data or set UNETR_TEST_DATA")


def run_all(jobs: Iterable[Callable[[], None]], at_once: int) -> None:
    """So many jobs at a time, each with what it starts on an equal part of the cores."""
    free: SimpleQueue[list[int]] = SimpleQueue()
    for cores in shares(at_once):
        free.put(cores)

    def on_free_cores(job: Callable[[], None]) -> None:
        cores = free.get()
        if at_once > 1:  # of this thread, and of processes that it starts
            os.sched_setaffinity(threading.get_native_id(), cores)
        try:
            job()
        finally:
            free.put(cores)

    with ThreadPoolExecutor(at_once) as threads:
        list(threads.map(on_free_cores, jobs))


def shares(at_once: int) -> list[list[int]]:
    """The cores of each run."""
    cores = sorted(os.sched_getaffinity(0)) if at_once > 1 else list(range(os.cpu_count() or 1))
    each = len(cores) // max(at_once, 1)
    if each < 1:
        sys.exit(f"--at-once {at_once}: give 1 to {len(cores)}, the number of cores")
    return [cores[k * each : (k + 1) * each] for k in range(at_once)]


def told_cores(at_once: int) -> str:
    """Of each run."""
    each = len(shares(at_once)[0])
    beside = f", {at_once} runs beside each other" if at_once > 1 else ""
    return f"{each} core{'s' * (each > 1)}{beside}"


def train(data: Path, run: Path, words: list[str], fold: int, minutes: float) -> None:
    """A run, begun or continued; a finished one says so by its report."""
    if (run / "validation" / "report.html").exists():
        if load_recipe(str(run / "recipe.toml")).validation.times != 1:
            sys.exit(f"{run}: its best model was chosen on the cases to report; remove it")
        return
    command = ["train", str(data), "-o", str(run), "--fold", str(fold), "--resume"]
    last = ["--set", "validation.times=1"]
    unetr([*command, "--max-minutes", str(minutes), *last, *words])


def score(data: Path, run: Path, mirrored: bool) -> None:
    """Predicts the run's validation cases and evaluates them."""
    predictions, scores = (run / f"{what}{'-tta' * mirrored}" for what in ("unprocessed", "scores"))
    if (scores / "cases.csv").exists():
        return
    model, unprocessed = load_model(run), run / "unprocessed.safetensors"
    planned = read_manifest(run).plan.postprocessing
    model.plan = model.plan.model_copy(update={"postprocessing": planned})
    save_model(unprocessed, model)
    unseen = set(model.provenance["validation"])
    cases = [case for case in open_dataset(data).cases if case.name in unseen]
    # Several channels lie beside each other: naming the first names the scan.
    scans = [str(case.images[0]) for case in cases]
    options = ["--engine", "torch", "--precision", "fp32", *["--tta"] * mirrored]
    unetr(["predict", str(unprocessed), *scans, "-o", str(predictions), *options])
    unetr(["evaluate", str(predictions), str(data), "-o", str(scores)])


def row(options: argparse.Namespace, data: Path, network: str, mirrored: bool) -> str:
    """Means over cases and structures, and the paired difference with the first network."""
    dice, names = values(options, data, network, mirrored, "dice")
    hd95, _ = values(options, data, network, mirrored, "hd95_mm")
    low, high = bootstrap_interval(dice) or (np.nan, np.nan)
    parts = ", ".join(
        f"{name} {mean:.3f} ({mm:.2f})"
        for name, mean, mm in zip(
            names, np.nanmean(dice, axis=0), np.nanmean(hd95, axis=0), strict=True
        )
    )
    runs = [run_folder(options, data, network, fold) for fold in options.folds]
    steps = [read_header(run / "model.safetensors").provenance["step"] for run in runs]
    difference = "| "
    if network != options.networks[0]:
        first, _ = values(options, data, options.networks[0], mirrored, "dice")
        change = np.nanmean(dice - first, axis=1)
        change = change[~np.isnan(change)]
        least, most = bootstrap_interval(change[:, None]) or (np.nan, np.nan)
        difference = f"{change.mean():+.4f} [{least:+.4f}, {most:+.4f}] | {wilcoxon_p(change):.2g}"
    return (f"| {network} | {np.mean(steps):.0f} | {'yes' if mirrored else 'no'} | {len(dice)} "
            f"| {np.nanmean(dice):.4f} [{low:.4f}, {high:.4f}] | {np.nanmean(hd95):.2f} "
            f"| {np.isnan(hd95).sum()} | {parts} | {difference} |")  # fmt: skip


def values(
    options: argparse.Namespace, data: Path, network: str, mirrored: bool, metric: str
) -> tuple[np.ndarray, list[str]]:
    """See `values_of`; of all folds."""
    scores = f"scores{'-tta' * mirrored}"
    runs = [run_folder(options, data, network, fold) for fold in options.folds]
    return values_of([run / scores for run in runs], metric)


def values_of(folders: list[Path], metric: str) -> tuple[np.ndarray, list[str]]:
    """(cases, structures), nan where undefined, of several reports; and the structures' names."""
    found: dict[str, dict[str, float]] = {}
    for folder in folders:
        with (folder / "cases.csv").open(newline="") as lines:
            for line in csv.DictReader(lines):
                value = float(line[metric] or "nan")
                found.setdefault(line["case"], {})[line["name"]] = value
    names = list(dict.fromkeys(name for one in found.values() for name in one))
    rows = [[found[case].get(name, np.nan) for name in names] for case in sorted(found)]
    return np.array(rows), names


def run_folder(options: argparse.Namespace, data: Path, network: str, fold: int) -> Path:
    return options.out / data.name / f"{network}-{budget(options)}" / f"fold_{fold}"


def budget(options: argparse.Namespace) -> str:
    """Of each run, in the name of its folder: runs of different ones are not to be mixed."""
    return f"{options.minutes:g}" + f"-at-once-{options.at_once}" * (options.at_once > 1)


def unetr(words: list[str]) -> None:
    """The command, as a user types it, on the cores of this thread."""
    environment = dict(os.environ)
    if sys.platform == "linux":
        environment["OMP_NUM_THREADS"] = str(len(os.sched_getaffinity(threading.get_native_id())))
    command = [str(Path(sys.executable).parent / "unetr"), "--quiet", *words]
    done = subprocess.run(command, env=environment)
    if done.returncode:
        sys.exit(f"failed: unetr {' '.join(words)}")


if __name__ == "__main__":
    main()
