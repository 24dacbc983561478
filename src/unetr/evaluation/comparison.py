"""Two evaluations of the same cases: what changed, by how much, and whether by chance."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from unetr.errors import InputError
from unetr.evaluation.records import read_evaluation
from unetr.evaluation.result import Evaluation
from unetr.evaluation.statistics import bootstrap_interval, check_seed
from unetr.evaluation.structures import Structure

COMPARED = ("dice", "iou", "hd95_mm", "assd_mm", "nsd")
_CHANGED = 3


@dataclass(frozen=True)
class Change:
    """A case in both evaluations."""

    case: str
    first: float
    second: float


@dataclass(frozen=True)
class Difference:
    """Second less first, over the cases where both are defined.

    Attributes:
        n: How many these are.
        undefined: Common cases where one or both are not.
        low, high: Bootstrap 95 % confidence interval of the mean difference; None below two cases.
        p: Of Wilcoxon's signed-rank test, two-sided, not corrected for the number of tests.
        changed: The cases that changed most, greatest first.
    """

    metric: str
    label: str
    name: str
    n: int
    undefined: int
    first: float | None = None
    second: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    changed: tuple[Change, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """What two evaluations have in common, and what not.

    Attributes:
        cases: In both.
        only_first, only_second: Cases that the other lacks.
        notes: What a reader of the figures must know.
    """

    first: str
    second: str
    cases: tuple[str, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    differences: tuple[Difference, ...]
    notes: tuple[str, ...] = ()


def compare(first: Path | str, second: Path | str, seed: int = 0) -> Comparison:
    """Compares two folders that `unetr evaluate` or a training run wrote, case by case.

    Raises:
        InputError: one cannot be read, or they have no case or no structure in common.
    """
    check_seed(seed)
    one, other = read_evaluation(Path(first)), read_evaluation(Path(second))
    common = tuple(case for case in one.cases if case in set(other.cases))
    if not common:
        raise InputError(
            f"{first} and {second}: no case in common (the first is {one.cases[0]} here, "
            f"{other.cases[0]} there); evaluate both on the same references"
        )
    twins = {frozenset(each.members): each for each in other.structures}
    pairs = [(each, twins.get(frozenset(each.members))) for each in one.structures]
    structures = [(each, twin) for each, twin in pairs if twin is not None]
    if not structures:
        raise InputError(
            f"{first} and {second}: no label in common ({_labels(one)} here, {_labels(other)} "
            "there); evaluate both with the same labels"
        )
    metrics = [m for m in COMPARED if m != "nsd" or one.tolerance_mm == other.tolerance_mm]
    return Comparison(
        str(first),
        str(second),
        common,
        tuple(case for case in one.cases if case not in common),
        tuple(case for case in other.cases if case not in common),
        tuple(
            _difference(metric, pair, common, (one, other), seed)
            for pair in structures
            for metric in metrics
        ),
        tuple(_notes(one, other, structures)),
    )


def _difference(
    metric: str,
    structures: tuple[Structure, Structure],
    cases: tuple[str, ...],
    evaluations: tuple[Evaluation, Evaluation],
    seed: int,
) -> Difference:
    a, b = (
        np.array([e.scores[case][s.name][metric] for case in cases], dtype=np.float64)
        for e, s in zip(evaluations, structures, strict=True)
    )
    defined = ~np.isnan(a) & ~np.isnan(b)
    n, structure = int(defined.sum()), structures[0]
    if not n:
        return Difference(metric, structure.label, structure.name, 0, len(cases))
    a, b, names = a[defined], b[defined], np.array(cases)[defined]
    change = b - a
    low, high = bootstrap_interval(change[:, None], seed) or (None, None)
    order = [k for k in np.argsort(-np.abs(change), kind="stable") if change[k]][:_CHANGED]
    return Difference(
        metric,
        structure.label,
        structure.name,
        n=n,
        undefined=len(cases) - n,
        first=float(a.mean()),
        second=float(b.mean()),
        difference=float(change.mean()),
        low=low,
        high=high,
        p=wilcoxon_p(change),
        changed=tuple(Change(str(names[k]), float(a[k]), float(b[k])) for k in order),
    )


def wilcoxon_p(change: Float64[np.ndarray, " n"]) -> float:
    """Two-sided p of Wilcoxon's signed-rank test; cases that did not change are left out.

    1 where no case changed. Wilcoxon 1945, Biometrics Bulletin 1(6).
    """
    from scipy.stats import wilcoxon

    changed = change[change != 0]
    if not len(changed):
        return 1.0
    return float(wilcoxon(changed).pvalue)


def _labels(evaluation: Evaluation) -> str:
    labels = [each.label for each in evaluation.structures]
    return ", ".join(labels[:5]) + (", ..." if len(labels) > 5 else "")


def _notes(
    one: Evaluation, other: Evaluation, shared: list[tuple[Structure, Structure]]
) -> list[str]:
    notes = []
    if one.tolerance_mm != other.tolerance_mm:
        notes.append(
            f"NSD is left out: its tolerance is {one.tolerance_mm:g} mm in the first, "
            f"{other.tolerance_mm:g} mm in the second"
        )
    if differing := _other_references(one, other, shared):
        more = f" and {len(differing) - 1} more" if len(differing) > 1 else ""
        notes.append(
            f"{differing[0]}{more}: the references have other volumes in the second, so they are "
            "not the same; evaluate both on the same references"
        )
    for a, b in shared:
        if a.name != b.name:
            notes.append(f"label {a.label} is {a.name!r} in the first, {b.name!r} in the second")
    for where, each, known in (("first", one, [a for a, _ in shared]),
                               ("second", other, [b for _, b in shared])):  # fmt: skip
        if left := [s.name for s in each.structures if s not in known]:
            notes.append(f"only in the {where}, so left out: {', '.join(left)}")
    return notes


def _other_references(
    one: Evaluation, other: Evaluation, shared: list[tuple[Structure, Structure]]
) -> list[str]:
    """Cases of both in which a structure's reference has not the same volume."""
    return [
        case
        for case in one.cases
        if case in other.scores
        and any(
            not math.isclose(
                one.scores[case][a.name]["reference_volume_ml"] or 0.0,
                other.scores[case][b.name]["reference_volume_ml"] or 0.0,
                rel_tol=1e-6,
            )
            for a, b in shared
        )
    ]
