"""Post-processing, chosen by what it changes on the validation cases."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from jaxtyping import Integer

from unetr.data.plan import Label, Postprocessing
from unetr.inference.postprocess import postprocess

Labels = Integer[np.ndarray, "x y z"]

# A rule must be worth it on the mean, and fewer cases could not tell.
_LEAST_GAIN = 0.001
_LEAST_CASES = 3


def choose_rules(
    labels: Sequence[Label],
    cases: Iterable[tuple[Labels, Labels, Sequence[float]]],
    tell: Callable[[], None] = lambda: None,
) -> tuple[tuple[Postprocessing, ...], dict[str, float]]:
    """Per label, whether to keep its largest component alone.

    Args:
        labels: Without the background.
        cases: (prediction, reference, spacing_mm) of validation cases, native label ids.
        tell: Called after each case.

    Returns:
        The rules, and per label name what its rule adds to its mean Dice.
    """
    gains: dict[int, list[float]] = {label.id: [] for label in labels}
    for prediction, reference, spacing_mm in cases:
        for label in labels:
            rule = Postprocessing(label=label.id, largest_component=True)
            before = _dice(prediction, reference, label.id)
            after = _dice(postprocess(prediction, spacing_mm, [rule]), reference, label.id)
            if not np.isnan(before):
                gains[label.id].append(after - before)
        tell()
    means = {
        label: float(np.mean(gains[label.id]))
        for label in labels
        if len(gains[label.id]) >= _LEAST_CASES
    }
    chosen = [label for label, gain in means.items() if gain >= _LEAST_GAIN]
    rules = tuple(Postprocessing(label=label.id, largest_component=True) for label in chosen)
    return rules, {label.name: means[label] for label in chosen}


def _dice(prediction: Labels, reference: Labels, label: int) -> float:
    a, b = prediction == label, reference == label
    sizes = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / sizes if sizes else float("nan")
