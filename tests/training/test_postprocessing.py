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


def chosen(prediction, reference, spacing_mm=(1.0, 1.0, 1.0), cases=3):
    return choose_rules(LABELS, [(prediction, reference, spacing_mm)] * cases)


def test_a_planned_rule_stays_unless_another_is_better():
    """Where it changes nothing, or few cases could tell; not where it takes what belongs."""
    planned = [Postprocessing(label=label.id, largest_component=True) for label in LABELS]
    rules, gains = choose_rules(LABELS, [case(False)] * 3, planned=planned)
    assert rules == (planned[0],)  # the second of two nodes would be lost
    assert gains == {"liver": 0.0}
    assert choose_rules(LABELS, [case(False)] * 2, planned=planned) == (tuple(planned), {})
    prediction, reference, spacing_mm = case(False)
    prediction[4:6, 4:6, 4:6] = 0
    rules, _ = choose_rules(LABELS, [(prediction, reference, spacing_mm)] * 3, planned=planned)
    assert rules == (Postprocessing(label=1, largest_component=True, fill_holes=True),)


def test_small_pieces_are_dropped_where_true_ones_are_several():
    """Two nodes belong; specks of 8 mm3 and of 64 mm3 do not."""
    _, reference, _ = case(False)
    reference = np.kron(reference, np.ones((3, 3, 3), np.uint8))  # nodes of 216 mm3
    prediction = reference.copy()
    prediction[40:42, 40:42, 40:42] = 3
    rules, gains = chosen(prediction, reference)
    assert rules == (Postprocessing(label=3, minimum_mm3=10.0),)
    assert np.isclose(gains["nodes"], 1 - 2 * 432 / (432 + 440))
    prediction[50:54, 50:54, 50:54] = 3
    assert chosen(prediction, reference)[0] == (Postprocessing(label=3, minimum_mm3=100.0),)
    # In finer voxels the nodes themselves are of 27 mm3, the specks of 1 and 8.
    assert chosen(prediction, reference, (0.5, 0.5, 0.5))[0] == (
        Postprocessing(label=3, minimum_mm3=10.0),
    )


def test_holes_are_filled_where_there_should_be_none():
    prediction, reference, _ = case(False)
    prediction[4:6, 4:6, 4:6] = 0
    assert chosen(prediction, reference)[0] == (Postprocessing(label=1, fill_holes=True),)
    prediction[16:19, 16:19, 16:19] = 1
    rules, gains = chosen(prediction, reference)
    assert rules == (Postprocessing(label=1, largest_component=True, fill_holes=True),)
    assert np.isclose(gains["liver"], 1 - 2 * 208 / (208 + 27 + 216))
    # A shell that is meant to be one stays.
    assert chosen(prediction[..., :15], prediction[..., :15])[0] == ()


def test_what_is_found_where_there_is_nothing_is_no_case_afterwards():
    """As in evaluation, where Dice is then undefined."""
    prediction, reference, spacing_mm = case(False)
    prediction[16, 16, 16] = 1
    empty = np.zeros_like(reference)
    speck = empty.copy()
    speck[3, 3, 3] = 1
    cases = [(prediction, reference, spacing_mm)] * 3 + [(speck, empty, spacing_mm)]
    rules, gains = choose_rules(LABELS, cases)
    assert rules == (Postprocessing(label=1, minimum_mm3=10.0),)
    assert np.isclose(gains["liver"], 1 - 3 / 4 * (2 * 216 / (216 + 217)))
    nothing = [(speck, empty, spacing_mm)] * 3
    assert choose_rules(LABELS, nothing) == ((), {})


def test_nothing_is_done_where_nothing_helps_or_few_cases_tell():
    assert choose_rules(LABELS, [case(False)] * 5) == ((), {})
    assert choose_rules(LABELS, [case(True)] * 2) == ((), {})
