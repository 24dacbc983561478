"""Means, quartiles and bootstrap intervals."""

import numpy as np
import pytest
from scipy import stats

from unetr.evaluation.statistics import bootstrap_interval, statistics


def test_by_hand():
    found = statistics(np.array([[1.0], [2.0], [np.nan], [3.0], [6.0]]))
    assert (found.n, found.undefined, found.mean) == (4, 1, 3.0)
    assert (found.q1, found.median, found.q3) == (1.75, 2.5, 3.75)
    assert (found.minimum, found.maximum) == (1.0, 6.0)


def test_each_defined_value_of_several_structures_counts_once():
    found = statistics(np.array([[1.0, np.nan], [0.4, 0.1]]))
    assert (found.n, found.undefined, found.mean) == (3, 1, pytest.approx(0.5))


def test_nothing_defined_and_a_single_case_have_no_interval():
    nothing = statistics(np.full((3, 1), np.nan))
    assert (nothing.n, nothing.undefined, nothing.mean, nothing.low) == (0, 3, None, None)
    single = statistics(np.array([[0.8, 0.6]]))
    assert (single.n, single.mean, single.low, single.high) == (2, 0.7, None, None)


def test_two_cases_draw_a_quarter_of_each_extreme():
    """Of two values the mean is the lower with probability 1/4: so is the 2.5th percentile."""
    assert bootstrap_interval(np.array([[0.2], [0.6]])) == (0.2, 0.6)


def test_equal_values_leave_no_doubt():
    low, high = bootstrap_interval(np.full((9, 2), 0.7))
    assert low == pytest.approx(0.7)
    assert high == pytest.approx(0.7)


def test_seeded_and_as_scipys():
    values = np.random.default_rng(1).gamma(2.0, size=(40, 1))
    low, high = bootstrap_interval(values, seed=3)
    assert bootstrap_interval(values, seed=3) == (low, high)
    assert bootstrap_interval(values, seed=4) != (low, high)
    peer = stats.bootstrap((values[:, 0],), np.mean, method="percentile", n_resamples=10_000)
    assert (low, high) == pytest.approx(peer.confidence_interval, abs=0.02)


def test_undefined_values_do_not_enter_the_interval():
    values = np.random.default_rng(1).normal(size=(20, 1))
    with_gaps = np.concatenate([values, np.full((5, 1), np.nan)])
    assert bootstrap_interval(with_gaps) == bootstrap_interval(values)


def test_many_cases_are_drawn_in_parts(monkeypatch):
    values = np.random.default_rng(1).normal(size=(50, 1))
    whole = bootstrap_interval(values)
    monkeypatch.setattr("unetr.evaluation.statistics._DRAWN", 1000)
    assert bootstrap_interval(values) == whole
