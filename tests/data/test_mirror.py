"""Which flips are allowed: none that would exchange a left and a right structure."""

import pytest

from unetr.data.mirror import names_a_side
from unetr.data.plan import Region

from .made_up_fingerprints import label, planned, prints


def test_twins_forbid_the_left_right_flip() -> None:
    kidneys = (label(2, "kidney one"), label(3, "kidney two"))
    plan = planned(prints(labels=kidneys, mirror_twins=((2, 3),)))
    assert plan.mirror_axes == ()
    assert "'kidney one' and 'kidney two' lie mirrored" in plan.reasons["mirror_axes"]


def test_a_name_that_says_a_side_forbids_it_too() -> None:
    plan = planned(prints(labels=(label(1, "left atrium"),)))
    assert plan.mirror_axes == ()
    assert "'left atrium' names a side" in plan.reasons["mirror_axes"]


@pytest.mark.parametrize(
    ("name", "sided"),
    [
        ("left lung", True),
        ("leftkidney", True),
        ("Kidney_R", True),
        ("RKidney", True),
        ("linke Niere", True),
        ("rechtes Knie", True),
        ("bright spot", False),
        ("cleft", False),
        ("Rectum", False),
        ("L1", False),
        ("LV", False),
        ("Leber", False),
    ],
)
def test_what_names_a_side(name: str, sided: bool) -> None:
    assert names_a_side(name) is sided


def test_a_region_that_says_a_side_forbids_it_too() -> None:
    """Its labels may have no names of their own."""
    regions = (Region(name="left lung", members=(1, 2), paint=1),)
    plan = planned(prints(labels=(label(1, "label 1"), label(2, "nodule"))), regions)
    assert plan.mirror_axes == ()
    assert "'left lung' names a side" in plan.reasons["mirror_axes"]


def test_nobody_is_upside_down_or_back_to_front() -> None:
    assert planned(prints()).mirror_axes == (0,)
