"""A sound data set, and what may be wrong with one of its cases, `b`."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

SHAPE = (8, 7, 6)
NAMES = ("a", "b", "c", "d", "e")


def save(path: Path, array: np.ndarray[Any, Any], affine: Any = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)


def sound(root: Path) -> Path:
    """Five nnU-Net cases with two channels of different intensities."""
    rng = np.random.default_rng(0)
    label = np.zeros(SHAPE, np.uint8)
    label[2:5, 2:5, 2:4] = 1
    label[5, 2:5, 2:4] = 2
    for name in NAMES:
        save(root / f"imagesTr/{name}_0000.nii.gz", rng.normal(10, 1, SHAPE).astype(np.float32))
        save(root / f"imagesTr/{name}_0001.nii.gz", rng.normal(500, 9, SHAPE).astype(np.float32))
        save(root / f"labelsTr/{name}.nii.gz", label)
    document = {
        "channel_names": {"0": "T1", "1": "T2"},
        "labels": {"background": 0, "one": 1, "two": 2},
        "numTraining": len(NAMES),
        "file_ending": ".nii.gz",
    }
    (root / "dataset.json").write_text(json.dumps(document))
    return root


def image_of(root: Path) -> Path:
    return root / "imagesTr" / "b_0000.nii.gz"


def label_of(root: Path) -> Path:
    return root / "labelsTr" / "b.nii.gz"


def _truncated(root: Path) -> None:
    data = image_of(root).read_bytes()
    image_of(root).write_bytes(data[: len(data) // 2])


def _empty(root: Path) -> None:
    image_of(root).write_bytes(b"")


def _not_an_image(root: Path) -> None:
    image_of(root).write_bytes(gzip.compress(b"this is no scan" * 100))


def _nan(root: Path) -> None:
    array = np.ones(SHAPE, np.float32)
    array[1, 1, 1] = np.nan
    save(image_of(root), array)


def _missing_channel(root: Path) -> None:
    image_of(root).with_name("b_0001.nii.gz").unlink()


def _label_truncated(root: Path) -> None:
    data = label_of(root).read_bytes()
    label_of(root).write_bytes(data[: len(data) // 2])


def _label_of_other_shape(root: Path) -> None:
    save(label_of(root), np.ones((8, 7, 5), np.uint8))


def _label_elsewhere(root: Path) -> None:
    affine = np.eye(4)
    affine[0, 3] = 30
    save(label_of(root), np.ones(SHAPE, np.uint8), affine)


def _label_unknown(root: Path) -> None:
    label = np.ones(SHAPE, np.uint8)
    label[0, 0, 0], label[0, 0, 1] = 77, 255
    save(label_of(root), label)


def _label_empty(root: Path) -> None:
    save(label_of(root), np.zeros(SHAPE, np.uint8))


def _label_with_fractions(root: Path) -> None:
    save(label_of(root), np.full(SHAPE, 0.5, np.float32))


def _duplicate(root: Path) -> None:
    for channel in range(2):
        source = root / "imagesTr" / f"a_{channel:04d}.nii.gz"
        source.with_name(f"b_{channel:04d}.nii.gz").write_bytes(source.read_bytes())


def _constant(root: Path) -> None:
    save(image_of(root), np.full(SHAPE, 10, np.float32))


def _swapped(root: Path) -> None:
    first, second = image_of(root), image_of(root).with_name("b_0001.nii.gz")
    data = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(data)


def _in_micrometres(root: Path) -> None:
    for path in (image_of(root), image_of(root).with_name("b_0001.nii.gz"), label_of(root)):
        image = nib.load(path)
        save(path, np.asanyarray(image.dataobj).copy(), np.diag([1000.0, 1000.0, 1000.0, 1.0]))


def _channels_on_two_grids(root: Path) -> None:
    save(image_of(root), np.ones((9, 7, 6), np.float32))


def _four_dimensional(root: Path) -> None:
    save(image_of(root), np.random.default_rng(1).normal(size=(*SHAPE, 2)).astype(np.float32))


# File, field, and words of what is wrong and of its cure.
DAMAGE: dict[str, tuple[Callable[[Path], None], str, str, tuple[str, str]]] = {
    "truncated": (_truncated, "b_0000", "image", ("not readable as NIfTI;", "is truncated")),
    "empty file": (_empty, "b_0000", "image", ("empty file", "copy or download it")),
    "not an image": (_not_an_image, "b_0000", "image", ("not readable as NIfTI;", "another kind")),
    "not a number": (_nan, "b_0000", "image", ("voxels: 1 are NaN or infinite", "replace them")),
    "channel missing": (_missing_channel, "b_0001", "image", ("no such file", "check the path")),
    "channels on two grids": (
        _channels_on_two_grids,
        "b_0001",
        "image",
        ("shape 8 x 7 x 6 instead of 9 x 7 x 6 (b_0000", "resample it onto the first channel"),
    ),
    "a channel too many": (
        _four_dimensional,
        "b_0000",
        "image",
        ("channels: 2 in a file given as one channel", "give one file"),
    ),
    "label truncated": (_label_truncated, "b", "label", ("not readable as NIfTI;", "is truncated")),
    "label of other shape": (
        _label_of_other_shape,
        "b",
        "grid",
        ("shape 8 x 7 x 5 instead of 8 x 7 x 6", "resample the labels onto the image"),
    ),
    "label elsewhere": (_label_elsewhere, "b", "grid", ("up to 30 mm apart", "correct the header")),
    "label unknown": (
        _label_unknown,
        "b",
        "label values",
        ("77, 255 are not in the label table", "name it"),
    ),
    "label empty": (
        _label_empty,
        "b",
        "label values",
        ("every voxel is background", "label the structures"),
    ),
    "label with fractions": (
        _label_with_fractions,
        "b",
        "label",
        ("not all are integers", "is this the image, not its labels?"),
    ),
    "duplicate": (
        _duplicate,
        "b_0000",
        "image",
        ("the same voxels as a_0000.nii.gz", "remove one"),
    ),
    "constant": (
        _constant,
        "b_0000",
        "voxels",
        ("every voxel of channel 0 is 10", "export the scan again"),
    ),
    "swapped channels": (
        _swapped,
        "b_0000",
        "channels",
        ("as if the files held T2, T1 in this order", "put the channels in the right order"),
    ),
    "wrong unit": (
        _in_micrometres,
        "b_0000",
        "spacing",
        ("1e+03 x 1e+03 x 1e+03 mm, where the median is 1 x 1 x 1 mm", "correct the header"),
    ),
}
