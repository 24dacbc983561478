"""What is scored, and what it is called."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unetr.data.cases import Dataset
from unetr.data.names import read_names, refuse_unnamed
from unetr.data.plan import Label, Region
from unetr.data.regions import with_recognised_regions
from unetr.errors import InputError
from unetr.image import read_label_names

# More distinct values than this are intensities.
_MOST_LABELS = 1000


@dataclass(frozen=True)
class Structure:
    """A label, or a region of several.

    Attributes:
        members: Native label ids.
    """

    name: str
    members: tuple[int, ...]

    @property
    def label(self) -> str:
        """The native number; a region's are joined: 1+3."""
        return "+".join(map(str, self.members))


@dataclass(frozen=True)
class LabelTable:
    """What label files may hold.

    Attributes:
        structures: Scored in every case.
        known: Every native id that may occur; None where nothing said so: then what is found in
            the files is scored too.
        names: By id, for what is found.
    """

    structures: tuple[Structure, ...] = ()
    known: frozenset[int] | None = None
    names: Mapping[int, str] | None = None

    def of_case(self, path: Path, found: set[int]) -> tuple[Structure, ...]:
        """What to score where these ids were found.

        Raises:
            InputError: an id that no table knows, or too many for a label image.
        """
        if len(found) > _MOST_LABELS:
            raise InputError(
                f"{path}: label values: {len(found)} different ones; is this the image, not its "
                "labels?"
            )
        if self.known is None:
            names = self.names or {}
            ids = sorted(found - {0})
            return tuple(Structure(names.get(i, f"label {i}"), (i,)) for i in ids)
        refuse_unnamed(path, found, self.known)
        return self.structures


def structures_of(labels: Sequence[Label], regions: Sequence[Region]) -> tuple[Structure, ...]:
    """The regions where there are some, else the labels but the background."""
    if regions:
        return tuple(Structure(region.name, region.members) for region in regions)
    return tuple(Structure(label.name, (label.id,)) for label in labels if label.id)


def named_table(labels: Sequence[Label], regions: Sequence[Region]) -> LabelTable:
    """A table that knows every id."""
    return LabelTable(structures_of(labels, regions), frozenset(label.id for label in labels))


def find_table(dataset: Dataset | None, labels: Path | None, files: Iterable[Path]) -> LabelTable:
    """Names from `labels` (a labels.toml), else the data set, else the headers of the label files.

    A data set of brain tumours is scored in their regions, though it lists labels alone.

    Raises:
        InputError: the labels.toml is broken, or two headers name an id differently.
    """
    if labels is not None and (given := read_names(labels)).labels:
        return named_table(given.labels, given.regions)
    if dataset is not None and not _made_up(dataset):
        known, _ = with_recognised_regions(dataset)
        return named_table(known.labels, known.regions)
    return _from_headers(files)


def _made_up(dataset: Dataset) -> bool:
    """Whether the data set had no names, so that its labels are called after what was found."""
    made_up = all(label.name == f"label {label.id}" for label in dataset.labels[1:])
    return made_up and not dataset.regions


def _from_headers(files: Iterable[Path]) -> LabelTable:
    names: dict[int, str] = {}
    source: dict[int, Path] = {}
    for path in files:
        try:
            held = read_label_names(path)
        except InputError:
            continue  # named when it is read
        for number, name in held.items():
            if names.setdefault(number, name) != name:
                raise InputError(
                    f"{path}: label names: {number} is {name!r}, but {names[number]!r} in "
                    f"{source[number]}; say which with --labels"
                )
            source.setdefault(number, path)
    for number, name in names.items():
        if list(names.values()).count(name) > 1:
            names[number] = f"{name} ({number})"
    structures = tuple(Structure(names[i], (i,)) for i in sorted(names) if i)
    return LabelTable(structures, None, names)
