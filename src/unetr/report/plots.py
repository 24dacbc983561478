"""Where things lie in the report's plots: boxes of a metric, and volumes against each other."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import MaxNLocator

from unetr.evaluation import Evaluation, Structure

# Of the drawings, in units that are CSS pixels on a phone.
WIDTH, LEFT, RIGHT = 340.0, 8.0, 14.0
ROW, TOP, BOTTOM = 46.0, 6.0, 30.0
SQUARE, MARGIN = 250.0, 44.0
# Points are spread over this height, each always to the same place.
_SPREAD = 13.0


@dataclass(frozen=True)
class Tick:
    """A mark of an axis."""

    at: float
    text: str


@dataclass(frozen=True)
class Point:
    """A case."""

    x: float
    y: float
    title: str


@dataclass(frozen=True)
class BoxRow:
    """One structure: quartiles, whiskers to the farthest case within 1.5 times their distance.

    Attributes:
        box: low whisker, first quartile, median, third quartile, high whisker; empty without a
            defined value.
    """

    name: str
    told: str
    y: float
    box: tuple[float, ...]
    points: Sequence[Point]


@dataclass(frozen=True)
class BoxPlot:
    """One metric, a row per structure."""

    title: str
    height: float
    ticks: Sequence[Tick]
    rows: Sequence[BoxRow]


@dataclass(frozen=True)
class Scatter:
    """Predicted over reference volume of one structure; both axes are the same."""

    name: str
    ticks: Sequence[Tick]
    points: Sequence[Point]


def box_plot(evaluation: Evaluation, metric: str, title: str) -> BoxPlot | None:
    """Boxes with all cases as points; None where nothing is defined."""
    values = evaluation.values(metric)
    if np.isnan(values).all():
        return None
    bounded = metric in ("dice", "nsd")
    least = float(np.nanmin(values)) if bounded else 0.0
    # A share is shown up to 1, from a round tenth below the least.
    low, high = (np.floor(least * 10 - 1e-9) / 10, 1.0) if bounded else (0.0, np.nanmax(values))
    marks = _marks(max(float(low), 0.0), float(high))
    scale = _Scale(marks, LEFT, WIDTH - RIGHT, (0.0, 1.0) if bounded else None)
    rows = [
        _row(evaluation, structure, values[:, index], index, scale)
        for index, structure in enumerate(evaluation.structures)
    ]
    return BoxPlot(title, TOP + ROW * len(rows) + BOTTOM, scale.ticks(), rows)


def volume_scatter(evaluation: Evaluation, structure: Structure) -> Scatter | None:
    """Predicted over reference volume in ml; None where no case has the structure."""
    predicted = evaluation.values("volume_ml", [structure])[:, 0]
    reference = evaluation.values("reference_volume_ml", [structure])[:, 0]
    there = (predicted > 0) | (reference > 0)
    if not there.any():
        return None
    most = float(max(predicted.max(), reference.max()))
    across = _Scale(_marks(0.0, most), MARGIN, SQUARE - RIGHT)
    points = [
        Point(
            across(reference[k]),
            SQUARE - across(predicted[k]),
            f"{evaluation.cases[k]}: {_ml(predicted[k])} predicted, {_ml(reference[k])}",
        )
        for k in np.flatnonzero(there)
    ]
    return Scatter(structure.name, across.ticks(), points)


def _ml(volume: float) -> str:
    """Three digits, or all before the point."""
    return f"{volume:.0f} ml" if volume >= 100 else f"{volume:.3g} ml"


class _Scale:
    """From values to places."""

    def __init__(
        self,
        marks: Sequence[float],
        first: float,
        last: float,
        bounds: tuple[float, float] | None = None,
    ) -> None:
        self.marks = [m for m in marks if bounds is None or bounds[0] <= m <= bounds[1]]
        self._low, self._high = self.marks[0], self.marks[-1]
        self._first, self._last = first, last

    def __call__(self, value: float) -> float:
        share = (value - self._low) / (self._high - self._low)
        return round(float(self._first + share * (self._last - self._first)), 2)

    def ticks(self) -> list[Tick]:
        return [Tick(self(mark), f"{mark:.10g}") for mark in self.marks]


def _marks(low: float, high: float) -> list[float]:
    high = high if high > low else low + 1.0
    values = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return [float(f"{value:.10g}") for value in values]


def _row(
    evaluation: Evaluation, structure: Structure, values: np.ndarray, index: int, scale: _Scale
) -> BoxRow:
    middle = TOP + ROW * index + 30
    defined = np.flatnonzero(~np.isnan(values))
    points = [
        Point(
            scale(values[k]),
            round(middle + _SPREAD * (_scattered(int(k)) - 0.5), 2),
            f"{evaluation.cases[k]}: {values[k]:.4g}",
        )
        for k in defined
    ]
    undefined = len(values) - len(defined)
    told = f"n {len(defined)}" + (f", {undefined} undefined" if undefined else "")
    box = _box(values[defined]) if len(defined) else ()
    return BoxRow(structure.name, told, middle, tuple(map(scale, box)), points)


def _box(values: np.ndarray) -> tuple[float, ...]:
    q1, q2, q3 = np.percentile(values, (25, 50, 75))
    reach = 1.5 * (q3 - q1)
    within = values[(values >= q1 - reach) & (values <= q3 + reach)]
    return float(within.min()), float(q1), float(q2), float(q3), float(within.max())


def _scattered(number: int) -> float:
    """In [0, 1), evenly spread over successive numbers: multiples of the golden ratio."""
    return float(number * 0.6180339887498949 % 1)
