"""Batches: the same sequence from any beginning, and split over processes."""

import pytest
import torch

from unetr.training.batches import Batches

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


def test_errors_of_a_case_reach_the_loop():
    def broken(index):
        raise OSError("gone")

    with (
        Batches(NAMES, broken, tiny_plan(), recipe(), 2) as batches,
        pytest.raises(OSError, match="gone"),
    ):
        batches.take()


def test_the_loops_threads_stay_as_they_were():
    before = torch.get_num_threads()
    taken(1)
    assert torch.get_num_threads() == before
