"""Which labels a flip from left to right would exchange, such as the two kidneys."""

import re
from collections.abc import Sequence
from itertools import combinations

import numpy as np
from jaxtyping import Float

from unetr.data.facts import CaseFacts
from unetr.data.plan import Label

# L before a number is none: L1 to L5 are vertebrae.
_SIDE = re.compile(
    r"(?i)(?<![a-z])"
    r"(left|right|(links|linke[rsnm]?|rechts|rechte[rsnm]?|lt|rt|r)(?![a-z])|l(?![a-z0-9]))"
)
# Also between the side and what it is of, as in `RKidney`.
_NEXT_WORD = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=\b[LR])(?=[A-Z][a-z])")

_LEAST_AGREEING = 0.75


def names_a_side(name: str) -> bool:
    """Whether a label's name says left or right."""
    return bool(_SIDE.search(_NEXT_WORD.sub(" ", name)))


def mirror_twins(
    labels: Sequence[Label], facts: Sequence[CaseFacts]
) -> tuple[tuple[int, int], ...]:
    """Pairs of labels that lie mirrored to each other about the middle of the scan.

    Two labels are twins where, in at least three quarters of the cases that have both, (1) their
    centres lie on opposite sides of the scan's middle, always the same one left, (2) mirroring one
    centre brings it within one diameter (that of a ball of the mean volume) of the other, and
    (3) neither has more than twice the other's volume. A liver and a spleen lie opposite too, but
    (3) tells them apart, as a network can; a right and a left kidney differ by nothing else.
    """
    foreground = labels[1:]
    place = np.full((len(facts), len(foreground), 4), np.nan)
    for row, case in enumerate(facts):
        for column, label in enumerate(foreground):
            if label.id in case.labels:
                found = case.labels[label.id]
                place[row, column] = (*found.centre_mm, found.volume_ml)
    return tuple(
        (foreground[a].id, foreground[b].id)
        for a, b in combinations(range(len(foreground)), 2)
        if _are_twins(place[:, a], place[:, b])
    )


def _are_twins(a: Float[np.ndarray, "cases 4"], b: Float[np.ndarray, "cases 4"]) -> bool:
    """Rows are (x, y, z) of the centre in mm from the scan's, and the volume in ml."""
    both = ~np.isnan(a[:, 0]) & ~np.isnan(b[:, 0])
    if not both.any():
        return False
    a, b = a[both], b[both]
    mirrored = a[:, :3] * np.array([-1.0, 1.0, 1.0])
    diameter_mm = np.cbrt(6 / np.pi * 1000 * (a[:, 3] + b[:, 3]) / 2)
    distance_mm = np.linalg.norm(mirrored - b[:, :3], axis=1)
    ratio = a[:, 3] / b[:, 3]
    alike = (distance_mm <= diameter_mm) & (ratio >= 0.5) & (ratio <= 2.0)
    for side in (1.0, -1.0):
        opposite = (side * a[:, 0] > 0) & (side * b[:, 0] < 0)
        if np.mean(alike & opposite) >= _LEAST_AGREEING:
            return True
    return False
