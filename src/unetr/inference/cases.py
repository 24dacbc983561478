"""Many scans: read and written in threads while the one between is computed."""

import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Literal

import numpy as np

from unetr.data.cases import Case
from unetr.data.dataset import find_images
from unetr.errors import InputError
from unetr.image import Volume, image_suffix, read_grid, read_image
from unetr.inference import memory
from unetr.inference.outputs import output_paths, write_prediction
from unetr.inference.predictor import OnWindow, Prediction, Predictor

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """A scan and the label file to make of it."""

    case: Case
    output: Path


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Attributes:
        seconds: Spent per step where it was predicted.
        error: One line where it failed.
    """

    job: Job
    status: Literal["done", "skipped", "failed"]
    seconds: dict[str, float] = field(default_factory=dict)
    error: str = ""


def plan_jobs(inputs: Iterable[Path], out: Path, channels: int) -> list[Job]:
    """What to predict and where to write it, in order.

    Args:
        inputs: Files, folders of scans, data sets: see `find_images`.
        out: A file for a single scan, where it ends like an image; otherwise a folder, in which
            names follow the input: `scan_0000.nii.gz` gives `scan.nii.gz`.
        channels: Of the model.

    Raises:
        InputError: nothing to predict, several scans for one file, or two scans of one name.
    """
    cases = [case for path in inputs for case in find_images(path, channels)]
    if image_suffix(out):
        if len(cases) != 1:
            raise InputError(f"{out}: is one file for {len(cases)} scans; give a folder with -o")
        return [Job(cases[0], out)]
    jobs: dict[Path, Job] = {}
    for case in cases:
        output = out / f"{case.name}{_suffix(case.images[0])}"
        if output in jobs:
            raise InputError(
                f"{case.images[0]}: would be written to {output}, as "
                f"{jobs[output].case.images[0]} would; predict them into different folders"
            )
        jobs[output] = Job(case, output)
    for job in jobs.values():
        if job.output.resolve() in {path.resolve() for path in job.case.images}:
            raise InputError(f"{job.output}: is the scan itself; give another folder with -o")
    return list(jobs.values())


def shard(jobs: Sequence[Job], part: str | None) -> list[Job]:
    """Every Nth job from the Ith, for `part` I/N; under torchrun the ranks are the parts.

    Raises:
        InputError: not of the form I/N with I in 1..N.
    """
    if part is None:
        rank, count = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        return list(jobs[rank::count])
    match = re.fullmatch(r"(\d+)/(\d+)", part)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise InputError(f"--shard {part}: write I/N with I from 1 to N, such as 1/4")
    return list(jobs[int(match[1]) - 1 :: int(match[2])])


def predict_cases(
    predictor: Predictor,
    jobs: Sequence[Job],
    *,
    overwrite: bool = False,
    on_window: OnWindow | None = None,
) -> Iterator[Outcome]:
    """Predicts the jobs, one outcome each: finished ones are skipped first, then in order.

    The next scan is read and the last one written while one is computed. A scan that fails does
    not stop the rest. When interrupted, files being written are finished, and none is left half
    written.
    """
    todo = [job for job in jobs if overwrite or not job.output.exists()]
    for job in jobs:
        if job not in todo:
            yield Outcome(job, "skipped")
    with (
        ThreadPoolExecutor(1, "read") as reader,
        ThreadPoolExecutor(1, "write") as writer,
    ):
        coming: Future[Volume] | None = None
        writing: tuple[Job, Future[dict[str, float]]] | None = None
        try:
            for job, following in zip_longest(todo, todo[1:]):
                current, coming = coming or reader.submit(_read, job.case), None
                try:
                    volume = current.result()
                    if following and _fits_beside(following.case, predictor):
                        coming = reader.submit(_read, following.case)
                    prediction = predictor(volume, on_window)
                except Exception as error:
                    yield _failed(job, error)
                    continue
                finished, writing = (
                    writing,
                    (job, writer.submit(_write, job, prediction, predictor)),
                )
                del volume, prediction, current
                if finished:
                    yield _written(*finished)
            if writing:
                yield _written(*writing)
        finally:
            reader.shutdown(cancel_futures=True)
            writer.shutdown(cancel_futures=True)


def _read(case: Case) -> Volume:
    return read_image(case.images[0] if len(case.images) == 1 else case.images)


def _write(job: Job, prediction: Prediction, predictor: Predictor) -> dict[str, float]:
    write_prediction(output_paths(job.output), prediction, predictor.plan)
    return prediction.seconds


def _written(job: Job, writing: Future[dict[str, float]]) -> Outcome:
    try:
        return Outcome(job, "done", writing.result())
    except Exception as error:
        return _failed(job, error)


def _failed(job: Job, error: Exception) -> Outcome:
    _log.debug("%s failed", job.case.name, exc_info=error)
    said = " ".join(str(error).split())
    kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
    return Outcome(job, "failed", error=f"{kind}{said}"[:500])


def _fits_beside(case: Case, predictor: Predictor) -> bool:
    """Whether the next scan may be in memory while another is computed."""
    try:
        voxels = sum(float(np.prod(read_grid(path).shape)) for path in case.images)
    except InputError:
        return True  # reading it will fail, which costs nothing
    limit = predictor.max_memory_gb or memory.available_gb()
    return 4 * voxels / memory.GB < (limit - memory.resident_gb()) / 8


def _suffix(path: Path) -> str:
    """Labels of NIfTI files are written as those are; of other formats as compressed NIfTI."""
    return ".nii" if image_suffix(path) == ".nii" else ".nii.gz"
