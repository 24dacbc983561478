"""Label tables: from dataset.json in either direction, from labels.toml, or from the voxels."""

import tomllib
from collections.abc import Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unetr.data.facts import count_values
from unetr.data.plan import HIGHEST_LABEL, Label, Region
from unetr.errors import InputError
from unetr.image import read_labels

_MOST_LABELS = 1000


@dataclass(frozen=True)
class Names:
    """What labels and channels are called; empty channels mean: not said."""

    labels: tuple[Label, ...]
    regions: tuple[Region, ...] = ()
    channels: tuple[str, ...] = ()


def read_names(path: Path) -> Names:
    """Reads a `labels.toml`.

    `[labels]` gives `1 = "liver"` or `liver = 1`. `[regions]` (optional) gives
    `"whole tumour" = [1, 2, 3]`, with `regions_class_order` as in nnU-Net; `channels` (optional) is
    a list of names.

    Raises:
        InputError: the file is missing or not TOML, or a table in it is wrong.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; give a labels.toml that exists") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: not readable as TOML ({one_line(error)}); correct it") from error
    unknown = sorted(set(document) - {"labels", "regions", "regions_class_order", "channels"})
    if unknown:
        raise InputError(
            f"{path}: {unknown[0]}: unknown field; use labels, regions, regions_class_order, "
            "channels (and put them above the first [table])"
        )
    channels = document.get("channels", [])
    if not isinstance(channels, list) or not all(isinstance(name, str) for name in channels):
        raise InputError(f'{path}: channels: not a list of names; write channels = ["CT"]')
    order = document.get("regions_class_order")
    if channels and not {"labels", "regions"} & document.keys():
        return Names((), (), tuple(channels))
    if "regions" not in document:
        labels, regions = label_table(path, document.get("labels"), order)
        return Names(labels, regions, tuple(channels))
    labels, _ = label_table(path, document.get("labels"))
    regions = _regions(path, "regions", _by_name(path, "regions", document["regions"]), order)
    known = {label.id for label in labels}
    for region in regions:
        strange = sorted(set(region.members) - known)
        if strange:
            raise InputError(
                f"{path}: regions: {region.name!r} refers to label {strange[0]}, which [labels] "
                "does not have; add the label or take it out of the region"
            )
    return Names(labels, regions, tuple(channels))


def label_table(
    source: Path, table: Any, order: Any = None
) -> tuple[tuple[Label, ...], tuple[Region, ...]]:
    """Labels and regions from a table of ids to names (MSD) or names to ids or lists (nnU-Net).

    Args:
        source: The file to name in errors.
        table: `{"1": "liver"}`, `{"liver": 1}` or `{"whole tumour": [1, 2, 3]}`.
        order: nnU-Net's `regions_class_order`: the id painted for each region.

    Raises:
        InputError: anything else, or ids and names that repeat.
    """
    names = _by_name(source, "labels", table)
    if "ignore" in names:
        raise InputError(
            f"{source}: labels: an 'ignore' label is not supported; "
            "give those voxels a label of their own or leave the cases out"
        )
    background = [name for name, ids in names.items() if ids == (0,)]
    foreground = {name: ids for name, ids in names.items() if ids != (0,)}
    first = Label(id=0, name=background[0] if background else "background")
    if not foreground:
        raise InputError(f"{source}: labels: no label but the background; name a structure")
    if order is None and all(len(ids) == 1 for ids in foreground.values()):
        rest = sorted((Label(id=ids[0], name=name) for name, ids in foreground.items()), key=_id)
        _no_repeats(source, [label.id for label in rest])
        return (first, *rest), ()
    regions = _regions(source, "labels", foreground, order)
    alone = {ids[0]: name for name, ids in foreground.items() if len(ids) == 1}
    members = sorted({member for region in regions for member in region.members})
    rest = [Label(id=member, name=alone.get(member, f"label {member}")) for member in members]
    return (first, *rest), regions


def scan_labels(files: list[Path]) -> tuple[Label, ...]:
    """The label values found in label files, named `label 5`. Unreadable files are passed over.

    Raises:
        InputError: no file can be read, or one holds too many values to be a label map, or too
            high ones.
    """

    def values(path: Path) -> set[int] | InputError:
        try:
            return set(count_values(read_labels(path).array))
        except InputError as error:
            return error

    pool = ThreadPoolExecutor(2)
    try:
        found = list(pool.map(values, files))
    finally:
        pool.shutdown(cancel_futures=True)
    ids: set[int] = set()
    for path, result in zip(files, found, strict=True):
        if isinstance(result, set):
            if len(result) > _MOST_LABELS:
                raise InputError(
                    f"{path}: {len(result)} different values; this looks like an image, "
                    "not like labels: are images and labels swapped?"
                )
            if max(result) > HIGHEST_LABEL:
                raise InputError(
                    f"{path}: label values: {max(result)} is above {HIGHEST_LABEL}; "
                    "renumber the labels"
                )
            ids |= result
    errors = [result for result in found if isinstance(result, InputError)]
    if len(errors) == len(found):
        raise errors[0]
    foreground = sorted(ids - {0})
    if not foreground:
        raise InputError(f"{files[0].parent}: every label file is empty; add labelled voxels")
    return (
        Label(id=0, name="background"),
        *(Label(id=value, name=f"label {value}") for value in foreground),
    )


def one_line(error: Exception) -> str:
    """An exception's message on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _id(label: Label) -> int:
    return label.id


def _by_name(source: Path, field: str, table: Any) -> dict[str, tuple[int, ...]]:
    if not isinstance(table, Mapping) or not table:
        what = "missing" if table is None else "not a table of labels"
        example = f'[{field}] and 1 = "liver"' if source.suffix == ".toml" else '{"1": "liver"}'
        raise InputError(f"{source}: {field}: {what}; write for example {example}")
    named: dict[str, tuple[int, ...]] = {}
    for key, value in table.items():
        name, ids = str(key), value
        if isinstance(value, str):
            name, ids = (value, key) if _integer(key) is not None else (key, value)
        numbers = [_integer(each) for each in (ids if isinstance(ids, list) else [ids])]
        if not numbers or any(number is None or number < 0 for number in numbers):
            raise InputError(
                f"{source}: {field}: {key!r} has {value!r}; an id is an integer from 0 up"
            )
        if too_high := [n for n in numbers if n is not None and n > HIGHEST_LABEL]:
            raise InputError(
                f"{source}: {field}: {key!r} has {too_high[0]}, but ids end at {HIGHEST_LABEL}; "
                "renumber the labels, in the label files too"
            )
        if name in named:
            raise InputError(f"{source}: {field}: the name {name!r} repeats; make names differ")
        named[name] = tuple(number for number in numbers if number is not None)
    return named


def _integer(value: Any) -> int | None:
    if isinstance(value, str):
        return int(value) if value.strip().isdecimal() else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _no_repeats(source: Path, ids: list[int]) -> None:
    repeated = [value for value in ids if ids.count(value) > 1]
    if repeated:
        raise InputError(
            f"{source}: labels: id {repeated[0]} has several names; give each label its own id"
        )


def _regions(
    source: Path, field: str, named: Mapping[str, tuple[int, ...]], order: Any
) -> tuple[Region, ...]:
    if order is None:
        raise InputError(
            f"{source}: {field}: regions need regions_class_order; "
            f"add a list of {len(named)} ids to paint, one per region"
        )
    if not isinstance(order, list) or len(order) != len(named):
        raise InputError(
            f"{source}: regions_class_order: {order!r}; write a list of {len(named)} ids, "
            "one per region, in the regions' order"
        )
    known = {member for members in named.values() for member in members}
    for paint in order:
        if _integer(paint) not in known - {0}:
            raise InputError(
                f"{source}: regions_class_order: {paint!r} is no label of a region; "
                f"use ids out of {sorted(known - {0})}"
            )
    for name, members in named.items():
        if 0 in members:
            raise InputError(f"{source}: {field}: {name!r} contains the background 0; take it out")
    return tuple(
        Region(name=name, members=members, paint=int(paint))
        for (name, members), paint in zip(named.items(), order, strict=True)
    )


def refuse_unnamed(path: Path | str, found: Set[int], known: Set[int]) -> None:
    """Raises InputError where a label file has values, other than 0, that no table names."""
    if strange := unnamed(found, known):
        raise InputError(
            f"{path}: label values: {strange}; correct the voxels, or name it there (or in a "
            "labels.toml, with --labels)"
        )


def unnamed(found: Set[int], known: Set[int]) -> str:
    """In words, the values other than 0 that no table names; empty where there are none."""
    if strange := sorted(found - known - {0}):
        shown = ", ".join(map(str, strange[:5])) + (", ..." if len(strange) > 5 else "")
        return f"{shown} {'is' if len(strange) == 1 else 'are'} not in the label table"
    return ""
