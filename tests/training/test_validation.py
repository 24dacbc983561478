"""Scores of a validation on the way are those of the metrics, for labels and for regions."""

from pathlib import Path

import numpy as np
import pytest

from unetr.data.cases import Dataset
from unetr.data.plan import Label, Region
from unetr.metrics import dice
from unetr.training.validation import dice_scores

IDS = (0, 7, 20, 600)
LABELS = tuple(Label(id=number, name=f"label {number}") for number in IDS)
REGIONS = (
    Region(name="whole", members=(7, 20, 600), paint=7),
    Region(name="core", members=(20, 600), paint=20),
)


def some_labels(seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).choice(IDS[:3], (9, 8, 7), p=(0.6, 0.3, 0.1))
    # As files are read: x counts fastest.
    return np.asfortranarray(drawn.astype(np.uint16))


@pytest.mark.parametrize("regions", [(), REGIONS])
def test_dice_of_each_structure_is_that_of_its_mask(regions):
    dataset = Dataset(Path(), "folders", ("MR",), LABELS, regions, ())
    found, reference = some_labels(0), some_labels(1)
    scores = dice_scores(dataset, found, reference)
    members = {one.name: one.members for one in regions} or {
        label.name: (label.id,) for label in LABELS[1:]
    }
    assert scores.keys() == members.keys()
    for name, ids in members.items():
        expected = dice(np.isin(found, ids), np.isin(reference, ids))
        if expected is None:
            assert np.isnan(scores[name])
        else:
            assert scores[name] == pytest.approx(expected)
    assert ("label 600" in scores) == (not regions)
