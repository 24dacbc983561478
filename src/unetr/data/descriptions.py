"""The two data set layouts that a `dataset.json` describes: MSD and nnU-Net v2."""

import json
from pathlib import Path
from typing import Any

from unetr.data.cases import (
    Case,
    Dataset,
    Defect,
    channel_path,
    image_files,
    scans_to_predict,
    split_channel,
    stem,
    twins,
)
from unetr.data.listed import case_of, listed_cases, path_of
from unetr.data.names import Names, label_table, one_line
from unetr.errors import InputError
from unetr.image import IMAGE_SUFFIXES, image_suffix


def open_described(description: Path, names: Names | None) -> Dataset:
    """Opens the data set around a `dataset.json`; `names` overrides the labels it gives.

    Raises:
        InputError: the file is no JSON, or a field is missing or of the wrong kind.
    """
    document = _read(description)
    if "channel_names" in document:
        return _open_nnunet(description, document, names)
    if "training" in document:
        return _open_msd(description, document, names)
    raise InputError(
        f"{description}: neither 'channel_names' (nnU-Net) nor 'training' (MSD) is there; "
        "add the one that fits, or remove the file and use images/ and labels/ folders"
    )


def listed_images(description: Path) -> tuple[Case, ...]:
    """The test scans a MSD `dataset.json` lists, or none."""
    document = _read(description)
    return listed_cases(description, document, "test") if "test" in document else ()


def _read(description: Path) -> dict[str, Any]:
    try:
        document = json.loads(description.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise InputError(f"{description}: no such file; give a folder or json") from error
    except json.JSONDecodeError as error:
        raise InputError(
            f"{description}: not valid JSON at line {error.lineno}, column {error.colno} "
            f"({error.msg}); correct it there"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{description}: cannot be read ({one_line(error)})") from error
    if not isinstance(document, dict):
        raise InputError(f"{description}: holds no JSON object; it must start with {{")
    return document


def _channels(description: Path, document: dict[str, Any], field: str) -> tuple[str, ...]:
    """Channel names in the order of their numbers, whatever the order they are written in."""
    table = document.get(field)
    if isinstance(table, dict) and table:
        numbers = {str(key): value for key, value in table.items()}
        wanted = [str(number) for number in range(len(table))]
        if set(numbers) == set(wanted) and all(isinstance(v, str) for v in numbers.values()):
            return tuple(numbers[number] for number in wanted)
    raise InputError(
        f'{description}: {field}: {table!r}; number the channels from 0: {{"0": "CT"}}'
    )


def _count_defects(description: Path, document: dict[str, Any], found: int) -> list[Defect]:
    count = document.get("numTraining", found)
    if count == found:
        return []
    problem = f"says {count!r}, but there are {found} training cases"
    cure = f"set it to {found} or bring the missing cases"
    return [Defect(description, "numTraining", problem, cure)]


def _licence(document: dict[str, Any]) -> str:
    """MSD spells it one way, others the other; the decathlon writes "CC-BY-SA 4.0"."""
    told = document.get("licence") or document.get("license") or ""
    return " ".join(told.split()) if isinstance(told, str) else ""


def _open_msd(description: Path, document: dict[str, Any], names: Names | None) -> Dataset:
    channels = names.channels if names else ()
    if not channels:
        channels = _channels(description, document, "modality")
    labels, regions = (
        (names.labels, names.regions)
        if names and names.labels
        else label_table(description, document.get("labels"), document.get("regions_class_order"))
    )
    cases = listed_cases(description, document, "training")
    if not cases:
        raise InputError(f"{description}: training: lists no case; add image and label pairs")
    return Dataset(
        root=description.parent,
        layout="msd",
        channels=channels,
        labels=labels,
        regions=regions,
        cases=cases,
        test=listed_cases(description, document, "test") if document.get("test") else (),
        defects=(
            *_count_defects(description, document, len(cases)),
            *_other_lists(description, document),
        ),
        licence=_licence(document),
    )


def _other_lists(description: Path, document: dict[str, Any]) -> list[Defect]:
    """Lists of cases by other names, such as MONAI's `validation`: folds are drawn from all."""
    return [
        Defect(
            description,
            name,
            f"the {len(entries)} cases listed here are left out",
            "move them to training, or to test if they are not to be learnt from",
        )
        for name, entries in document.items()
        if name not in ("training", "test")
        and isinstance(entries, list)
        and entries
        and all(isinstance(entry, dict) and "image" in entry for entry in entries)
    ]


def _open_nnunet(description: Path, document: dict[str, Any], names: Names | None) -> Dataset:
    channels = _channels(description, document, "channel_names")
    if names and names.channels:
        channels = names.channels
    labels, regions = (
        (names.labels, names.regions)
        if names and names.labels
        else label_table(description, document.get("labels"), document.get("regions_class_order"))
    )
    ending = document.get("file_ending", ".nii.gz")
    if ending not in IMAGE_SUFFIXES:
        raise InputError(
            f"{description}: file_ending: {ending!r} is not supported; "
            f"use one of {', '.join(IMAGE_SUFFIXES)}"
        )
    root = description.parent
    defects: list[Defect] = []
    if "dataset" in document:
        cases = _mapped(description, document["dataset"])
    else:
        cases, defects = _in_folders(root, ending, len(channels))
    tests, left_out = scans_to_predict(root / "imagesTs")
    return Dataset(
        root=root,
        layout="nnunet",
        channels=channels,
        labels=labels,
        regions=regions,
        cases=cases,
        test=tests,
        defects=(*defects, *left_out, *_count_defects(description, document, len(cases))),
        licence=_licence(document),
    )


def _mapped(description: Path, table: Any) -> tuple[Case, ...]:
    """nnU-Net's 'dataset' key: case name to {images: [one per channel], label}."""
    if not isinstance(table, dict) or not table:
        raise InputError(f"{description}: dataset: not a table of cases; write {{name: {{...}}}}")
    cases = []
    for name, entry in sorted(table.items()):
        entry = entry if isinstance(entry, dict) else {}
        # It becomes the name of files.
        if not name or name.startswith(".") or {"/", "\\"} & {*name}:
            raise InputError(
                f"{description}: dataset.{name}: a name that no file can have; take letters, "
                "digits, - and _"
            )
        images = case_of(
            description, f"dataset.{name}", {"image": entry.get("images")}, False
        ).images
        label = entry.get("label")
        if not isinstance(label, str):
            raise InputError(f"{description}: dataset.{name}: 'label' is missing; add its path")
        cases.append(Case(name, images, path_of(description, label)))
    return tuple(cases)


def _in_folders(root: Path, ending: str, channels: int) -> tuple[tuple[Case, ...], list[Defect]]:
    """Pairs imagesTr/NAME_0000 with labelsTr/NAME; every channel is expected, there or not."""
    images_folder, labels_folder = root / "imagesTr", root / "labelsTr"
    files, defects = _with_ending(images_folder, ending)
    label_files, others = _with_ending(labels_folder, ending)
    defects += others
    labels = {stem(path): path for path in label_files}
    scans: dict[str, Path] = {}
    for path in files:
        name, channel = split_channel(stem(path))
        if channel is None:
            problem, cure = "no channel number", f"name it {stem(path)}_0000{ending}"
            defects.append(Defect(path, "file name", problem, cure))
        elif channel >= channels:
            cure = "add it to channel_names or remove the file"
            defects.append(Defect(path, "channel", f"channel {channel} is not declared", cure))
        else:
            scans.setdefault(name, path)
    for name in sorted(set(scans) - set(labels)):
        cure = f"add {labels_folder.name}/{name}{ending} or move the image to imagesTs"
        defects.append(Defect(scans[name], "label", "no label file", cure))
    for name in sorted(set(labels) - set(scans)):
        cure = f"add {images_folder.name}/{name}_0000{ending} or remove the label"
        defects.append(Defect(labels[name], "image", "no image", cure))
    cases = tuple(
        Case(name, tuple(channel_path(scans[name], k) for k in range(channels)), labels[name])
        for name in sorted(set(scans) & set(labels))
    )
    if not cases:
        raise InputError(
            f"{images_folder}: no image matches a label in {labels_folder.name}; "
            f"name them NAME_0000{ending} and NAME{ending}"
        )
    return cases, defects


def _with_ending(folder: Path, ending: str) -> tuple[list[Path], list[Defect]]:
    """The images that end so, in small or capital letters, and a word on each other one."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; nnU-Net's layout keeps its files there")
    files = image_files(folder)
    fitting = [path for path in files if image_suffix(path) == ending]
    others = [path for path in files if image_suffix(path) != ending]
    if not fitting:
        said = "it is empty"
        if others:
            said = f"the files end in {image_suffix(others[0])}: set file_ending to that"
        raise InputError(f"{folder}: no file ends in {ending}; {said}")
    for path, first in twins(fitting):
        raise InputError(f"{path}: {first.name} has the same name; remove or rename one")
    cure = "convert it, or remove it"
    return fitting, [
        Defect(path, "file name", f"does not end in file_ending {ending}, so it is left out", cure)
        for path in others
    ]
