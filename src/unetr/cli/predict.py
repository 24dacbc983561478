"""The verb `unetr predict`."""

import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from unetr.cli import talk

if TYPE_CHECKING:
    from collections.abc import Callable

    from unetr.inference.cases import Job, Outcome
    from unetr.inference.predictor import OnWindow, Predictor

MODEL_SUFFIXES = (".safetensors", ".onnx", ".xml", ".pt", ".pth", ".ckpt")


def predict(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="MODEL... INPUT...",
            help="Model files, run folders or hippocampus, the model that comes with the package "
            "(several are averaged); then scans, folders of scans or data sets.",
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="A file for one scan, or a folder.")],
    engine: Annotated[
        Literal["auto", "torch", "torch-compile", "openvino", "onnx"],
        typer.Option(help="What computes the network; auto: the fastest installed."),
    ] = "auto",
    precision: Annotated[
        Literal["auto", "fp32", "bf16"],
        typer.Option(help="auto: bf16 where the machine computes in it."),
    ] = "auto",
    device: Annotated[str, typer.Option(help="Such as cpu, cuda, cuda:1.")] = "auto",
    tta: Annotated[bool, typer.Option("--tta", help="Average over the plan's mirrorings.")] = False,
    overlap: Annotated[
        float | None, typer.Option(help="Of neighbouring windows; default: the plan's.")
    ] = None,
    blend: Annotated[
        Literal["gaussian", "constant"] | None,
        typer.Option(help="Of overlapping windows; default: the plan's."),
    ] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also write them, 4D, 16 bits.")
    ] = False,
    uncertainty: Annotated[
        bool,
        typer.Option(
            "--uncertainty",
            help="Also write the entropy; with several models or --tta also the mutual "
            "information, as second volume.",
        ),
    ] = False,
    attention: Annotated[
        int | None,
        typer.Option(metavar="LAYER", help="Also write attention rolled out up to that block."),
    ] = None,
    max_memory: Annotated[
        float | None, typer.Option(metavar="GB", help="Default: what the machine has free.")
    ] = None,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Predict the Ith of N parts of the scans.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Predict finished scans again.")
    ] = False,
) -> None:
    """Segment scans.

    Example: unetr predict run/model.safetensors scans/ -o segmentations
    """
    from unetr.errors import InputError
    from unetr.inference.cases import is_finished, plan_jobs, predict_cases
    from unetr.inference.exported import load_any
    from unetr.inference.manifest import (
        made_by_others,
        made_of_others,
        manifest_path,
        maps_of_others,
        write_manifest,
    )
    from unetr.inference.outputs import MAPS
    from unetr.inference.predictor import Predictor
    from unetr.inference.ranks import shard as part_of
    from unetr.inference.ranks import wait_for_others

    models, inputs = split(paths)
    if _is_run(out) or any(out.glob("fold_*/recipe.toml")):
        raise InputError(f"{out}: holds a training run and its record; give another folder with -o")
    members = [load_any(path) for path in models]
    asked = zip(MAPS, (probabilities, uncertainty, attention is not None), strict=True)
    maps = [name for name, wanted in asked if wanted]
    every = plan_jobs(inputs, out, len(members[0].header.plan.channels), maps)
    jobs, record = part_of(every, shard), manifest_path(out, shard)
    if not overwrite:
        by = made_by_others(record, jobs, members)
        for others in (by, made_of_others(record, jobs), maps_of_others(record, jobs)):
            if others:
                warnings.warn(others, stacklevel=1)
    if not overwrite and all(is_finished(job) for job in jobs):
        talk.say(_nothing_to_do(jobs, out))
        wait_for_others(failed=False)
        return
    predictor = Predictor(
        members,
        engine=engine,
        precision=precision,
        device=device,
        tta=tta,
        overlap=overlap,
        blend=blend,
        max_memory_gb=max_memory,
        probabilities=probabilities,
        uncertainty=uncertainty,
        attention_layer=attention,
    )
    del members  # an engine other than torch has its own copy of the weights
    talk.say(describe(predictor, len(jobs)))
    outcomes: list[Outcome] = []
    one_at_a_time = threading.Lock()

    def recorded(some: "list[Outcome]") -> None:
        try:
            with one_at_a_time:
                write_manifest(record, predictor, some)
        except InputError as error:
            warnings.warn(str(error), stacklevel=1)

    try:
        with _progress(len(jobs)) as (on_window, told), _stopped_by_sigterm():

            def finished(outcome: "Outcome") -> None:
                told(outcome)
                if outcome.status != "skipped":
                    # Now, not at the end: a batch system may kill this process.
                    recorded([outcome])

            for outcome in predict_cases(
                predictor, jobs, overwrite=overwrite, on_window=on_window, on_written=finished
            ):
                if outcome.is_input and len(every) == 1:
                    raise InputError(outcome.error)
                outcomes.append(outcome)
                if outcome.status != "done":
                    finished(outcome)
    finally:
        if outcomes:
            recorded(outcomes)
    failed = any(outcome.status == "failed" for outcome in outcomes)
    wait_for_others(failed)
    _finish(outcomes)


@contextmanager
def _stopped_by_sigterm() -> "Iterator[None]":
    """Within it SIGTERM, by which batch systems stop a job, ends the verb as Ctrl-C does: what was
    computed is still written, and nothing half written stays."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only there are signals delivered
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def split(paths: "list[Path]") -> "tuple[list[Path], list[Path]]":
    """The leading paths that are models, and the rest.

    Raises:
        InputError: no model first, nothing after the models, or a model after a scan.
    """
    from unetr.errors import InputError

    others = enumerate(paths[1:], 1) if _hides_shipped(paths[0]) else enumerate(paths)
    count = next((i for i, path in others if not _is_model(path)), len(paths))
    models, inputs = paths[:count], paths[count:]
    if not models:
        raise InputError(f"{paths[0]}: {_not_a_model(paths[0])}")
    if not inputs:
        raise InputError(f"no scan is given after {paths[-1]}; name files or folders to predict")
    for path in inputs:
        if _is_model(path):
            raise InputError(
                f"{path}: a model after {inputs[0]}, which is none; name models first, then scans"
            )
        if _is_run(path):
            raise InputError(f"{path}: {_not_a_model(path)}")
    return models, inputs


def _is_model(path: "Path") -> bool:
    from unetr.checkpoint.header import model_file

    if path.is_dir():
        return any((path / f"model{suffix}").exists() for suffix in MODEL_SUFFIXES[:3])
    return path.suffix in MODEL_SUFFIXES or model_file(path) != path


def _hides_shipped(path: "Path") -> bool:
    """Whether a folder without a model is named like one that comes with the package."""
    from unetr.checkpoint.header import model_file

    return path.is_dir() and not _is_run(path) and model_file(path).exists()


def _is_run(path: "Path") -> bool:
    return (path / "recipe.toml").exists()


def _not_a_model(path: "Path") -> str:
    """Why, and what to do."""
    if not path.exists():
        return "no such file or folder; name models or run folders first, then scans"
    if _is_run(path):
        return "a training run without a model yet; let it come to its first validation"
    what = "a folder without model.safetensors" if path.is_dir() else "not a model"
    return f"{what}; name models or run folders first, then scans"


def _nothing_to_do(jobs: "list[Job]", out: Path) -> str:
    if not jobs:
        return f"{out}: no scan falls to this part"
    if len(jobs) == 1:
        return f"{jobs[0].output}: already there; --overwrite predicts it again"
    return f"{out}: all {len(jobs)} scans are already there; --overwrite predicts them again"


def describe(predictor: "Predictor", cases: int) -> str:
    """One line: what computes how many scans."""
    members = "1 model" if len(predictor.engines) == 1 else f"{len(predictor.engines)} models"
    views = f", {len(predictor.mirrors)} mirrorings" if len(predictor.mirrors) > 1 else ""
    scans = "1 scan" if cases == 1 else f"{cases} scans"
    engine = f"engine {predictor.engine_names}, {predictor.precisions} on {predictor.device}"
    return f"{scans}, {members}, {engine}{views}"


@contextmanager
def _progress(total: int) -> "Iterator[tuple[OnWindow, Callable[[Outcome], None]]]":
    """A bar over the windows of the current scan, and a line per outcome, both on stderr."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = talk.console()
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("windows")
        finished = 0

        def on_window(done: int, windows: int) -> None:
            bar.update(task, completed=done, total=windows)

        def told(outcome: "Outcome") -> None:
            nonlocal finished
            finished += 1
            line = f"[{finished}/{total}] {_line(outcome)}"
            if console.is_terminal:
                console.print(line, markup=False)
            else:
                talk.say(line)

        yield on_window, told


def _line(outcome: "Outcome") -> str:
    name = outcome.job.case.name
    if outcome.status == "skipped":
        return f"{name}: already there ({outcome.job.output}); --overwrite predicts it again"
    if outcome.status == "failed":
        return f"{name}: failed: {outcome.error}"
    return f"{name}: {outcome.job.output} ({sum(outcome.seconds.values()):.1f} s)"


def _finish(outcomes: "list[Outcome]") -> None:
    """Names what failed, and exits with 1 then."""
    failed = [one for one in outcomes if one.status == "failed"]
    skipped = sum(one.status == "skipped" for one in outcomes)
    if skipped:
        talk.say(f"{skipped} already finished and skipped")
    if failed:
        typer.echo(f"{len(failed)} of {len(outcomes)} failed:", err=True)
        for one in failed:
            typer.echo(f"  {one.job.case.name}: {one.error}", err=True)
        raise typer.Exit(1)
