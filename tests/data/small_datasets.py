"""Data sets of a few voxels in the three layouts."""

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

SHAPE = (6, 5, 4)


def save(path: Path, array: np.ndarray[Any, Any] | int = 0, spacing_mm: float = 1.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.full(SHAPE, array, np.int16) if isinstance(array, int) else array
    nib.save(nib.Nifti1Image(voxels, np.diag([spacing_mm] * 3 + [1.0])), path)
    return path


def labelled(*values: int) -> np.ndarray[Any, Any]:
    label = np.zeros(SHAPE, np.uint16)
    for index, value in enumerate(values):
        label[1 + index, 2, 2] = value
    return label


def msd(root: Path, **changes: Any) -> Path:
    """Three MSD cases; a change of None removes the field."""
    for name in ("c", "a", "b"):
        save(root / "imagesTr" / f"{name}.nii.gz", 7)
        save(root / "labelsTr" / f"{name}.nii.gz", labelled(1, 2))
    save(root / "imagesTs" / "t.nii.gz", 9)
    document: dict[str, Any] = {
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "2": "tail", "1": "head"},
        "numTraining": 3,
        "training": [
            {"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in "cab"
        ],
        "test": ["./imagesTs/t.nii.gz"],
    }
    document.update(changes)
    text = json.dumps({key: value for key, value in document.items() if value is not None})
    (root / "dataset.json").write_text(text)
    return root


def nnunet(root: Path, **changes: Any) -> Path:
    """Two nnU-Net cases of two channels."""
    for name in ("b", "a"):
        for channel in range(2):
            save(root / "imagesTr" / f"{name}_{channel:04d}.nii.gz", 10 + channel)
        save(root / "labelsTr" / f"{name}.nii.gz", labelled(1, 2, 3))
    document: dict[str, Any] = {
        "channel_names": {"1": "T1c", "0": "FLAIR"},
        "labels": {"background": 0, "core": 1, "oedema": 2, "rim": 3},
        "numTraining": 2,
        "file_ending": ".nii.gz",
    }
    document.update(changes)
    text = json.dumps({key: value for key, value in document.items() if value is not None})
    (root / "dataset.json").write_text(text)
    return root


def plain(root: Path, names: tuple[str, ...] = ("b", "a"), *values: int) -> Path:
    for name in names:
        save(root / "images" / f"{name}.nii.gz", 3)
        save(root / "labels" / f"{name}.nii.gz", labelled(*(values or (1,))))
    return root
