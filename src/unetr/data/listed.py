"""Cases that a `dataset.json` lists, one by one: their files and their names."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from unetr.data.cases import Case, group_channels, image_files, split_channel, stem
from unetr.errors import InputError
from unetr.image import image_suffix


def listed_cases(description: Path, document: dict[str, Any], field: str) -> tuple[Case, ...]:
    """The cases of a list, sorted by name; those of `training` must have labels.

    Raises:
        InputError: it is no list, an entry has no files, or two have one name.
    """
    entries = document.get(field)
    if not isinstance(entries, list):
        raise InputError(f"{description}: {field}: not a list; write [{{image, label}}, ...]")
    found = [
        case_of(description, f"{field}[{i}]", entry, field == "training")
        for i, entry in enumerate(entries)
    ]
    return _named_cases(description, field, found)


def _named_cases(description: Path, field: str, found: Sequence[Case]) -> tuple[Case, ...]:
    """Cases sorted by name. Names are file stems; where these repeat, the folders join them."""
    listed = [case.images for case in found]
    names = [case.name for case in found]
    if len(set(listed)) != len(listed):
        twice = next(images for images in listed if listed.count(images) > 1)
        raise InputError(f"{description}: {field}: {twice[0].name} is listed twice; remove one")
    if len(set(names)) != len(names):
        names = [
            "_".join((*_folders(images[0], description.parent), name))
            for images, name in zip(listed, names, strict=True)
        ]
    if len(set(names)) != len(names):
        same = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{description}: {field}: two cases are named {same}; rename one's file")
    cases = [replace(case, name=name) for name, case in zip(names, found, strict=True)]
    return tuple(sorted(cases, key=lambda case: case.name))


def _folders(image: Path, root: Path) -> tuple[str, ...]:
    folder = image.parent
    return folder.relative_to(root).parts if folder.is_relative_to(root) else (folder.name,)


def case_of(description: Path, where: str, entry: Any, labelled: bool) -> Case:
    """One entry of a list: a path, or {image, label} with one image or one per channel.

    Args:
        where: The entry, to be named in errors.

    Raises:
        InputError: no image, or no label where it must have one.
    """
    table = entry if isinstance(entry, dict) else {"image": entry}
    images, label = table.get("image"), table.get("label")
    images = images if isinstance(images, list) else [images]
    if not images or not all(isinstance(image, str) and image for image in images):
        raise InputError(f"{description}: {where}: 'image' is missing or no path; add it")
    if labelled and not (isinstance(label, str) and label):
        raise InputError(
            f"{description}: {where}: 'label' is missing or no path; "
            "add it or move the case to 'test'"
        )
    paths = tuple(path_of(description, image) for image in images)
    name = split_channel(stem(paths[0]))[0] if len(paths) > 1 else stem(paths[0])
    if len(paths) == 1 and not paths[0].exists():
        # nnU-Net version 1 lists x.nii.gz and stores x_0000.nii.gz, x_0001.nii.gz.
        suffixed = paths[0].with_name(f"{stem(paths[0])}_0000{image_suffix(paths[0])}")
        siblings = group_channels(image_files(suffixed.parent)) if suffixed.exists() else {}
        paths = siblings.get(stem(paths[0]), paths)
    return Case(name, paths, path_of(description, label) if labelled and label else None)


def path_of(description: Path, name: str) -> Path:
    """A path that is relative to the description's folder, or absolute."""
    path = Path(name)
    return path if path.is_absolute() else description.parent / path
