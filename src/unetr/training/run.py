"""A training run, from a folder of scans to a finished run folder; or one per fold."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from unetr.checkpoint.model import Model
from unetr.data.cache import CaseCache
from unetr.errors import InputError
from unetr.files import check_writable
from unetr.inference.device import find_device
from unetr.inference.ranks import processes_here
from unetr.training.batches import workers_for
from unetr.training.continued import check_device, continued
from unetr.training.crossvalidation import FILE, fold_runs, write_cross_validation
from unetr.training.decide import decide, initial_network
from unetr.training.distributed import Processes, joined
from unetr.training.errors import Stopped
from unetr.training.finish import finish, finish_estimate_s
from unetr.training.folder import (
    claim,
    clear,
    clear_parts,
    forget,
    is_finished,
    remove,
    write_manifest,
    write_recipe,
)
from unetr.training.folds import fold_count
from unetr.training.loop import Job, train
from unetr.training.order import Order, Prepared, open_for_training
from unetr.training.preprocessed import preprocessed, tell_of_cut, tell_of_new
from unetr.training.progress import Silence, Stoppable, Watcher
from unetr.training.schedule import Clock
from unetr.training.sizes import batch_size
from unetr.training.state import StopRequest, state_path
from unetr.training.validation import Validator


def run_training(order: Order, watcher: Watcher, stop: StopRequest, folds: bool = False) -> None:
    """Trains as ordered; under torchrun together with the other processes.

    Args:
        folds: All folds in turn, each in a folder of its own in the run's, and their summary.

    Raises:
        InputError: the order does not fit the data set, the folder or the machine.
        Stopped: a signal asked for it; what has been trained is saved.
        TrainingError: the loss is not finite, or another process is gone.
    """
    if order.resume and order.overwrite:
        raise InputError("--resume and --overwrite: a run goes on or begins anew; give one of them")
    device = find_device(order.device)
    with joined(device) as processes:
        watcher = watcher if processes.writes else Silence()
        if processes.world == 1:  # Several stop between two steps, together.
            watcher = Stoppable(watcher, lambda: stop.requested)
        if folds:
            _run_folds(order, device, processes, watcher, stop)
        else:
            run_fold(order, device, processes, watcher, stop)


def _run_folds(
    order: Order, device: torch.device, processes: Processes, watcher: Watcher, stop: StopRequest
) -> None:
    count = fold_count(len(open_for_training(order).cases))
    runs = [order.run / f"fold_{fold}" for fold in range(count)]
    others = [*(path for path in fold_runs(order.run) if path != runs[0]), order.run / FILE]
    # The folds have one plan, so that a case is preprocessed once.
    cache = order.run / "cache_of_folds"
    for fold, run in enumerate(runs):
        # The minutes are each fold's own.
        one = replace(order, run=run, fold=fold, began=None, cache=order.cache or cache)
        if fold:
            # The first one has replaced all: what is left half way must not go with older folds.
            one = replace(one, overwrite=False, together=runs[0])
        if processes.lead(partial(_is_done, one)):
            watcher.say(f"fold {fold}: already finished in {one.run}")
            continue
        watcher.say(f"fold {fold} of 0 to {count - 1}")
        run_fold(one, device, processes, watcher, stop, others if one.overwrite else ())
    if processes.writes:
        if order.cache is None:
            shutil.rmtree(cache, ignore_errors=True)
        found = write_cross_validation(order.run, count)
        told = "undefined" if found is None else f"{found:.4f}"
        watcher.say(f"cross-validation: Dice {told} over all {count} folds")


def _is_done(order: Order) -> bool:
    """Whether the fold needs no more training.

    Raises:
        InputError: it was trained otherwise than is ordered now, so that a summary would mix them.
    """
    if order.overwrite or not is_finished(order.run):
        return False
    if not continued(order).extended:
        return True
    if not order.resume:
        raise InputError(
            f"{order.run}: finished with another end than is asked for now; --resume trains it on "
            "to that, --overwrite begins anew"
        )
    return False


def run_fold(
    order: Order,
    device: torch.device,
    processes: Processes,
    watcher: Watcher,
    stop: StopRequest,
    others: Sequence[Path] = (),
) -> None:
    """One run, from its beginning or from where it was left; see `_begin`."""
    began = time.monotonic() if order.began is None else order.began
    prepared = processes.lead(lambda: _begin(order, device, processes.world, watcher, others))
    if prepared is None:
        watcher.say(f"{order.run}: already finished; more --max-steps continue it")
        return
    manifest, recipe = prepared.manifest, prepared.recipe
    # Whatever a resumed run is given, its structures have the names that it began with.
    plan = manifest.plan
    dataset = replace(open_for_training(order), labels=plan.labels, regions=plan.regions)
    cases = {case.name: case for case in dataset.cases}
    training = [cases[name] for name in manifest.train]
    validation = [cases[name] for name in manifest.validation]
    for line in _described(prepared):
        watcher.say(line)

    cache = CaseCache(order.cache or order.run / "cache", manifest.plan)
    # Each process prepares its share of what is not there yet; the rest it then only opens.
    own = training[processes.rank :: processes.world]
    processes.each(lambda: preprocessed(cache, own, watcher, len(training)))
    resumed = state_path(order.run).exists()
    made, cut = (processes.gather(names) for names in (cache.made, cache.cut))
    if resumed and order.cache is None and not prepared.extended:
        tell_of_new(sum(map(len, made)), watcher)
    tell_of_cut(sorted(chain(*cut)), watcher)
    cached = preprocessed(cache, training, Silence(), len(training))

    network = initial_network(manifest, recipe.training.seed, resumed).to(device)
    model = Model(
        network,
        manifest.plan,
        provenance=prepared.provenance(),
        source=str(order.run),
        name=manifest.network,
        config=manifest.config,
    )
    validator = Validator(
        dataset,
        validation,
        model,
        device,
        manifest.precision,
        processes,
        lambda done, total: watcher.preparing("validating", done, total),
    )
    job = Job(
        recipe,
        model,
        device,
        manifest.precision,
        names=[case.name for case in training],
        get=cached.__getitem__,
        validate=validator,
        run=order.run,
        clock=Clock(recipe.training.max_steps, recipe.training.max_minutes, started=began),
        processes=processes,
        watcher=watcher,
        stop=stop,
        resume=resumed,
        workers=workers_for(device, processes_here()),
        tensorboard=order.tensorboard,
    )
    if recipe.validation.times > 1 or recipe.training.max_minutes is not None:
        job.validation_s = validator.estimate_s()
    if recipe.training.max_minutes is not None:
        job.finish_s = finish_estimate_s(dataset, validation)
        if not resumed:
            processes.lead(partial(_check_minutes, job, recipe.training.max_minutes))
    train(job)
    if processes.writes:
        finish(order.run, manifest, validator, watcher)
        shutil.rmtree(order.run / "cache", ignore_errors=True)


def _check_minutes(job: Job, minutes: float) -> None:
    """Raises InputError where no time would be left to train in."""
    job.clock.reserve(job.validation_s + job.finish_s)
    needed_s = job.clock.elapsed_s() + job.clock.reserved_s
    if needed_s >= 60 * minutes:
        # The folder is as if the command had not been given, but for what it has replaced.
        forget(job.run)
        raise InputError(
            f"--max-minutes {minutes:g}: preparing and validating alone take about "
            f"{needed_s / 60:.1f} minutes; give more, or --max-steps"
        )


def _begin(
    order: Order,
    device: torch.device,
    world: int,
    watcher: Watcher,
    others: Sequence[Path] = (),
) -> Prepared | None:
    """What the run is, written into its folder; None where it is finished.

    Args:
        others: Runs, and what sums them up, that are replaced together with it.
    """
    resume = claim(order.run, resume=order.resume, overwrite=order.overwrite)
    check_writable(order.run)
    if not resume:
        if order.resume:
            watcher.say(f"{order.run}: nothing there to resume, so it begins")
        for path in others:
            if path.is_dir():
                claim(path, resume=False, overwrite=True)
        _refuse_own(order, others)
        # What is replaced is lost only when the new run is planned.
        try:
            prepared = decide(order, device, world, watcher)
        except Stopped:
            raise Stopped(replaced=not order.overwrite) from None
        clear(order.run)
        for path in others:
            remove(path)
    else:
        clear_parts(order.run)
        prepared = continued(order)
        if is_finished(order.run) and not prepared.extended:
            return None
        # The batch was chosen for the number of processes that the run began with.
        batch_size(prepared.recipe.training.batch, world)
        check_device(prepared.manifest, device)
        if prepared.extended:
            # Stopped on the way to its new end, it is no finished run with these scores.
            begun: dict[str, Any] = {"status": "started", "finished": None, "scores": {}}
            prepared = replace(prepared, manifest=prepared.manifest.model_copy(update=begun))
    write_recipe(order.run, prepared.recipe)
    write_manifest(order.run, prepared.manifest)
    return prepared


def _refuse_own(order: Order, others: Sequence[Path]) -> None:
    """Raises InputError where what is replaced is still needed when it is gone."""
    needed = [("--init", order.init)]
    if others and order.recipe:
        # Folds read it one after the other.
        needed.append(("--recipe", Path(order.recipe)))
    replaced = {path.resolve() for path in (order.run, *others)}
    for option, path in needed:
        if path is None or not path.exists():
            continue
        if replaced & {path.resolve(), *path.resolve().parents}:
            raise InputError(f"{option} {path}: lies in the run to be replaced; give another -o")


def _described(prepared: Prepared) -> Sequence[str]:
    """What the run will do, in a few lines."""
    manifest, training = prepared.manifest, prepared.recipe.training
    patch = " x ".join(map(str, manifest.plan.patch_voxels))
    spacing = " x ".join(f"{mm:.3g}" for mm in manifest.plan.spacing_mm)
    minutes = training.max_minutes
    if minutes is not None:
        end = f"{minutes:g} minutes"
    else:
        patches = (training.max_steps or 0) * (training.batch or 1) * training.accumulate
        each = patches / len(manifest.train)
        end = f"{training.max_steps} steps: about {each:.2g} patches of each case"
    return (
        f"{len(manifest.train)} cases train, {len(manifest.validation)} validate",
        f"patches of {patch} voxels at {spacing} mm, {training.batch} a step, {end}",
        f"{manifest.network} on {manifest.device} in {manifest.precision}: "
        f"{manifest.precision_reason}",
    )
