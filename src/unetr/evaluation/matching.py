"""Which prediction belongs to which reference: by name, in files, folders or a data set."""

import unicodedata
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from unetr.data.cases import Case, Dataset, image_files, split_channel, stem
from unetr.data.dataset import find_images, open_dataset
from unetr.data.folders import IMAGE_FOLDERS, bare_name, find_folder, named_images
from unetr.errors import InputError
from unetr.files import check_text
from unetr.image import IMAGE_SUFFIXES, image_suffix


@dataclass(frozen=True)
class Pair:
    """A prediction, its reference, and the scan itself where it is known.

    Attributes:
        case: Named by the reference, so that evaluations of predictions that are named otherwise
            can be compared.
    """

    case: str
    prediction: Path
    reference: Path
    images: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Pairs:
    """What was matched, sorted by case.

    Attributes:
        predictions, references: Files without a partner.
        dataset: Where the references are one.
    """

    pairs: tuple[Pair, ...]
    predictions: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    dataset: Dataset | None = None


def match(
    predictions: Path, references: Path, labels: Path | None = None, images: Path | None = None
) -> Pairs:
    """Matches label files by name; two files are a pair whatever their names.

    In a data set a prediction may be named as the case, as its label file, or as its image.

    Args:
        predictions: A label file or a folder of them.
        references: A label file, a folder of them, or a data set.
        labels: A labels.toml for the data set.
        images: The scans: a file, a folder or a data set; by default those of the data set.

    Raises:
        InputError: a path without label files, two files for one case, or nothing that matches.
    """
    found = _predictions(predictions)
    cases, dataset = _references(references, labels)
    if len(found) == 1 and len(cases) == 1 and predictions.is_file() and references.is_file():
        matched = {next(iter(found)): cases[0]}
    else:
        matched = _by_name(found, cases)
    for name in (*(path.name for path in found.values()), *(case.name for case in cases)):
        check_text(name)
    if not matched:
        raise InputError(
            f"{predictions}: no file has the name of one in {references} (the first is "
            f"{next(iter(found.values())).name} here, {cases[0].name} there); name them alike"
        )
    pairs = [
        Pair(case.name, found[name], case.label, case.images)
        for name, case in sorted(matched.items(), key=lambda item: item[1].name)
        if case.label is not None
    ]
    used = set(map(id, matched.values()))
    return Pairs(
        tuple(_with_images(pairs, images) if images else pairs),
        tuple(path.name for name, path in found.items() if name not in matched),
        tuple(case.name for case in cases if id(case) not in used),
        dataset,
    )


def _predictions(path: Path) -> dict[str, Path]:
    _check_there(path, "predictions")
    return {stem(path): path} if path.is_file() else named_images(path)


def _references(path: Path, labels: Path | None) -> tuple[list[Case], Dataset | None]:
    """References as cases with a label; images are known in data sets alone."""
    if path.suffix != ".json":
        _check_there(path, "references")
    if path.is_file() and image_suffix(path):
        return [Case(stem(path), (), path)], None
    if path.is_dir() and image_files(path):
        return [Case(name, (), file) for name, file in named_images(path).items()], None
    described = path.is_file() or (path / "dataset.json").exists()
    if not described and not find_folder(path, IMAGE_FOLDERS):
        raise InputError(
            f"{path}: no label file in it, and no data set; supported endings are "
            f"{', '.join(IMAGE_SUFFIXES)}"
        )
    dataset = open_dataset(path, labels, look_for_labels=False)
    return [case for case in dataset.cases if case.label], dataset


def _check_there(path: Path, what: str) -> None:
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; give the {what}")
    if path.is_file() and not image_suffix(path):
        raise InputError(
            f"{path}: not a supported image; supported endings are {', '.join(IMAGE_SUFFIXES)}"
        )


def _by_name(found: dict[str, Path], cases: Sequence[Case]) -> dict[str, Case]:
    """By prediction name. Words such as `img` and `label` are passed over if nothing fits else."""
    keys = _keys(cases)
    matched = {name: keys[same] for name in found if (same := _normal(name)) in keys}
    if not matched:
        matched = _by_bare_name(found, keys)
    first: dict[int, str] = {}
    for name, case in matched.items():
        if (other := first.setdefault(id(case), name)) != name:
            raise InputError(
                f"{found[name]}: belongs to {case.name}, as {found[other].name} does; remove one"
            )
    return matched


def _by_bare_name(found: dict[str, Path], keys: dict[str, Case]) -> dict[str, Case]:
    """By names without words for the kind, which must still tell the cases apart."""
    bare: dict[str, list[Case]] = {}
    for name, case in keys.items():
        same = bare.setdefault(bare_name(name), [])
        if all(case is not other for other in same):
            same.append(case)
    matched = {}
    for name in found:
        cases = bare.get(bare_name(_normal(name)), [])
        if len(cases) > 1:
            raise InputError(
                f"{found[name]}: whether it belongs to {cases[0].name} or {cases[1].name} cannot "
                "be told; leave one of them in the folder"
            )
        if cases:
            matched[name] = cases[0]
    return matched


def _keys(cases: Iterable[Case]) -> dict[str, Case]:
    """Every name a case goes by; its own goes before those of its files."""
    keys = {_normal(case.name): case for case in cases}
    for case in cases:
        for path in (*([case.label] if case.label else []), *case.images[:1]):
            whole = _normal(stem(path))
            name, channel = split_channel(whole)
            keys.setdefault(whole, case)
            if channel == 0:
                keys.setdefault(name, case)
    return keys


def _normal(name: str) -> str:
    """Letters with marks are one character on some systems and two on others."""
    return unicodedata.normalize("NFC", name)


def _scans(images: Path) -> list[Case]:
    """Of a data set all, those with labels too."""
    if images.is_dir() and not image_files(images):
        with suppress(InputError):
            dataset = open_dataset(images, look_for_labels=False)
            return [*dataset.test, *dataset.cases]
    # Of scans that are numbered from 0 on each is a scan, and all look like channels of one.
    alone = [Case(stem(path), (path,)) for path in image_files(images)]
    return [*alone, *find_images(images)]


def _with_images(pairs: Sequence[Pair], images: Path) -> list[Pair]:
    scans = _scans(images)
    if images.is_file() and len(pairs) == 1:
        return [replace(pairs[0], images=scans[0].images)]
    found = _by_name({stem(pair.prediction): pair.prediction for pair in pairs}, scans)
    keys = _keys(scans)
    matched = {
        pair.case: case
        for pair in pairs
        if (case := found.get(stem(pair.prediction)) or keys.get(_normal(pair.case)))
    }
    if not matched:
        raise InputError(
            f"{images}: no image has the name of a prediction (the first is {scans[0].name} here, "
            f"{stem(pairs[0].prediction)} there); name them alike"
        )
    return [
        replace(pair, images=matched[pair.case].images) if pair.case in matched else pair
        for pair in pairs
    ]
