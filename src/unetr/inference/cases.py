"""Many scans: read and written in threads while the one between is computed."""

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Literal

from unetr.data.cases import Case
from unetr.data.dataset import find_images
from unetr.errors import InputError, TooLittleMemoryError
from unetr.files import check_writable
from unetr.image import Volume, check_format, image_suffix, read_grid, read_image
from unetr.inference.clock import Clock
from unetr.inference.memory import reading_refusal
from unetr.inference.outputs import output_paths, write_prediction
from unetr.inference.prediction import Prediction
from unetr.inference.predictor import BESIDE, OnWindow, Predictor
from unetr.machine import GB

_log = logging.getLogger(__name__)
# With the seconds that it took, and the states of its files.
Read = tuple[Volume, dict[str, float], tuple[str, ...]]
Computed = tuple[Prediction, dict[str, float], tuple[str, ...]]


@dataclass(frozen=True)
class Job:
    """A scan, the label file to make of it, and the maps (of `MAPS`) to lie beside it."""

    case: Case
    output: Path
    maps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Attributes:
        seconds: Spent per step where it was predicted.
        error: One line where it failed.
        is_input: Whether the scan is to blame, not this program or the machine.
        made: What was written: labels, and maps.
        states: The scan's files as they were read, see `image_states`.
    """

    job: Job
    status: Literal["done", "skipped", "failed"]
    seconds: dict[str, float] = field(default_factory=dict)
    error: str = ""
    is_input: bool = False
    made: tuple[str, ...] = ()
    states: tuple[str, ...] = ()

    @property
    def only_maps(self) -> bool:
        """Whether labels were there and stayed."""
        return self.status == "done" and "labels" not in self.made


def plan_jobs(
    inputs: Iterable[Path], out: Path, channels: int, maps: Iterable[str] = ()
) -> list[Job]:
    """What to predict and where to write it, in order.

    Args:
        inputs: Files, folders of scans, data sets: see `find_images`.
        out: A file for a single scan, where it ends like an image; otherwise a folder, in which
            names follow the input: `scan_0000.nii.gz` gives `scan.nii.gz`.
        channels: Of the model.
        maps: Of `MAPS`, to be made too.

    Raises:
        InputError: nothing to predict, several scans for one file, or two scans of one name.
    """
    cases, maps = _scans(inputs, channels), tuple(maps)
    if image_suffix(out):
        if len(cases) != 1:
            raise InputError(f"{out}: is one file for {len(cases)} scans; give a folder with -o")
        return [_checked(Job(cases[0], out, maps))]
    jobs: dict[str, Job] = {}
    for case in cases:
        job = Job(case, out / f"{case.name}{_suffix(case.images[0])}", maps)
        # Maps and the record go by the name alone, whatever the label file ends in.
        if case.name in jobs:
            raise InputError(
                f"{case.images[0]}: its outputs would have the names of those of "
                f"{jobs[case.name].case.images[0]}; predict them into different folders"
            )
        jobs[case.name] = _checked(job)
    return list(jobs.values())


def _scans(inputs: Iterable[Path], channels: int) -> list[Case]:
    """The scans behind the inputs. A file that is a channel of one of them, as where a shell's
    pattern named each file, is no scan of its own."""
    cases = [case for path in inputs for case in find_images(path, channels)]
    parts = {path for case in cases if len(case.images) > 1 for path in case.images}
    return [case for case in cases if len(case.images) > 1 or case.images[0] not in parts]


def _checked(job: Job) -> Job:
    if job.output.resolve() in {path.resolve() for path in job.case.images}:
        raise InputError(f"{job.output}: is the scan itself; give another name with -o")
    check_format(job.output, like=job.case.images[0])
    return job


def is_finished(job: Job) -> bool:
    """Whether there is nothing left to do: labels and all maps that are asked for are there."""
    return all(path.exists() for path in _written_to(job))


def _written_to(job: Job) -> list[Path]:
    """The labels, and the maps that are asked for."""
    paths = output_paths(job.output)
    return [job.output, *(getattr(paths, name) for name in job.maps)]


def predict_cases(
    predictor: Predictor,
    jobs: Sequence[Job],
    *,
    overwrite: bool = False,
    on_window: OnWindow | None = None,
    on_written: Callable[[Outcome], None] | None = None,
) -> Iterator[Outcome]:
    """Predicts the jobs, one outcome each: finished ones are skipped first, then in order.

    The next scan is read and the last one written while one is computed. A scan that fails does
    not stop the rest. When interrupted, what was computed is still written, and told.

    Args:
        on_written: Called with what is done as soon as its files are there, in the thread that
            wrote them; the outcome is given only after the next scan was computed.

    Raises:
        InputError: nothing can be written there, or the network cannot run.
    """
    finished = [not overwrite and is_finished(job) for job in jobs]
    for job, done in zip(jobs, finished, strict=True):
        if done:
            yield Outcome(job, "skipped")
    todo = [job for job, done in zip(jobs, finished, strict=True) if not done]

    def write(job: Job, computed: Computed) -> Outcome:
        outcome = _write(job, computed, predictor, overwrite)
        if on_written:
            on_written(outcome)
        return outcome

    for folder in {path.parent for job in todo for path in _written_to(job)}:
        check_writable(folder)
    with (
        ThreadPoolExecutor(1, "read") as reader,
        ThreadPoolExecutor(1, "write") as writer,
    ):
        coming: Future[Read] | None = None
        writing: tuple[Job, Future[Outcome]] | None = None
        try:
            for job, following in zip_longest(todo, todo[1:]):
                current, coming = coming or reader.submit(_read, job.case, predictor), None
                try:
                    wait([current])
                    if following and _fits_beside(following.case, predictor):
                        coming = reader.submit(_read, following.case, predictor)
                    alone = writing is None and coming is None
                    found = None if alone else _unless_refused(current, predictor, on_window)
                    if found is None:
                        if not alone:
                            # Once more, when the last one is written and none is read ahead.
                            _make_room(coming, writing[1] if writing else None)
                            coming, current = None, reader.submit(_read, job.case, predictor)
                        found = _computed(current, predictor, on_window)
                except Exception as error:
                    # A network that cannot run is no scan's fault, and ends all.
                    predictor.ready()
                    yield _failed(job, error)
                    continue
                last, writing = writing, (job, writer.submit(write, job, found))
                del found, current
                if last:
                    yield _written(*last)
        except KeyboardInterrupt:
            reader.shutdown(wait=False, cancel_futures=True)
            if writing:
                yield _written(*writing)
            raise
        if writing:
            yield _written(*writing)


def image_states(images: Iterable[Path]) -> tuple[str, ...]:
    """By which files are known to be what they were: their bytes, and when they were last written;
    nothing of what is not there."""
    found = [path.stat() if path.exists() else None for path in images]
    return tuple(f"{one.st_size} {one.st_mtime_ns}" if one else "" for one in found)


def _read(case: Case, predictor: Predictor) -> Read:
    clock, states = Clock(), image_states(case.images)
    needed, spare, limit = _voxels_gb(case), predictor.spare_gb(), predictor.max_memory_gb
    if needed > spare:
        raise TooLittleMemoryError(f"{case.images[0]}: {reading_refusal(needed, spare, limit)}")
    volume = read_image(case.images[0] if len(case.images) == 1 else case.images)
    clock.step("read")
    return volume, clock.seconds, states


def _make_room(coming: Future[Read] | None, writing: Future[Outcome] | None) -> None:
    """Waits until a prediction is written, and a scan that is read ahead can be let go of."""
    if writing:
        wait([writing])
    if coming and not coming.cancel():
        wait([coming])


def _unless_refused(
    reading: Future[Read], predictor: Predictor, on_window: OnWindow | None
) -> Computed | None:
    """None with too little memory now. The error is not kept: it would keep the scan alive."""
    try:
        return _computed(reading, predictor, on_window)
    except TooLittleMemoryError:
        return None


def _computed(reading: Future[Read], predictor: Predictor, on_window: OnWindow | None) -> Computed:
    volume, seconds, states = reading.result()
    prediction = predictor(volume, on_window)
    return prediction, seconds | prediction.seconds, states


def _write(
    job: Job,
    computed: Computed,
    predictor: Predictor,
    overwrite: bool,
) -> Outcome:
    (prediction, seconds, states), clock = computed, Clock()
    made = write_prediction(output_paths(job.output), prediction, predictor.plan, overwrite)
    clock.step("write")
    return Outcome(job, "done", seconds | clock.seconds, made=made, states=states)


def _written(job: Job, writing: Future[Outcome]) -> Outcome:
    try:
        return writing.result()
    except Exception as error:
        return _failed(job, error)


def _failed(job: Job, error: Exception) -> Outcome:
    _log.debug("%s failed", job.case.name, exc_info=error)
    said = " ".join(str(error).split())
    is_input = isinstance(error, InputError)
    kind = "" if is_input else f"{type(error).__name__}: "
    return Outcome(job, "failed", error=f"{kind}{said}"[:500], is_input=is_input)


def _fits_beside(case: Case, predictor: Predictor) -> bool:
    """Whether the next scan may be in memory while another is computed."""
    try:
        return _voxels_gb(case) < BESIDE * predictor.spare_gb()
    except InputError:
        return True  # reading it will fail, which costs nothing


def _voxels_gb(case: Case) -> float:
    """What reading the scan takes at most, by its headers: voxels as they are in the file, beside
    them as float32 where the header scales them, and channels of several files beside all of them.
    """
    grids = [read_grid(path) for path in case.images]
    held = sum(g.channels * math.prod(g.shape) * (g.itemsize + 4) for g in grids)
    return held * (2 if len(grids) > 1 else 1) / GB


def _suffix(path: Path) -> str:
    """Labels of NIfTI files are written as those are; of other formats as compressed NIfTI."""
    return ".nii" if image_suffix(path) == ".nii" else ".nii.gz"
