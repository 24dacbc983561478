"""Batches: the same sequence from any beginning, and split over processes."""

import threading
import time

import pytest
import torch

from unetr.training import batches
from unetr.training.batches import Batches, workers_for

from .tiny import array_case, recipe, tiny_plan

CASES = [array_case(seed) for seed in range(3)]
NAMES = ["a", "b", "c"]


def taken(count, **keywords):
    with Batches(NAMES, CASES.__getitem__, tiny_plan(), recipe(), 4, **keywords) as batches:
        return [batches.take() for _ in range(count)]


def test_a_later_beginning_continues_the_sequence():
    whole, rest = taken(5), taken(2, first=3)
    for expected, found in zip(whole[3:], rest, strict=True):
        assert found.names == expected.names
        assert torch.equal(found.x, expected.x)
        assert torch.equal(found.y, expected.y)
    assert not torch.equal(whole[0].x, whole[1].x)


def test_more_threads_give_the_same():
    for expected, found in zip(taken(4), taken(4, workers=3), strict=True):
        assert torch.equal(found.x, expected.x)


def test_processes_share_each_batch():
    whole = taken(2)
    parts = [taken(2, rank=rank, world=2) for rank in range(2)]
    for number, expected in enumerate(whole):
        for rank, part in enumerate(parts):
            assert torch.equal(part[number].x, expected.x[rank::2])
            assert part[number].names == expected.names[rank::2]


def test_the_networks_threads_are_put_back_last(monkeypatch):
    """However late a thread sets its own, since for MKL that counts in all threads."""
    calls, own = [], threading.get_ident()

    def slow(count):
        if threading.get_ident() != own:
            time.sleep(0.2)
        calls.append(count)

    monkeypatch.setattr(torch, "set_num_threads", slow)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    with Batches(NAMES, CASES.__getitem__, tiny_plan(), recipe(), 2, workers=2) as batches:
        batches.take()
    assert calls == [1, 1, 7]


def test_batches_are_made_on_one_core_each():
    """Also after the loop has put its own number back, which holds for threads that never asked."""
    before, found = torch.get_num_threads(), []

    def get(index):
        found.append(torch.get_num_threads())
        return CASES[index]

    torch.set_num_threads(2)
    try:
        with Batches(NAMES, get, tiny_plan(), recipe(), 2, workers=2) as batches:
            batches.take()
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert set(found) == {1}


def test_errors_of_a_case_reach_the_loop():
    def broken(index):
        raise OSError("gone")

    with (
        Batches(NAMES, broken, tiny_plan(), recipe(), 2) as batches,
        pytest.raises(OSError, match="gone"),
    ):
        batches.take()


def test_accelerators_have_their_share_of_the_cores(monkeypatch):
    monkeypatch.setattr(batches, "cores", lambda: 12)
    assert workers_for(torch.device("cpu"), 1) == 1
    shares = [workers_for(torch.device("cuda"), beside) for beside in (1, 2, 4, 12, 20)]
    assert shares == [8, 5, 2, 1, 1]
