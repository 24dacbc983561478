"""Trainings to compare: how accuracy.py and ablation.py make and score them."""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from kept import FOLDER, Kept, differing, keep, read_kept, read_scores
from page import machine
from unetr.checkpoint import Model, load_model, save_model
from unetr.checkpoint.header import read_header
from unetr.data.cases import Case
from unetr.data.dataset import open_dataset
from unetr.training.folder import read_manifest
from unetr.training.history import read_history

# What the plans of one table have in common; the rest is a network's own, or what is compared.
_COMMON = ("spacing_mm", "orientation", "crop", "normalisation", "postprocessing")


def add_options(parser: argparse.ArgumentParser, minutes: float, out: str) -> None:
    """Those that both scripts have."""
    parser.add_argument("--data", default="hippocampus")
    parser.add_argument("--minutes", type=float, default=minutes)
    parser.add_argument("--at-once", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(out))
    parser.add_argument("--scores", type=Path, default=FOLDER / out)


def data_name(options: argparse.Namespace) -> str:
    """Of the data set, which need not be there where all scores are kept."""
    return Path(options.data).resolve().name


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
    if not (jobs := list(jobs)):
        return
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


def told_budget(options: argparse.Namespace, kept: Kept) -> str:
    """Minutes and cores of each run."""
    beside = f", up to {options.at_once} runs beside each other" * (options.at_once > 1)
    cores = f"{kept.threads} core{'s' * (kept.threads > 1)}"
    return f"{options.minutes:g} minutes a run on {cores}{beside}"


def budget(options: argparse.Namespace) -> str:
    """Of each run, in the name of its folder: runs of different ones are not to be mixed."""
    return f"{options.minutes:g}" + f"-at-once-{options.at_once}" * (options.at_once > 1)


def kept_file(options: argparse.Namespace, run: Path) -> Path:
    """Of a run in --out: its scores' place."""
    return options.scores / run.with_name(f"{run.name}.json").relative_to(options.out)


def is_kept(options: argparse.Namespace, run: Path, settings: list[str]) -> bool:
    """Whether the run is not to be made; ends the script where another is in its place."""
    path = kept_file(options, run)
    if not path.exists():
        return False
    kept = read_kept(path)
    if kept.settings != settings:
        sys.exit(f"{path}: trained with {shlex.join(kept.settings) or 'no settings'}; remove it")
    print(f"{path}: kept, code {kept.code}", file=sys.stderr)
    return True


def measure(
    options: argparse.Namespace, run: Path, settings: list[str], fold: int, ways: Sequence[bool]
) -> None:
    """Trains, scores with mirroring and without as `ways` say, and keeps the scores."""
    data = find_data(options.data)
    train(data, run, settings, fold, options.minutes)
    for mirrored in ways:
        score(data, run, mirrored)
    keep(kept_file(options, run), measured(run, settings, ways))


def measured(run: Path, settings: list[str], ways: Sequence[bool]) -> Kept:
    """What is to be kept of the run; ends the script where something was chosen on its cases."""
    if sum("dice" in line for line in read_history(run)) != 1:
        sys.exit(f"{run}: its best model was chosen on the cases to report; remove it")
    manifest, record = read_manifest(run), json.loads(_record(run).read_text())
    scores = {mirrored: read_scores(_scores(run, mirrored)) for mirrored in ways}
    if any(one.cases != sorted(manifest.validation) for one in scores.values()):
        sys.exit(f"{run}: not all of its validation cases were scored; remove its scores")
    alike = {name: str(getattr(manifest.plan, name)) for name in _COMMON}
    return Kept(
        began=manifest.started[:10],
        code=record["code"],
        machine=record["machine"],
        threads=manifest.threads,
        steps=read_header(run / "model.safetensors").provenance["step"],
        settings=settings,
        alike={"data": manifest.fingerprint, **alike},
        plain=scores[False],
        mirrored=scores.get(True),
    )


def read_alike(options: argparse.Namespace, tables: Sequence[Sequence[Path]]) -> list[list[Kept]]:
    """What is kept of runs that are to be compared, a sequence of folds each; ends the script where
    they differ in more than what is compared."""
    files = [[kept_file(options, run) for run in folds] for folds in tables]
    found = [[read_kept(path) for path in folds] for folds in files]
    for folds, kept in zip(files, found, strict=True):
        for path, one, against, first in zip(folds, kept, files[0], found[0], strict=True):
            if other := differing(one, first):
                sys.exit(f"{path}: other {other} than {against}; remove the older one, and its "
                         "run where it is in --out")  # fmt: skip
    cases = [case for one in found[0] for case in one.plain.cases]
    if len(set(cases)) < len(cases):
        sys.exit("--folds: a case is in two of them")
    return found


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
    predictions, scores = run / f"unprocessed{'-tta' * mirrored}", _scores(run, mirrored)
    unseen = set(read_manifest(run).validation)
    if (scores / "cases.csv").exists():
        if set(read_scores(scores).cases) == unseen:
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


def _scores(run: Path, mirrored: bool) -> Path:
    return run / f"scores{'-tta' * mirrored}"


def _record(run: Path) -> Path:
    """Beside the run, whose folder is the command's own."""
    return run.with_name(f"{run.name}.trained.json")


def _revision() -> str:
    asked = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    done = subprocess.run(asked, cwd=Path(__file__).parent, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"
