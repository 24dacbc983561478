"""What a data set is made of: cases, label and channel names, and what is wrong with them."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from unetr.data.plan import Label, Region
from unetr.errors import InputError
from unetr.image import image_suffix

Layout = Literal["msd", "nnunet", "folders"]

_CHANNEL = re.compile(r"^(.+)_(\d{4})$")


@dataclass(frozen=True)
class Case:
    """One scan: a file with all its channels or a file per channel, and its labels if known."""

    name: str
    images: tuple[Path, ...]
    label: Path | None = None


@dataclass(frozen=True)
class Defect:
    """Something wrong (or, as a `note`, unusual) in one file, told in one line."""

    file: Path
    field: str
    problem: str
    cure: str
    severity: Literal["defect", "note"] = "defect"

    def __str__(self) -> str:
        told = f"{self.file}: {self.field}: {self.problem}"
        return f"{told}; {self.cure}" if self.cure else told


@dataclass(frozen=True)
class Dataset:
    """A folder of scans, whatever its layout.

    Attributes:
        labels: Structures by native id, the background first, then by rising id.
        regions: Overlapping unions of labels predicted instead of labels; empty mostly.
        cases: Labelled cases sorted by name: the order that cross-validation folds rest on.
        test: Cases without labels.
        defects: What opening the folder already showed, such as an image that has no label file.
            `inspect` repeats them; whoever trains should warn of them.
        licence: As the data set states it, or nothing.
    """

    root: Path
    layout: Layout
    channels: tuple[str, ...]
    labels: tuple[Label, ...]
    regions: tuple[Region, ...]
    cases: tuple[Case, ...]
    test: tuple[Case, ...] = ()
    defects: tuple[Defect, ...] = field(default=())
    licence: str = ""


def stem(path: Path) -> str:
    """The file's name without its image suffix."""
    return path.name[: len(path.name) - len(image_suffix(path))]


def image_files(folder: Path) -> list[Path]:
    """The images directly in a folder, sorted; hidden files (macOS leaves `._name`) left out.

    Links that lead nowhere, such as to data that were not fetched, are among them: left out, their
    scans would be so without a word.
    """
    if not folder.is_dir():
        return []
    found = (path for path in folder.iterdir() if path.name[0] != "." and not path.is_dir())
    return sorted(path for path in found if image_suffix(path))


def split_channel(name: str) -> tuple[str, int | None]:
    """`("scan", 1)` for `scan_0001`, `("scan", None)` for `scan`."""
    match = _CHANNEL.match(name)
    return (match[1], int(match[2])) if match else (name, None)


def channel_path(path: Path, channel: int) -> Path:
    """The file that holds another channel of the same scan."""
    name, _ = split_channel(stem(path))
    return path.with_name(f"{name}_{channel:04d}{path.name[len(stem(path)) :]}")


def group_channels(files: list[Path]) -> dict[str, tuple[Path, ...]]:
    """Files of one scan together: `a_0000`, `a_0001` are two channels of `a`.

    Only an unbroken count from 0000 is taken for channels, so that `scan_0007` alone stays a name.

    Raises:
        InputError: two files have the same name, such as `a.nii` and `a.nii.gz`.
    """
    for path, first in twins(files):
        raise InputError(f"{path}: {first.name} has the same name; remove or rename one")
    grouped: dict[str, dict[int | None, Path]] = {}
    for path in files:
        name, channel = split_channel(stem(path))
        grouped.setdefault(name, {})[channel] = path
    scans: dict[str, tuple[Path, ...]] = {}
    for name, channels in grouped.items():
        ordered = [channels[k] for k in range(len(channels)) if k in channels]
        if len(ordered) == len(channels):
            scans[name] = tuple(ordered)
        else:
            scans.update({stem(path): (path,) for path in channels.values()})
    return dict(sorted(scans.items()))


def twins(files: list[Path]) -> list[tuple[Path, Path]]:
    """Files named as one before them but for the suffix, such as `a.nii.gz` beside `a.nii`, each
    with that one."""
    first: dict[str, Path] = {}
    found = ((path, first.setdefault(stem(path), path)) for path in files)
    return [(path, other) for path, other in found if path != other]


def scans_to_predict(folder: Path) -> tuple[tuple[Case, ...], tuple[Defect, ...]]:
    """The scans of a data set that are there to be predicted, and which were left out."""
    files = image_files(folder)
    same = dict(twins(files))
    scans = group_channels([path for path in files if path not in same])
    return tuple(Case(name, images) for name, images in scans.items()), tuple(
        Defect(path, "name", f"{other.name} has the same", "remove or rename one")
        for path, other in same.items()
    )
