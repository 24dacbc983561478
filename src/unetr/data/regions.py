"""Overlapping regions that a field agrees on, found by the names of the labels."""

import re
from collections.abc import Sequence
from dataclasses import replace

from unetr.data.cases import Dataset
from unetr.data.plan import Label, Region
from unetr.errors import InputError

# Oedema is spelt with and without its o; "non-enhancing" must not count as enhancing.
_OEDEMA = re.compile(r"(?i)edema|(?<![a-z])ED(?![a-z])")
_CORE = re.compile(r"(?i)necro|non[\s_-]*enhanc|(?<![a-z])(NCR|NET)(?![a-z])")
_ENHANCING = re.compile(r"(?i)enhanc|(?<![a-z])ET(?![a-z])")


def with_recognised_regions(dataset: Dataset) -> tuple[Dataset, str]:
    """The data set with the regions that the field scores such labels by, and why.

    It stays as it is, without a reason, where it lists regions or its labels are not known.
    """
    if dataset.regions:
        return dataset, ""
    try:
        found = brain_tumour_regions(dataset.labels)
    except InputError:
        return dataset, ""
    names = {label.id: label.name for label in dataset.labels}
    painted = {region.paint for region in found}
    lost = [name for number, name in names.items() if number and number not in painted]
    why = f"the labels are a brain tumour's by their names ({', '.join(r.name for r in found)})"
    if lost:
        why += f"; {', '.join(lost)} is painted as {names[found[1].paint]}"
    return replace(dataset, regions=found), why


def brain_tumour_regions(labels: Sequence[Label]) -> tuple[Region, ...]:
    """The three regions that brain tumours are scored by (Menze et al., IEEE TMI 34(10), 2015).

    The whole tumour is all labels, the tumour core all but oedema, the enhancing tumour one label.
    Each paints what it has beyond the next: oedema; necrosis or non-enhancing tumour, of which the
    first stands for both; enhancing tumour.

    Args:
        labels: The background first, as a data set has them.

    Raises:
        InputError: the names do not say which label is which.
    """
    oedema: list[int] = []
    core: list[int] = []
    enhancing: list[int] = []
    for label in labels[1:]:
        kinds = ((oedema, _OEDEMA), (core, _CORE), (enhancing, _ENHANCING))
        for found, words in kinds:
            if words.search(label.name):
                found.append(label.id)
                break
        else:
            raise _unclear(labels, f"{label.name!r} is none of them")
    if len(oedema) != 1 or len(enhancing) != 1 or not core:
        raise _unclear(labels, "one of them is missing or there twice")
    inner = (*core, *enhancing)
    return (
        Region(name="whole tumour", members=(*sorted((*oedema, *inner)),), paint=oedema[0]),
        Region(name="tumour core", members=(*sorted(inner),), paint=core[0]),
        Region(name="enhancing tumour", members=(*enhancing,), paint=enhancing[0]),
    )


def _unclear(labels: Sequence[Label], why: str) -> InputError:
    return InputError(
        "data.regions brain-tumour: labels must be oedema, necrosis or non-enhancing tumour, and "
        f"enhancing tumour, but {why} among {', '.join(label.name for label in labels[1:])}; "
        "list the regions in a labels.toml"
    )
