"""Paired differences, by hand and against scipy's test."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import wilcoxon

from unetr.errors import InputError
from unetr.evaluation import Evaluation, Structure, compare, write_evaluation
from unetr.evaluation.matching import Pair
from unetr.evaluation.result import METRICS

LIVER = Structure("liver", (3,))


def evaluation(dice, structures=(LIVER,), tolerance_mm=1.0, prefix="case"):
    """Cases with these Dice values, and nothing else defined."""
    names = [f"{prefix}{number}" for number in range(len(dice))]
    scores = {
        name: {each.name: {**dict.fromkeys(METRICS), "dice": value} for each in structures}
        for name, value in zip(names, dice, strict=True)
    }
    pairs = tuple(Pair(name, Path(name), Path(name)) for name in names)
    return Evaluation("p", "r", structures, pairs, scores, tolerance_mm)


@pytest.fixture
def compared(tmp_path):
    def run(first, second):
        for name, each in (("first", first), ("second", second)):
            write_evaluation(tmp_path / name, each)
        return compare(tmp_path / "first", tmp_path / "second")

    return run


def test_by_hand(compared):
    found = compared(
        evaluation([0.5, 0.6, 0.7, None, 0.9, 0.4]), evaluation([0.6, 0.5, 0.9, 0.3, 0.9])
    )
    assert found.cases == ("case0", "case1", "case2", "case3", "case4")
    assert (found.only_first, found.only_second) == (("case5",), ())
    dice = found.differences[0]
    assert (dice.metric, dice.label, dice.name, dice.n, dice.undefined) == (
        "dice",
        "3",
        "liver",
        4,
        1,
    )
    assert (dice.first, dice.second) == (pytest.approx(0.675), pytest.approx(0.725))
    assert dice.difference == pytest.approx(0.05)
    assert -0.1 <= dice.low < dice.difference < dice.high <= 0.2
    assert dice.changed[0].case == "case2"
    assert {each.case for each in dice.changed} == {"case0", "case1", "case2"}
    hd95 = next(each for each in found.differences if each.metric == "hd95_mm")
    assert (hd95.n, hd95.undefined, hd95.p) == (0, 5, None)


def test_p_by_hand(compared):
    """Five cases that all rise: of 32 patterns of signs two are as extreme."""
    found = compared(evaluation([0.1, 0.2, 0.3, 0.4, 0.5]), evaluation([0.2, 0.4, 0.6, 0.8, 1.0]))
    assert found.differences[0].p == pytest.approx(2 / 32)


def test_p_is_scipys_and_unchanged_cases_are_left_out(compared):
    rng = np.random.default_rng(0)
    first = rng.uniform(0.3, 0.9, 30)
    second = first + rng.normal(0.01, 0.05, 30)
    second[:4] = first[:4]
    found = compared(evaluation(first.tolist()), evaluation(second.tolist()))
    assert found.differences[0].p == pytest.approx(wilcoxon(second[4:] - first[4:]).pvalue)


def test_nothing_changed(compared):
    found = compared(evaluation([0.5, 0.6]), evaluation([0.5, 0.6]))
    dice = found.differences[0]
    assert (dice.difference, dice.low, dice.high, dice.p, dice.changed) == (0, 0, 0, 1.0, ())


def test_nothing_in_common(compared):
    with pytest.raises(InputError, match=r"no case in common \(the first is case0 here, other0"):
        compared(evaluation([0.5]), evaluation([0.5], prefix="other"))
    with pytest.raises(InputError, match=r"no label in common \(3 here, 4 there\)"):
        compared(evaluation([0.5]), evaluation([0.5], (Structure("liver", (4,)),)))


def test_notes_on_what_cannot_be_compared(compared):
    renamed = evaluation([0.5, 0.6], (Structure("lung", (3,)),), tolerance_mm=2.0)
    found = compared(evaluation([0.5, 0.6]), renamed)
    assert "nsd" not in {each.metric for each in found.differences}
    assert found.notes[0].startswith("NSD is left out: its tolerance is 1 mm in the first, 2 mm")
    assert found.notes[1] == "label 3 is 'liver' in the first, 'lung' in the second"


def test_regions_are_paired_by_their_labels_and_the_rest_is_named(compared):
    core, also = Structure("core", (1, 2)), Structure("core", (2, 1))
    found = compared(evaluation([0.5, 0.6], (core, LIVER)), evaluation([0.6, 0.6], (also,)))
    assert {each.name for each in found.differences} == {"core"}
    assert found.notes == ("only in the first, so left out: liver",)


def test_other_references_are_told_of(compared):
    """A pair of differing references is no pair."""
    first, second = evaluation([0.5, 0.6]), evaluation([0.6, 0.6])
    for each, ml in ((first, 10.0), (second, 10.1)):
        each.scores["case1"]["liver"]["reference_volume_ml"] = ml
    (note,) = compared(first, second).notes
    assert note.startswith("case1: the references have other volumes in the second")
