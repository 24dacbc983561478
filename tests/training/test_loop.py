"""The loop: exact resumption, what it keeps, how it stops."""

import json
import math

import numpy as np
import pytest
import torch

from unetr.checkpoint import load_model
from unetr.model.residual_block import ResidualBlock
from unetr.training import learner, loop
from unetr.training.errors import Stopped, TrainingError
from unetr.training.history import read_history
from unetr.training.loop import train
from unetr.training.progress import Silence, Validated
from unetr.training.recipe import Validation
from unetr.training.schedule import Clock, lr_factor
from unetr.training.state import load_state

from .tiny import array_case


class StopAt(Silence):
    """Asks the job to stop after a step."""

    def __init__(self, job, step):
        self.job, self.step = job, step

    def stepped(self, moment, logged):
        self.job.stop.requested = moment.step >= self.step - 1


def weights(run):
    state = load_state(run)
    return {**state.network, **{f"ema{i}": tensor for i, tensor in enumerate(state.ema)}}


def test_four_steps_and_four_more_are_eight(make_job):
    whole = train(make_job("whole"))
    first = make_job("parts")
    first.watcher = StopAt(first, 4)
    with pytest.raises(Stopped):
        train(first)
    assert load_state(first.run).step == 4
    rest = train(make_job("parts", resume=True))
    assert (whole.step, rest.step) == (8, 8)
    at_once, in_parts = weights(make_job("whole").run), weights(first.run)
    assert at_once.keys() == in_parts.keys()
    for name, value in at_once.items():
        assert torch.equal(value, in_parts[name]), name
    assert not torch.equal(at_once["ema0"], next(iter(whole.network.values())))
    moments = [load_state(make_job(run).run).optimizer["state"] for run in ("whole", "parts")]
    for parameter, moment in moments[0].items():
        assert torch.equal(moment["exp_avg_sq"], moments[1][parameter]["exp_avg_sq"])


def test_parts_are_compiled_once_a_run_is_long_also_when_it_goes_on(make_job, monkeypatch):
    steps = []
    monkeypatch.setattr(loop, "_COMPILED_FROM", 3)
    prepared = learner.prepare

    def noted(network, compiled=True):
        steps.append(compiled)
        return prepared(network, compiled)

    monkeypatch.setattr(learner, "prepare", noted)
    first = make_job()
    first.watcher = StopAt(first, 2)
    with pytest.raises(Stopped):
        train(first)
    assert steps == [False]
    train(make_job(resume=True))
    assert steps == [False, False, True]
    blocks = [each for each in first.model.network.modules() if isinstance(each, ResidualBlock)]
    assert blocks
    assert not any(block.compiled for block in blocks)


def test_history_of_a_resumed_run_has_each_step_once(make_job):
    first = make_job(max_steps=8)
    first.watcher = StopAt(first, 5)
    with pytest.raises(Stopped):
        train(first)
    train(make_job(resume=True))
    lines = read_history(first.run)
    assert [line["step"] for line in lines if "loss" in line] == [2, 4, 6, 8]
    assert lines[0]["lr"] > 0


def test_the_best_model_is_kept(make_job):
    """Dice falls after the first validation, so the last weights are not the model."""
    job = make_job(max_steps=8, ema=0.0)
    scores = iter([0.8, 0.3])
    kept = []

    def validate(folder):
        kept.append({k: v.clone() for k, v in job.model.network.state_dict().items()})
        return Validated(next(scores), {"ball": 0.8, "box": 0.8}, {"a": 0.8}, 0.0)

    job.validate = validate
    state = train(job)
    model = load_model(job.run)
    assert (state.best_step, state.best_dice) == (4, 0.8)
    assert model.provenance["step"] == 4
    for name, value in model.network.state_dict().items():
        assert torch.equal(value, kept[0][name])
    name = next(iter(kept[0]))
    assert not torch.equal(kept[0][name], kept[1][name])


def test_stopped_while_validating_it_validates_again(make_job):
    """And it ends as if it had not been stopped, in both validations."""
    whole = train(make_job("whole"))
    for times in (1, 2):
        job = make_job("parts", resume=times > 1)
        calls = []

        def validate(folder, job=job, calls=calls, times=times):
            calls.append(folder)
            if len(calls) == times:
                raise Stopped
            return Validated(0.5, {"ball": 0.4, "box": None}, {"a": 0.5}, 0.0)

        job.validate = validate
        with pytest.raises(Stopped):
            train(job)
        assert load_state(job.run).step == 4 * times
    parts = train(make_job("parts", resume=True))
    assert (parts.validations, parts.validated_step) == (whole.validations, whole.validated_step)
    for name, value in weights(make_job("whole").run).items():
        assert torch.equal(value, weights(job.run)[name]), name
    steps = [[x["step"] for x in read_history(make_job(run).run)] for run in ("whole", "parts")]
    assert steps[0] == steps[1]


def test_averaged_weights_are_validated_and_kept(make_job):
    job = make_job(max_steps=4, ema=0.9)
    state = train(job)
    names = [name for name, _ in job.model.network.named_parameters()]
    model = load_model(job.run).network.state_dict()
    for name, average in zip(names, state.ema, strict=True):
        assert torch.equal(model[name], average)
    assert not torch.equal(model[names[0]], state.network[names[0]])


def test_a_loss_that_is_not_finite_names_step_rate_and_cases(make_job):
    broken = array_case(1)
    broken.image[:] = np.nan
    job = make_job(cases=[array_case(0), broken], accumulate=1, batch=2)
    with pytest.raises(TrainingError, match=r"step 1: the loss is nan.*learning rate.*case1"):
        train(job)


def test_an_accelerator_that_is_too_small_is_told_of(make_job, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")

    monkeypatch.setattr(learner.Learner, "gradients", full)
    told = r"^step 1: a batch of 2 with patches of [\dx ]+ voxels does not fit.* training.batch"
    with pytest.raises(TrainingError, match=told):
        train(make_job(batch=2))


def test_a_run_without_minutes_left_is_validated_at_once(make_job):
    job = make_job(max_steps=None, max_minutes=0.001)
    job.finish_s = 10.0
    state = train(job)
    assert (state.step, state.validated_step) == (0, 0)


class TenthOfASecondPerStep(Clock):
    """A clock that the job's steps move on, however long they take."""

    def __init__(self, job, minutes):
        super().__init__(None, minutes)
        self.steps = 0
        job.watcher = self

    def elapsed_s(self):
        return 0.1 * self.steps

    def stepped(self, moment, logged):
        self.steps += 1

    def validated(self, step, found, best):
        pass


def test_schedule_follows_the_clock(make_job, monkeypatch):
    monkeypatch.setattr("unetr.training.loop._DISK_BYTES_PER_S", math.inf)
    job = make_job(max_steps=None, max_minutes=0.05, log_steps=1, accumulate=1, warmup=0.2)
    job.clock = TenthOfASecondPerStep(job, 0.05)
    job.finish_s = 1.0
    # Measured validations would take their time off the end.
    job.recipe = job.recipe.model_copy(update={"validation": Validation(times=1)})
    state = train(job)
    # 3 s of minutes without 1.25 s for the finish: 17.5 steps.
    assert (state.step, state.validated_step) == (18, 18)
    rates = {line["step"]: line["lr"] for line in read_history(job.run) if "lr" in line}
    for step, lr in rates.items():
        assert lr == pytest.approx(1e-2 * lr_factor((step - 1) / 17.5, 0.2, "cosine"))
    assert max(rates, key=rates.__getitem__) == 5


def test_history_is_json_lines(make_job):
    job = make_job(max_steps=2)
    train(job)
    lines = [json.loads(text) for text in (job.run / "history.jsonl").read_text().splitlines()]
    validation = lines[-1]
    assert validation == {
        "step": 2, "seconds": validation["seconds"], "dice": 0.5,
        "labels": {"ball": 0.4, "box": None}, "best": True,
    }  # fmt: skip
    assert lines[-2].keys() == {"step", "seconds", "loss", "lr", "gradient", "samples_per_s"}
