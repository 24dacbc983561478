"""Rules are taken where they help on the validation cases, and only there."""

import numpy as np

from unetr.data.plan import Label, Postprocessing
from unetr.training.postprocessing import choose_rules

LABELS = (Label(id=1, name="liver"), Label(id=3, name="nodes"))


def case(stray: bool):
    """One liver; two nodes that belong both; a stray piece of liver in the prediction."""
    reference = np.zeros((20, 20, 20), np.uint8)
    reference[2:8, 2:8, 2:8] = 1
    reference[12:14, 2:4, 2:4] = reference[12:14, 12:14, 2:4] = 3
    prediction = reference.copy()
    if stray:
        prediction[16:19, 16:19, 16:19] = 1
    return prediction, reference, (1.0, 1.0, 1.0)


def test_a_rule_that_helps_is_taken_for_its_label_alone():
    told = []
    rules, gains = choose_rules(LABELS, [case(True)] * 3, lambda: told.append(1))
    assert rules == (Postprocessing(label=1, largest_component=True),)
    assert gains.keys() == {"liver"}
    before = 2 * 216 / (216 + 243)
    assert np.isclose(gains["liver"], 1 - before)
    assert len(told) == 3


def test_nothing_is_done_where_nothing_helps_or_few_cases_tell():
    assert choose_rules(LABELS, [case(False)] * 5) == ((), {})
    assert choose_rules(LABELS, [case(True)] * 2) == ((), {})
