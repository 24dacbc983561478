"""Trainings to compare: how accuracy.py and ablation.py make, keep, score and describe them."""

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from page import machine
from unetr.checkpoint import Model, load_model, save_model
from unetr.data.cases import Case
from unetr.data.dataset import open_dataset
from unetr.evaluation.comparison import wilcoxon_p
from unetr.evaluation.statistics import bootstrap_interval
from unetr.training.folder import Manifest, read_manifest
from unetr.training.history import read_history

# What the plans of one table have in common; the rest is a network's own, or what is compared.
_COMMON = ("spacing_mm", "orientation", "crop", "normalisation", "postprocessing")


def add_options(parser: argparse.ArgumentParser, minutes: float, out: str) -> None:
    """Those that both scripts have."""
    parser.add_argument("--data", default="hippocampus")
    parser.add_argument("--minutes", type=float, default=minutes)
    parser.add_argument("--at-once", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(out))


def find_data(name: str) -> Path:
    """The data set of that name or path."""
    for data in (Path(name), Path(os.environ.get("UNETR_TEST_DATA", "")) / name):
        if data.is_dir():
            return data
    sys.exit(f"{name}: no such data set; give --data or set UNETR_TEST_DATA")


def held_out(data: Path, names: Iterable[str]) -> list[Case]:
    """The cases of those names, which a model was validated on; ends the script without any."""
    wanted = set(names)
    cases = [case for case in open_dataset(data).cases if case.name in wanted]
    return cases or sys.exit(f"{data}: none of the cases that the model was validated on")


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


def told_budget(options: argparse.Namespace) -> str:
    """Minutes and cores of each run."""
    each = len(shares(options.at_once)[0])
    beside = f", up to {options.at_once} runs beside each other" * (options.at_once > 1)
    return f"{options.minutes:g} minutes a run on {each} core{'s' * (each > 1)}{beside}"


def budget(options: argparse.Namespace) -> str:
    """Of each run, in the name of its folder: runs of different ones are not to be mixed."""
    return f"{options.minutes:g}" + f"-at-once-{options.at_once}" * (options.at_once > 1)


def train(data: Path, run: Path, words: list[str], fold: int, minutes: float) -> None:
    """A run, begun or continued; a finished one says so by its report."""
    if (run / "validation" / "report.html").exists():
        return
    if not run.exists():
        _record(run).parent.mkdir(parents=True, exist_ok=True)
        _record(run).write_text(json.dumps({"code": _revision(), "machine": machine()}) + "\n")
    command = ["train", str(data), "-o", str(run), "--fold", str(fold), "--resume"]
    last = ["--set", "validation.times=1"]
    unetr([*command, "--max-minutes", str(minutes), *last, *words])


def score(data: Path, run: Path, mirrored: bool) -> None:
    """Predicts the run's validation cases, post-processed by the plan's rules alone, and evaluates
    them."""
    predictions, scores = (run / f"{what}{'-tta' * mirrored}" for what in ("unprocessed", "scores"))
    manifest = read_manifest(run)
    unseen = set(manifest.validation)
    if (scores / "cases.csv").exists():
        if {line["case"] for line in _lines(scores)} == unseen:
            return
        shutil.rmtree(scores)
    unprocessed = run / "unprocessed.safetensors"
    save_model(unprocessed, as_planned(run))
    # Several channels lie beside each other: naming the first names the scan.
    scans = [str(case.images[0]) for case in held_out(data, unseen)]
    options = ["--engine", "torch", "--precision", "fp32", *["--tta"] * mirrored]
    unetr(["predict", str(unprocessed), *scans, "-o", str(predictions), *options])
    unetr(["evaluate", str(predictions), str(data), "-o", str(scores)])


def as_planned(run: Path) -> Model:
    """The run's model, post-processed by the plan's rules and none that validation chose."""
    model = load_model(run)
    planned = read_manifest(run).plan.postprocessing
    model.plan = model.plan.model_copy(update={"postprocessing": planned})
    return model


def values_of(folders: Sequence[Path], metric: str) -> tuple[np.ndarray, list[str]]:
    """(cases, structures), nan where undefined, of several reports; and the structures' names."""
    found: dict[str, dict[str, float]] = {}
    for line in (line for folder in folders for line in _lines(folder)):
        found.setdefault(line["case"], {})[line["name"]] = float(line[metric] or "nan")
    names = list(dict.fromkeys(name for one in found.values() for name in one))
    rows = [[found[case].get(name, np.nan) for name in names] for case in sorted(found)]
    return np.array(rows), names


def summary(scores: Sequence[Path]) -> str:
    """Cells: cases, Dice with its interval, HD95, undefined ones, and the means by structure."""
    (dice, names), (hd95, _) = values_of(scores, "dice"), values_of(scores, "hd95_mm")
    low, high = bootstrap_interval(dice) or (np.nan, np.nan)
    means = zip(names, np.nanmean(dice, axis=0), np.nanmean(hd95, axis=0), strict=True)
    parts = ", ".join(f"{name} {mean:.3f} ({mm:.2f})" for name, mean, mm in means)
    return (f"{len(dice)} | {np.nanmean(dice):.4f} [{low:.4f}, {high:.4f}] "
            f"| {np.nanmean(hd95):.2f} | {np.isnan(hd95).sum()} | {parts}")  # fmt: skip


def difference(scores: Sequence[Path], first: Sequence[Path]) -> str:
    """Cells: the mean paired difference of Dice to the first row, its interval, and p; none for the
    first row itself."""
    if scores == first:
        return "| "
    change = np.nanmean(values_of(scores, "dice")[0] - values_of(first, "dice")[0], axis=1)
    change = change[~np.isnan(change)]
    low, high = bootstrap_interval(change[:, None]) or (np.nan, np.nan)
    return f"{change.mean():+.4f} [{low:+.4f}, {high:+.4f}] | {wilcoxon_p(change):.2g}"


def check_alike(tables: Sequence[Sequence[Path]]) -> None:
    """Ends the script where runs that are to be compared, a sequence of folds each, differ in more
    than what is compared, or where something was chosen on the cases to report."""
    for runs in zip(*tables, strict=True):
        first = read_manifest(runs[0])
        for run in runs:
            if differing := _differing(read_manifest(run), first):
                sys.exit(f"{run}: other {differing} than {runs[0]}; remove the older of the two")
            if sum("dice" in line for line in read_history(run)) != 1:
                sys.exit(f"{run}: its best model was chosen on the cases to report; remove it")


def _differing(one: Manifest, other: Manifest) -> str:
    if one.validation != other.validation:
        return "validation cases"
    plans = one.plan, other.plan
    return ", ".join(name for name in _COMMON if len({str(getattr(p, name)) for p in plans}) > 1)


def described(runs: Iterable[Path]) -> str:
    """When, where and by which code they were trained: a line for each that differs."""
    found: dict[str, list[str]] = {}
    for run in runs:
        record: dict[str, Any] = json.loads(_record(run).read_text())
        began = read_manifest(run).started[:10]
        found.setdefault(f"code {record['code']} on {record['machine']}", []).append(began)
    lines = [
        f"trained {' to '.join(dict.fromkeys((min(days), max(days))))}, {how}"
        for how, days in found.items()
    ]
    return "\n".join(lines)


def unetr(words: list[str]) -> None:
    """The command, as a user types it, on the cores of this thread."""
    environment = dict(os.environ)
    if sys.platform == "linux":
        environment["OMP_NUM_THREADS"] = str(len(os.sched_getaffinity(threading.get_native_id())))
    command = [str(Path(sys.executable).parent / "unetr"), "--quiet", *words]
    # What it prints is not the table.
    done = subprocess.run(command, env=environment, stdout=sys.stderr)
    if done.returncode:
        sys.exit(f"failed: unetr {' '.join(words)}")


def _lines(scores: Path) -> list[dict[str, str]]:
    with (scores / "cases.csv").open(newline="") as lines:
        return list(csv.DictReader(lines))


def _record(run: Path) -> Path:
    """Beside the run, whose folder is the command's own."""
    return run.with_name(f"{run.name}.trained.json")


def _revision() -> str:
    asked = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    done = subprocess.run(asked, cwd=Path(__file__).parent, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"
