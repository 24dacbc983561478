"""The MNI152 brain as a small data set: the demo's scans, offline, from the nilearn package.

nilearn ships the ICBM 152 T1 average with its grey and white matter maps (Fonov et al.,
NeuroImage 54, 2011). The template is exactly symmetric, so its right half is the left half
mirrored and no test for what was learnt on the left. The cases are therefore blocks of the left
hemisphere cut from front to back, and the held-out blocks are anatomy that training never saw.
"""

import json
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from unetr.errors import InputError
from unetr.files import written_whole
from unetr.image import Volume, write_image, write_labels
from unetr.metrics.masks import box_of

LICENCE = (
    "free to use, copy, modify and distribute with this notice: Copyright (C) 1993-2009 Louis "
    "Collins, McConnell Brain Imaging Centre, Montreal Neurological Institute, McGill University"
)
NAMES = {0: "background", 1: "grey matter", 2: "white matter"}
BLOCKS = 8
# Evenly from front to back, so that each held-out block lies between two that are learnt from.
HELD_OUT = (2, 5)


def write_mni152(folder: Path) -> None:
    """Writes `folder` in the layout of the Medical Segmentation Decathlon.

    `imagesTr`, `labelsTr` hold the blocks to train on, `imagesTs`, `labelsTs` the held-out ones.
    A second call over the same folder writes the same bytes.

    Raises:
        InputError: nilearn is not installed, or the folder cannot be written to.
    """
    t1 = _load("t1")
    labels = _tissue(_load("gm"), _load("wm"))
    rows = box_of(labels.array[0])[1]
    edges = np.linspace(rows.start, rows.stop, BLOCKS + 1).round().astype(int)
    training: list[dict[str, str]] = []
    test: list[str] = []
    for block, (start, stop) in enumerate(pairwise(edges)):
        name = f"brain_{block}.nii.gz"
        split = "Ts" if block in HELD_OUT else "Tr"
        image = _block(t1, int(start), int(stop))
        write_image(folder / f"images{split}" / name, image)
        write_labels(
            folder / f"labels{split}" / name,
            _block(labels, int(start), int(stop)).array[0],
            like=image,
            names=NAMES,
        )
        if split == "Ts":
            test.append(f"./imagesTs/{name}")
        else:
            training.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
    description = {
        "name": "MNI152 blocks",
        "description": "Left hemisphere of the ICBM 152 T1 average in coronal blocks",
        "licence": LICENCE,
        "modality": {"0": "MRI"},
        "labels": {str(value): name for value, name in NAMES.items()},
        "numTraining": len(training),
        "numTest": len(test),
        "training": training,
        "test": test,
    }
    with written_whole(folder / "dataset.json") as part:
        part.write_text(json.dumps(description, indent=1))


def _load(kind: str) -> Volume:
    """One of nilearn's maps (t1, gm, wm), cut to the left hemisphere."""
    # nilearn itself is not imported: that takes seconds, and only its files are wanted.
    package = find_spec("nilearn")
    if package is None or package.origin is None:
        raise InputError("demo: the scan ships with nilearn; install it: pip install 'unetr[demo]'")
    name = f"mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz"
    path = Path(package.origin).parent / "datasets" / "data" / name
    if not path.exists():
        raise InputError(
            f"{path}: is not there; install a nilearn that ships it: pip install -U 'unetr[demo]'"
        )
    image = nib.load(str(path))
    array = np.asanyarray(image.dataobj)
    # RAS from -98 mm at 1 mm: the midline is voxel 98, and voxels up to it are the left half.
    return Volume(array[None, :99], np.asarray(image.affine, np.float64), source=name)


def _tissue(grey: Volume, white: Volume) -> Volume:
    """The more probable tissue of each voxel where either reaches a half (maps run to 255)."""
    tissue = np.where(grey.array >= white.array, 1, 2)
    tissue[np.maximum(grey.array, white.array) < 128] = 0
    return Volume(tissue.astype(np.uint8), grey.affine, source="tissue")


def _block(volume: Volume, start: int, stop: int) -> Volume:
    """Coronal planes start to stop of `volume`, lying where they lay."""
    affine: NDArray[np.float64] = volume.affine.copy()
    affine[:3, 3] = (volume.affine @ [0, start, 0, 1])[:3]
    return Volume(volume.array[:, :, start:stop], affine, source=volume.source)
