"""Means with their uncertainty over cases."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from unetr.errors import InputError

RESAMPLES = 10_000
# So many numbers at most are drawn at once.
_DRAWN = 4_000_000


@dataclass(frozen=True)
class Statistics:
    """Of the defined values.

    Attributes:
        n: How many are defined.
        undefined: How many are not.
        low, high: Bootstrap 95 % confidence interval of the mean; None below two cases.
        q1, q3: Quartiles, interpolated linearly.
    """

    n: int
    undefined: int
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    median: float | None = None
    q1: float | None = None
    q3: float | None = None
    minimum: float | None = None
    maximum: float | None = None


def statistics(values: Float64[np.ndarray, "cases structures"], seed: int = 0) -> Statistics:
    """Summarises values, nan where undefined: each defined one counts once."""
    defined = values[~np.isnan(values)]
    undefined = values.size - defined.size
    if not defined.size:
        return Statistics(0, undefined)
    low, high = bootstrap_interval(values, seed) or (None, None)
    minimum, q1, median, q3, maximum = map(float, np.percentile(defined, (0, 25, 50, 75, 100)))
    mean = float(defined.mean())
    return Statistics(defined.size, undefined, mean, low, high, median, q1, q3, minimum, maximum)


def mean_defined(values: Sequence[float]) -> float | None:
    """Of what is not nan; None where all is."""
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else None


def check_seed(seed: int) -> None:
    """Raises InputError where no generator takes it."""
    if seed < 0:
        raise InputError(f"seed {seed}: give a whole number from 0 up")


def bootstrap_interval(
    values: Float64[np.ndarray, "cases structures"], seed: int = 0
) -> tuple[float, float] | None:
    """95 % percentile interval of the mean of the defined values; None below two cases.

    Whole cases are drawn, because the structures of one case are not independent. Efron &
    Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.
    """
    counts = (~np.isnan(values)).sum(axis=1)
    there = counts > 0
    sums, counts = np.nansum(values, axis=1)[there], counts[there]
    if len(sums) < 2:
        return None
    rng = np.random.default_rng(seed)
    means = [
        sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1) for drawn in _drawn(rng, len(sums))
    ]
    low, high = np.percentile(np.concatenate(means), (2.5, 97.5))
    return float(low), float(high)


def _drawn(rng: np.random.Generator, cases: int) -> Iterator[np.ndarray]:
    """Indices of cases, (some resamples, cases), in bounded memory."""
    step = max(1, _DRAWN // cases)
    for first in range(0, RESAMPLES, step):
        yield rng.integers(0, cases, (min(step, RESAMPLES - first), cases))
