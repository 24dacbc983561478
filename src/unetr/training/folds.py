"""Which cases train and which validate."""

from collections.abc import Sequence
from dataclasses import dataclass

from unetr.errors import InputError

FOLDS = 5
_SEED = 12345


@dataclass(frozen=True)
class Split:
    """Indices into the sorted cases.

    Attributes:
        note: What a reader of the scores must know, such as validation on a training case.
    """

    train: tuple[int, ...]
    validation: tuple[int, ...]
    note: str = ""


def fold_count(cases: int) -> int:
    """5, or as many folds as there are cases where these are fewer."""
    return max(min(FOLDS, cases), 1)


def split_cases(names: Sequence[str], fold: int) -> Split:
    """Fold `fold` of nnU-Net's five: scikit-learn's KFold(5, shuffle, random_state 12345).

    With 2 to 4 cases each fold leaves one out. A single case trains and validates, which the note
    says: such a score shows that training works, not how well it generalises.

    Args:
        names: Of the labelled cases, sorted.
        fold: From 0.

    Raises:
        InputError: no case, or no such fold.
    """
    folds = fold_count(len(names))
    if not names:
        raise InputError("no labelled case to train on; `unetr inspect` says what is missing")
    if not 0 <= fold < folds:
        raise InputError(f"--fold {fold}: {len(names)} cases give folds 0 to {folds - 1}, or all")
    if len(names) == 1:
        note = "validated on the one training case: the scores say nothing about other scans"
        return Split((0,), (0,), note)
    from sklearn.model_selection import KFold

    splits = KFold(folds, shuffle=True, random_state=_SEED).split(list(names))
    train, validation = list(splits)[fold]
    few = f"validated on {len(validation)} case only" if len(validation) == 1 else ""
    return Split(tuple(train.tolist()), tuple(validation.tolist()), few)
