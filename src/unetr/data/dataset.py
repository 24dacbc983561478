"""Opens a folder of labelled scans, told apart by looking: MSD, nnU-Net v2, or plain folders."""

from dataclasses import replace
from pathlib import Path

from unetr.data.cases import (
    Case,
    Dataset,
    Defect,
    Layout,
    channel_path,
    group_channels,
    image_files,
    split_channel,
    stem,
)
from unetr.data.descriptions import listed_images, open_described
from unetr.data.folders import (
    IMAGE_FOLDERS,
    TEST_FOLDERS,
    find_folder,
    named_images,
    open_folders,
    unlabelled,
)
from unetr.data.names import read_names
from unetr.errors import InputError
from unetr.image import Volume, cure_for, image_suffix, read_image, read_labels, same_grid

__all__ = ["Case", "Dataset", "Defect", "Layout", "find_images", "open_dataset", "read_case"]


def open_dataset(
    root: Path | str, labels: Path | None = None, look_for_labels: bool = True
) -> Dataset:
    """Opens a data set; no voxel of an image is read, and label files only if names are lacking.

    Args:
        root: The folder, or its `dataset.json`.
        labels: A `labels.toml` with names; by default `labels.toml` in the folder, if there.
        look_for_labels: Whether label files are read for their values where nothing names them.
            Else the data set has the background alone.

    Raises:
        InputError: the folder is no data set, or its description is broken.
    """
    root = Path(root)
    description = root / "dataset.json"
    if root.is_file() and root.suffix == ".json":
        root, description = root.parent, root
    if not root.exists():
        raise InputError(f"{root}: no such folder; give the folder that holds the data set")
    if not root.is_dir():
        raise InputError(f"{root}: a file; give the folder that holds the data set")
    if labels is None and (root / "labels.toml").is_file():
        labels = root / "labels.toml"
    names = read_names(labels) if labels else None
    if description.is_file():
        return open_described(description, names)
    return open_folders(root, names, look_for_labels)


def read_case(dataset: Dataset, case: Case) -> tuple[Volume, Volume | None]:
    """Reads one case of a data set: the image (channel, x, y, z) and its labels, on one grid.

    Raises:
        InputError: a file cannot be read, the channels are not the data set's, or the grids differ.
    """
    image, label = read_pair(case)
    if image.array.shape[0] != len(dataset.channels):
        raise InputError(
            f"{case.images[0]}: channels: {image.array.shape[0]}, but the data set has "
            f"{len(dataset.channels)} ({', '.join(dataset.channels)}); "
            "complete the case or correct the channel names"
        )
    return image, label


def read_pair(case: Case) -> tuple[Volume, Volume | None]:
    """Reads one case, whatever its channels; image and labels lie on one grid.

    Raises:
        InputError: a file cannot be read, or the grids differ.
    """
    image = read_image(case.images if len(case.images) > 1 else case.images[0])
    if case.label is None:
        return image, None
    label = read_labels(case.label)
    if difference := same_grid(image, label):
        raise InputError(
            f"{case.label}: grid: {difference} ({case.images[0].name}); "
            "resample the labels onto the image"
        )
    return image, label


def find_images(path: Path | str, channels: int | None = None) -> list[Case]:
    """The scans to predict behind a path: a file, a folder of files, or a data set's test scans.

    `a_0000` and `a_0001` are channels of scan `a`. With `channels=1` every file is a scan.

    Args:
        path: An image file, a folder of images, or a data set's folder: its test scans are taken
            (imagesTs, or `test` in dataset.json), else its training scans.
        channels: How many channels the model needs, if known.

    Raises:
        InputError: nothing there, or no image in it.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; give a scan or a folder of scans")
    if path.is_file():
        if not image_suffix(path):
            raise InputError(f"{path}: not a supported image; {cure_for(path)}")
        name, channel = split_channel(stem(path))
        if channel != 0 or channels == 1 or not channel_path(path, 1).exists():
            return [Case(name if channel == 0 else stem(path), (path,))]
        files = [each for each in image_files(path.parent) if split_channel(stem(each))[0] == name]
        return [Case(each, scan) for each, scan in group_channels(files).items() if path in scan]
    cases = _in_folder(path)
    if not cases:
        if inner := [each for each in sorted(path.iterdir()) if image_files(each)]:
            raise InputError(
                f"{path}: no image in it, only in folders within, which are not searched; "
                f"name them, such as {inner[0]}"
            )
        raise InputError(f"{path}: no image in it; {cure_for(path)}")
    if channels == 1:
        cases = [each for case in cases for each in _apart(case)]
    return cases


def _in_folder(folder: Path) -> list[Case]:
    if image_files(folder):
        named_images(folder)  # of two of one name, one would be left out without a word
        return list(unlabelled(folder))
    description = folder / "dataset.json"
    if description.is_file() and (listed := listed_images(description)):
        return [replace(case, label=None) for case in listed]
    inside = find_folder(folder, TEST_FOLDERS)
    if inside is None or not image_files(inside):
        inside = find_folder(folder, IMAGE_FOLDERS)
    return list(unlabelled(inside)) if inside else []


def _apart(case: Case) -> list[Case]:
    if len(case.images) == 1:
        return [case]
    return [Case(stem(path), (path,)) for path in case.images]
