"""Plain folders: images beside labels of the same name, without a description."""

import re
from pathlib import Path

from unetr.data.cases import (
    Case,
    Dataset,
    Defect,
    channel_path,
    group_channels,
    image_files,
    scans_to_predict,
    split_channel,
    stem,
    twins,
)
from unetr.data.names import Names, scan_labels
from unetr.data.plan import Label
from unetr.errors import InputError
from unetr.image import cure_for, read_grid

IMAGE_FOLDERS = ("images", "imagestr", "image", "imgs", "img", "scans")
LABEL_FOLDERS = ("labels", "labelstr", "label", "masks", "mask", "segmentations", "seg")
TEST_FOLDERS = ("imagests", "imagestest", "test", "imagesval")

# What BTCV and others put into names: img0001 belongs to label0001, a_image to a_seg.
_KIND = re.compile(
    r"(?i)(?<![a-z])(images?|img|scan|labels?|lbl|masks?|segmentations?|seg|gt)(?![a-z])"
)


def open_folders(root: Path, names: Names | None, look_for_labels: bool = True) -> Dataset:
    """Opens `images/` + `labels/` (or imagesTr/ + labelsTr/ and the like) matched by file name.

    Raises:
        InputError: a folder is missing or empty, or no image has a label.
    """
    images_folder, labels_folder = (
        find_folder(root, IMAGE_FOLDERS),
        find_folder(root, LABEL_FOLDERS),
    )
    if images_folder is None:
        raise InputError(
            f"{root}: no data set: neither dataset.json nor an images folder; "
            "put the scans into images/ and their labels into labels/"
        )
    if labels_folder is None:
        raise InputError(
            f"{root}: no labels folder beside {images_folder.name}; "
            "put label files of the same names into labels/"
        )
    images, labels = named_images(images_folder), named_images(labels_folder)
    pairs, defects = _match(images, labels)
    if not pairs:
        raise InputError(
            f"{images_folder}: no image has the name of a label in {labels_folder.name}; "
            f"name them alike (first image {next(iter(images))}, first label {next(iter(labels))})"
        )
    channels = names.channels if names and names.channels else ()
    count = len(channels) or max(len(files) for files in pairs.values())
    cases = tuple(
        Case(name, _every_channel(name, files, count), labels[name])
        for name, files in sorted(pairs.items())
    )
    found: tuple[Label, ...] = (Label(id=0, name="background"),)
    if look_for_labels and not (names and names.labels):
        found = scan_labels([labels[case.name] for case in cases])
    folder = find_folder(root, TEST_FOLDERS)
    tests, left_out = scans_to_predict(folder) if folder else ((), ())
    return Dataset(
        root=root,
        layout="folders",
        channels=channels or _channel_names(cases),
        labels=names.labels if names and names.labels else found,
        regions=names.regions if names else (),
        cases=cases,
        test=tests,
        defects=(*defects, *left_out),
    )


def find_folder(root: Path, names: tuple[str, ...]) -> Path | None:
    """The first of the named folders that is there, in any case of letters."""
    there = {path.name.lower(): path for path in sorted(root.iterdir()) if path.is_dir()}
    return next((there[name] for name in names if name in there), None)


def unlabelled(folder: Path) -> tuple[Case, ...]:
    """Every scan of a folder, channels of one scan together; InputError as `group_channels`."""
    return tuple(Case(n, files) for n, files in group_channels(image_files(folder)).items())


def named_images(folder: Path) -> dict[str, Path]:
    """The images of a folder by their names without suffix.

    Raises:
        InputError: there is none, or two have the same name, such as `a.nii` and `a.nii.gz`.
    """
    files = image_files(folder)
    if not files:
        raise InputError(f"{folder}: no image in it; {cure_for(folder)}")
    for path, first in twins(files):
        raise InputError(f"{path}: {first.name} has the same name; remove or rename one")
    return {stem(path): path for path in files}


def _match(
    images: dict[str, Path], labels: dict[str, Path]
) -> tuple[dict[str, tuple[Path, ...]], list[Defect]]:
    """Files per label name: the same name, else name_0000..., else the same but for the kind."""
    scans: dict[str, tuple[Path, ...]] = {}
    owners: dict[str, str] = {}
    bases = {name: name if name in labels else split_channel(name)[0] for name in images}
    if not set(bases.values()) & set(labels):
        keys = {bare_name(name): name for name in labels}
        for name, base in bases.items():
            # `img_0001` is of `label_0001`, and not channel 1 of `img`.
            base = name if bare_name(name) in keys else base
            bases[name] = keys.get(bare_name(base), base)
            first = owners.setdefault(bases[name], base)
            if first != base:
                raise InputError(
                    f"{images[name]}: its label would be {bases[name]}, which is that of {first}, "
                    "too; remove or rename one"
                )
    for name, path in images.items():
        scans[bases[name]] = (*scans.get(bases[name], ()), path)
    defects = [
        Defect(path, "label", "no label file", "add one, or move the image to imagesTs/")
        for name in sorted(set(scans) - set(labels))
        # Without a label nothing tells whether case_0003 and case_0004 are channels or scans.
        for path in scans[name]
    ]
    defects += [
        Defect(labels[name], "image", "no image of that name", "add it or remove the label")
        for name in sorted(set(labels) - set(scans))
    ]
    return {name: files for name, files in scans.items() if name in labels}, defects


def bare_name(name: str) -> str:
    """A name without the words for what a file is: `0001` for `img0001` and for `label0001`."""
    return _KIND.sub("", name).strip("_-. ")


def _every_channel(name: str, files: tuple[Path, ...], count: int) -> tuple[Path, ...]:
    """The files of all channels: also those that are not there, so that inspection names them.

    A file that has the label's whole name holds all channels: `scan_0001` is no channel then.
    """
    if count == 1 or split_channel(stem(files[0]))[1] is None:
        return files
    if len(files) == 1 and bare_name(stem(files[0])) == bare_name(name):
        return files
    present = {split_channel(stem(path))[1] for path in files}
    expected = sorted({*range(count), *(k for k in present if k is not None)})
    return tuple(channel_path(files[0], k) for k in expected)


def _channel_names(cases: tuple[Case, ...]) -> tuple[str, ...]:
    """`channel 0`, ...: as many as files of a case, or as the first readable file holds."""
    count = max(len(case.images) for case in cases)
    for case in cases if count == 1 else ():
        try:
            count = read_grid(case.images[0]).channels
            break
        except InputError:
            continue
    return tuple(f"channel {k}" for k in range(count))
