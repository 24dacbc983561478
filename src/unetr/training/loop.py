"""The training loop, from top to bottom."""

import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from unetr.checkpoint.model import Model, save_model
from unetr.training.batches import Batch, Batches
from unetr.training.distributed import Processes
from unetr.training.errors import Stopped, TrainingError, not_finite, told_of_memory
from unetr.training.history import History
from unetr.training.learner import Learner
from unetr.training.precision import Precision
from unetr.training.progress import Moment, Silence, Validated, Watcher
from unetr.training.recipe import Recipe
from unetr.training.sampling import TrainingCase
from unetr.training.schedule import Clock, lr_factor
from unetr.training.state import State, StopRequest, load_state, save_state

# Of a run's time, what validations before the last one may take.
_VALIDATION_SHARE = 0.1
_DISK_BYTES_PER_S = 200e6
# A run of fewer steps ends before kernels are compiled, or soon after. By steps, so that a run that
# was stopped computes as one that was not.
_COMPILED_FROM = 50


@dataclass
class Job:
    """All that a loop needs.

    Attributes:
        recipe: As resolved: learning rate, batch and precision are given.
        model: Its network is on `device`; its provenance goes into the kept model.
        names: Of the training cases; `get` gives one of them by its index.
        validate: Predicts and scores all validation cases with the model as it is, and writes
            their segmentations to the folder.
        validation_s: Seconds that a validation is thought to take, until one is measured.
        finish_s: Seconds at the end of the run for what follows the last validation.
    """

    recipe: Recipe
    model: Model
    device: torch.device
    precision: Precision
    names: Sequence[str]
    get: Callable[[int], TrainingCase]
    validate: Callable[[Path], Validated]
    run: Path
    clock: Clock
    processes: Processes = field(default_factory=Processes)
    watcher: Watcher = field(default_factory=Silence)
    stop: StopRequest = field(default_factory=StopRequest)
    resume: bool = False
    tensorboard: bool = False
    workers: int = 1
    validation_s: float = 0.0
    finish_s: float = 0.0


def train(job: Job) -> State:
    """Trains from the beginning or the saved state to the end of the clock.

    Raises:
        Stopped: a signal asked for it; the state is saved.
        TrainingError: a loss that is not finite.
    """
    recipe, training, processes = job.recipe, job.recipe.training, job.processes
    partial = job.model.name != "unetr"
    learner = Learner(
        job.model.network, recipe, job.device, job.precision, processes.world, partial
    )
    watch = Watch(job, learner)
    step = watch.state.step
    batch = training.batch or 1
    with Batches(
        job.names,
        job.get,
        job.model.plan,
        recipe,
        batch,
        first=step * training.accumulate,
        rank=processes.rank,
        world=processes.world,
        workers=job.workers,
        device=job.device,
    ) as batches:
        parts: list[Batch] = []
        while True:
            progress, due = processes.agree([job.clock.progress(step), float(watch.due(step))])
            if due:
                watch.validate(step, progress)
            if progress >= 1:
                break
            seed = (training.seed * 1_000_003 + step) * processes.world + processes.rank
            lr = (training.lr or 0.0) * lr_factor(progress, training.warmup, training.schedule)
            if step >= _COMPILED_FROM:
                learner.expect_many()
            step += 1
            with told_of_memory(step, recipe, job.model.plan, job.device):
                parts = parts or batches.take_several(training.accumulate)
                on_device = learner.gradients(parts, seed)
                learner.apply(lr, step)
                names = [name for part in parts for name in part.names]
                # An accelerator still computes: the next step's batches take the place of these
                # before it is waited for.
                parts.clear()
                parts = batches.take_several(training.accumulate)
            loss, norm = map(float, on_device)
            loss, stopping = processes.mean([loss, float(job.stop.requested)])
            if not (math.isfinite(loss) and (math.isfinite(norm) or learner.scaler.is_enabled())):
                found = chain(*processes.gather(names))
                raise TrainingError(not_finite(step, loss, norm, lr, found))
            watch.stepped(step, loss, lr, norm)
            if stopping:
                watch.save(step)
                # torchrun ends all as soon as one has: not while the first still writes.
                processes.wait()
                raise Stopped
    # The last validation has saved the state.
    return watch.state


class Watch:
    """What happens between steps: telling, validating, saving."""

    def __init__(self, job: Job, learner: Learner) -> None:
        self.job, self.learner = job, learner
        self.state = State(0, 0.0, 0, -1.0, **learner.state())
        if job.resume:
            loaded = load_state(job.run)
            learner.load({key: getattr(loaded, key) for key in learner.state()})
            # The learner has its own tensors: those of the file are let go.
            self.state = replace(loaded, **learner.state())
            job.clock.before_s = self.state.elapsed_s
        self._validation_s = job.validation_s
        # Until it is measured: weights, moments and averages on a slow disk.
        weights = job.model.network.parameters()
        self._saving_s = sum(4 * w.numel() * w.element_size() for w in weights) / _DISK_BYTES_PER_S
        self._reserve()
        times = job.recipe.validation.times
        # A finished run that is given more steps is validated on its way again.
        progress = job.clock.progress(self.state.step)
        self._validations = min(self.state.validations, int(progress * times + 1e-9))
        self._spent_s = 0.0
        self._saved_at, self._saved_step = time.monotonic(), self.state.step
        self._losses: list[float] = []
        self._since = time.monotonic()
        self._history: History | None = None
        if job.processes.writes:
            self._history = History(job.run, self.state.step, job.tensorboard)

    def _reserve(self) -> None:
        """Leaves time at the end for the last validation, saved on both sides, and the finish."""
        self.job.clock.reserve(self._validation_s + 2 * self._saving_s + self.job.finish_s)

    def due(self, step: int) -> bool:
        """Whether to validate now: at the end, and on the way where it costs little."""
        progress = self.job.clock.progress(step)
        if progress >= 1:
            return self.state.validated_step != step
        number = int(progress * self.job.recipe.validation.times + 1e-9)
        if number <= self._validations:
            return False
        self._validations = number
        allowed = _VALIDATION_SHARE * self.job.clock.elapsed_s() / max(progress, 1e-3)
        return self._spent_s + self._validation_s + 2 * self._saving_s <= allowed

    def validate(self, step: int, progress: float) -> None:
        """Scores the validation cases; the model is kept where it is the best so far."""
        job, began, since = self.job, time.monotonic(), self._since
        if self._saved_step != step:
            # Resumed from here, the validation is still due.
            self.save(step, self._validations - (progress < 1))
        folder = predictions_folder(job.run, step)
        with self.learner.evaluated():
            validating = time.monotonic()
            found = job.validate(folder)
            self._validation_s = time.monotonic() - validating
            # Of equal ones the later has learnt for longer.
            dice = 0.0 if found.dice is None else found.dice
            best = dice >= self.state.best_dice
            if best and job.processes.writes:
                job.model.provenance |= {
                    "step": step,
                    "minutes": round(job.clock.elapsed_s() / 60, 2),
                    "dice": found.dice,
                    "dice_per_label": dict(found.labels),
                }
                save_model(job.run / "model.safetensors", job.model)
        self.state.validated_step = step
        if best:
            self.state.best_dice, self.state.best_step = dice, step
        if self._history is not None:
            self._history.add(
                {
                    "step": step,
                    "seconds": round(job.clock.elapsed_s(), 1),
                    "dice": found.dice,
                    "labels": dict(found.labels),
                    "best": best,
                }
            )
        self.save(step)
        if job.processes.writes:
            keep_only(job.run, self.state.best_step)
        job.watcher.validated(step, found, best)
        seconds = time.monotonic() - began
        self._spent_s += seconds
        # The saves in between have counted themselves.
        self._since = since + seconds
        self._reserve()

    def stepped(self, step: int, loss: float, lr: float, norm: float) -> None:
        """Tells of a step, and saves where it is time."""
        job, training = self.job, self.job.recipe.training
        self._losses.append(loss)
        logged = step % training.log_steps == 0 or step == training.max_steps
        seconds = max(time.monotonic() - self._since, 1e-6)
        samples = len(self._losses) * (training.batch or 1) * training.accumulate
        progress = job.clock.progress(step)
        mean = sum(self._losses) / len(self._losses)
        left = job.clock.left_s(step)
        moment = Moment(step, progress, mean, lr, samples / seconds, left)
        job.watcher.stepped(moment, logged)
        if logged:
            line: dict[str, Any] = {
                "step": step,
                "seconds": round(job.clock.elapsed_s(), 1),
                "loss": mean,
                "lr": lr,
                "gradient": norm if math.isfinite(norm) else None,
                "samples_per_s": round(samples / seconds, 3),
            }
            if self._history is not None:
                self._history.add(line)
            self._losses, self._since = [], time.monotonic()
        by_steps = training.save_steps and step - self._saved_step >= training.save_steps
        if by_steps or time.monotonic() - self._saved_at >= 60 * training.save_minutes:
            self.save(step)

    def save(self, step: int, validations: int | None = None) -> None:
        """Saves the state, by the one process that writes."""
        self.state = State(
            step=step,
            elapsed_s=self.job.clock.elapsed_s(),
            validations=self._validations if validations is None else validations,
            best_dice=self.state.best_dice,
            best_step=self.state.best_step,
            validated_step=self.state.validated_step,
            **self.learner.state(),
        )
        began = time.monotonic()
        if self.job.processes.writes:
            save_state(self.job.run, self.state)
        self._saved_at, self._saved_step = time.monotonic(), step
        self._saving_s = self._saved_at - began
        self._since += self._saving_s
        self._reserve()


def predictions_folder(run: Path, step: int) -> Path:
    """Where the segmentations of the validation after `step` are kept while the run goes."""
    return run / "last" / f"predictions-{step}"


def keep_only(run: Path, step: int) -> None:
    """Removes the segmentations of other validations."""
    for folder in (run / "last").glob("predictions-*"):
        if folder != predictions_folder(run, step):
            shutil.rmtree(folder)
