"""Runs that end by the clock."""

import time
from dataclasses import replace

import pytest

from unetr.errors import InputError
from unetr.training.folder import read_manifest
from unetr.training.order import Order, resolve
from unetr.training.progress import Silence
from unetr.training.run import run_training
from unetr.training.state import StopRequest, load_state

from .phantoms import FAST, write_phantoms


@pytest.fixture
def order(tmp_path) -> Order:
    return Order(write_phantoms(tmp_path / "data"), tmp_path / "run", settings=FAST)


def run(order):
    run_training(order, Silence(), StopRequest())


def test_the_run_ends_validated_within_its_minutes(order, monkeypatch):
    monkeypatch.setattr("unetr.training.finish._FIXED_S", 4.0)
    began = time.monotonic()
    run(replace(order, max_steps=None, max_minutes=0.25))
    # The rest is for machines that do other things besides.
    assert time.monotonic() - began < 15 + 5
    manifest = read_manifest(order.run)
    assert manifest.status == "finished"
    assert len(manifest.scores["cases"]) == 2
    assert load_state(order.run).step > 4


def test_minutes_count_from_the_commands_start(order):
    """Not from where the libraries are loaded, which takes long on a busy machine."""
    with pytest.raises(InputError, match=r"max-minutes 1: preparing and validating alone"):
        run(replace(order, max_minutes=1.0, began=time.monotonic() - 60))


def test_minutes_take_the_place_of_the_recipes_steps(order):
    training = resolve(replace(order, max_steps=None, max_minutes=7.0)).training
    assert (training.max_steps, training.max_minutes) == (None, 7.0)
    training = resolve(replace(order, max_steps=None)).training
    assert (training.max_steps, training.max_minutes) == (5000, None)
    both = resolve(replace(order, max_steps=9, max_minutes=7.0)).training
    assert (both.max_steps, both.max_minutes) == (9, 7.0)


def test_a_resumed_run_is_not_given_an_end_that_lies_behind(order):
    run(replace(order, max_steps=1))
    history = order.run / "history.jsonl"
    history.write_text(history.read_text() + '{"step": 1, "seconds": 600.0, "loss": 1.0}\n')
    told = r"max-minutes 5: counts from the run's beginning, and .*run has taken 10\.0 minutes"
    with pytest.raises(InputError, match=told):
        run(replace(order, max_steps=None, max_minutes=5.0, resume=True))
    assert read_manifest(order.run).status == "finished"
