"""Brain tumour regions by the names of labels, as several data sets have them."""

import pytest

from unetr.data.plan import Label
from unetr.data.regions import brain_tumour_regions
from unetr.errors import InputError


def labels(*names):
    return [Label(id=k, name=name) for k, name in enumerate(("background", *names))]


def test_the_names_of_msd():
    found = brain_tumour_regions(labels("edema", "non-enhancing tumor", "enhancing tumour"))
    assert [(r.name, r.members, r.paint) for r in found] == [
        ("whole tumour", (1, 2, 3), 1),
        ("tumour core", (2, 3), 2),
        ("enhancing tumour", (3,), 3),
    ]


def test_four_labels_and_short_names():
    four = ("necrosis", "oedema", "non-enhancing tumour", "enhancing tumour")
    found = brain_tumour_regions(labels(*four))
    assert [(r.members, r.paint) for r in found] == [((1, 2, 3, 4), 2), ((1, 3, 4), 1), ((4,), 4)]
    found = brain_tumour_regions(labels("NCR/NET", "ED", "ET"))
    assert [(r.members, r.paint) for r in found] == [((1, 2, 3), 2), ((1, 3), 1), ((3,), 3)]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("label 1", "label 2"), "'label 1' is none of them"),
        (("oedema", "enhancing tumour"), "one of them is missing or there twice"),
        (("oedema", "necrosis", "enhancing", "enhancing 2"), "there twice"),
    ],
)
def test_names_that_do_not_say_are_told_in_one_line(names, told):
    with pytest.raises(InputError, match=told) as caught:
        brain_tumour_regions(labels(*names))
    assert "list the regions in a labels.toml" in str(caught.value)
    assert "\n" not in str(caught.value)
