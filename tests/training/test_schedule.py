"""Learning rates and clocks at known points."""

import time

import pytest

from unetr.training.schedule import FLOOR, Clock, lr_factor


def test_warmup_then_half_a_cosine():
    found = [lr_factor(p, 0.2, "cosine") for p in (0.0, 0.1, 0.2, 0.6, 1.0)]
    assert found == pytest.approx([FLOOR, 0.5, 1.0, FLOOR + (1 - FLOOR) / 2, FLOOR])


def test_constant_stays():
    assert [lr_factor(p, 0.0, "constant") for p in (0.0, 0.5, 1.0)] == [1.0, 1.0, 1.0]


def test_clock_goes_by_what_ends_first():
    started = time.monotonic() - 30.0
    assert Clock(100, None, started=started).progress(25) == 0.25
    assert Clock(None, 1.0, started=started).progress(25) == pytest.approx(0.5, abs=0.01)
    assert Clock(100, 1.0, started=started).progress(75) == 0.75
    assert Clock(None, 1.0, reserved_s=10.0, started=started).progress(0) == pytest.approx(
        0.6, abs=0.01
    )
    assert Clock(None, 1.0, before_s=40.0, started=started).progress(0) == 1.0


def test_time_left_by_the_pace_so_far():
    clock = Clock(100, None, before_s=20.0, started=time.monotonic() - 10.0)
    assert clock.left_s(25) == pytest.approx(90.0, abs=0.5)
    assert clock.left_s(0) == 0.0
