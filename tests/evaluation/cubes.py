"""Label files of boxes, whose scores are plain by counting."""

from pathlib import Path

import nibabel as nib
import numpy as np

SHAPE = (12, 10, 8)
AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])


def box(x, y, z, label=1, into=None, shape=SHAPE):
    """A label image with one box of (first, behind last) voxels along each axis."""
    labels = np.zeros(shape, np.uint8) if into is None else into
    labels[slice(*x), slice(*y), slice(*z)] = label
    return labels


def save(path: Path, array, affine=AFFINE) -> Path:
    """Writes NIfTI, whatever the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def shifted(by: int = 1, label: int = 1):
    """A prediction and its reference: 4 x 4 x 4 voxels, moved along x."""
    reference = box((2, 6), (2, 6), (2, 6), label)
    return box((2 + by, 6 + by), (2, 6), (2, 6), label), reference
