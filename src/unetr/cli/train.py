"""The verb `unetr train`."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from unetr.cli import talk

if TYPE_CHECKING:
    from unetr.training.order import Order


def train(
    dataset: Annotated[Path, typer.Argument(help="Folder of the data set, or its dataset.json.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="RUN", help="Folder of the run.")],
    recipe: Annotated[
        str | None,
        typer.Option(
            help="auto, btcv, btcv-monai, msd-spleen, msd-brain-tumour or a .toml file; "
            "default: auto, or the resumed run's."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Overrule a field of the recipe."),
    ] = None,
    fold: Annotated[
        str | None,
        typer.Option(
            metavar="K|all",
            help="Fold 0 to 4, or all in turn in RUN/fold_K; default: fold 0.",
        ),
    ] = None,
    network: Annotated[
        Literal["unetr", "unetr-modern", "dynunet", "segresnet", "swinunetr"] | None,
        typer.Option(help="Default: the recipe's, which is unetr."),
    ] = None,
    max_minutes: Annotated[
        float | None,
        typer.Option(
            help="The run (each fold) ends, validated, so long after it began; what it took before "
            "--resume counts."
        ),
    ] = None,
    max_steps: Annotated[int | None, typer.Option(help="The run ends after so many steps.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run, or begin where there is none.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the run that is there.")
    ] = False,
    init: Annotated[
        Path | None, typer.Option(metavar="MODEL", help="Begin with the weights of a model.")
    ] = None,
    device: Annotated[str, typer.Option(help="Such as cpu, cuda, cuda:1.")] = "auto",
    seed: Annotated[int | None, typer.Option(help="Default: the recipe's, which is 0.")] = None,
    labels: Annotated[
        Path | None, typer.Option(help="A labels.toml that names labels (and channels).")
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Keep preprocessed cases there for other runs; default: in RUN while it goes.",
        ),
    ] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write TensorBoard's files.")
    ] = False,
) -> None:
    """Train a network on a folder of labelled scans.

    Ctrl-C and SIGTERM save the run first, with exit codes 130 and 143; --resume continues it
    exactly. Under torchrun several processes share the work.

    Example: unetr train Task04_Hippocampus -o run --max-minutes 30
    """
    began = time.monotonic()
    # Loads torch, which takes seconds on a busy machine: they count too.
    from unetr.training.order import Order

    number = _fold(fold)
    order = Order(
        dataset=dataset,
        run=out,
        recipe=recipe,
        settings=tuple(settings or ()),
        labels=labels,
        fold=number,
        network=network,
        init=init,
        max_steps=max_steps,
        max_minutes=max_minutes,
        seed=seed,
        device=device,
        resume=resume,
        overwrite=overwrite,
        tensorboard=tensorboard,
        began=began,
        cache=cache,
    )
    _run(order, folds=fold == "all")


def _fold(fold: str | None) -> int | None:
    from unetr.errors import InputError

    if fold is None or fold == "all":
        return None
    if not fold.isdigit():
        raise InputError(f"--fold {fold}: give a number from 0, or all")
    return int(fold)


def _run(order: "Order", folds: bool) -> None:
    """Trains, and turns the ways in which it can end into exit codes."""
    import signal

    from unetr.cli.watching import watching
    from unetr.errors import InputError
    from unetr.inference.ranks import rank_and_count
    from unetr.training.crossvalidation import fold_runs
    from unetr.training.errors import Stopped, TrainingError
    from unetr.training.run import run_training
    from unetr.training.state import stop_on_signals

    leads = rank_and_count()[0] == 0
    with stop_on_signals() as stop:
        try:
            with watching() as watcher:
                run_training(order, watcher, stop, folds)
        except Stopped as stopped:
            if leads and stopped.replaced:
                talk.say(f"stopped; what is trained is saved. Continue with --resume: {_again()}")
            elif leads:
                talk.say(f"stopped before anything was replaced; {order.run} is as it was")
            # As shells have it, so that what follows in a script does not take the run for done.
            code = signal.SIGINT if stop.signal == signal.SIGINT else signal.SIGTERM
            raise typer.Exit(128 + code) from None
        except TrainingError as error:
            typer.echo(f"unetr: {error}", err=True)
            raise typer.Exit(1) from None
        except InputError:
            # All processes find the same; one tells.
            if leads:
                raise
            raise typer.Exit(2) from None
    if leads:
        for one in fold_runs(order.run) if folds else [order.run]:
            _write_report(one)
        typer.echo(str(order.run / ("cross_validation.json" if folds else "model.safetensors")))


def _write_report(run: Path) -> None:
    """validation/report.html, unless it is there and of these scores."""
    from unetr.evaluation import read_evaluation
    from unetr.report import write_report
    from unetr.training.folder import read_manifest
    from unetr.training.history import read_history

    scores, page = run / "validation" / "summary.json", run / "validation" / "report.html"
    if page.exists() and page.stat().st_mtime_ns >= scores.stat().st_mtime_ns:
        return
    several = sum("dice" in line for line in read_history(run)) > 1
    chosen = "The best model of the run" if several else "The model's post-processing"
    notes = [*read_manifest(run).notes, f"{chosen} was chosen on these cases."]
    write_report(page, read_evaluation(scores.parent), "Validation", notes)


def _again() -> str:
    """The command that continues this run."""
    import shlex
    import sys

    words = ["unetr", *(word for word in sys.argv[1:] if word not in ("--resume", "--overwrite"))]
    return shlex.join([*words, "--resume"])
