"""Folds are nnU-Net's; few cases are handled and said."""

import pytest

from unetr.errors import InputError
from unetr.training.folds import fold_count, split_cases


def test_the_five_folds_of_nnunet():
    """As scikit-learn's KFold(5, shuffle=True, random_state=12345) gives them for 10 cases."""
    names = [f"case{k}" for k in range(10)]
    validation = [split_cases(names, fold).validation for fold in range(5)]
    assert validation == [(0, 7), (3, 9), (4, 6), (1, 8), (2, 5)]
    for fold in range(5):
        split = split_cases(names, fold)
        assert sorted(split.train + split.validation) == list(range(10))


def test_few_cases_leave_one_out():
    assert fold_count(3) == 3
    split = split_cases(["a", "b", "c"], 1)
    assert len(split.train) == 2
    assert split.note == "validated on 1 case only"


def test_one_case_trains_and_validates_and_says_so():
    split = split_cases(["a"], 0)
    assert (split.train, split.validation) == ((0,), (0,))
    assert "say nothing about other scans" in split.note


def test_folds_that_are_not_there():
    with pytest.raises(InputError, match="no labelled case"):
        split_cases([], 0)
    with pytest.raises(InputError, match=r"--fold 5: 10 cases give folds 0 to 4, or all"):
        split_cases([f"case{k}" for k in range(10)], 5)
