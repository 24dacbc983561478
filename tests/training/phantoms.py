"""A data set of phantoms on disk, in nnU-Net's layout."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np

# What makes the network of `auto` small enough for a test.
SMALL = (
    "network.hidden_size=64",
    "network.mlp_dim=128",
    "network.num_heads=4",
    "network.num_layers=4",
    "network.feature_size=8",
)
TINY = (*SMALL, "network.hidden_size=16", "network.mlp_dim=32", "network.feature_size=4")

FAST = (*TINY, "training.precision=fp32", "training.batch=2", "training.log_steps=1")


def write_phantoms(root: Path, cases: int = 6, size: int = 32) -> Path:
    """A bright ball (20, with a gap in the ids) and a dark block (7), elsewhere in each case."""
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    for number in range(cases):
        rng = np.random.default_rng(number)
        at = np.stack(np.indices((size, size, size)), -1)
        ball, block = rng.uniform(0.28, 0.38, 3) * size, rng.uniform(0.62, 0.72, 3) * size
        labels = np.zeros((size, size, size), np.uint8)
        labels[np.linalg.norm(at - ball, axis=-1) < rng.uniform(0.16, 0.22) * size] = 20
        labels[(np.abs(at - block) < rng.uniform(0.12, 0.18) * size).all(-1)] = 7
        image = rng.normal(0, 0.2, labels.shape) + (labels == 20) - (labels == 7)
        affine = np.diag([-1.0, 1.0, 1.0, 1.0])
        name = f"phantom{number}"
        save(root / "imagesTr" / f"{name}_0000.nii.gz", image.astype(np.float32), affine)
        save(root / "labelsTr" / f"{name}.nii.gz", labels, affine)
    description = {
        "channel_names": {"0": "MR"},
        "labels": {"background": 0, "block": 7, "ball": 20},
        "numTraining": cases,
        "file_ending": ".nii.gz",
    }
    (root / "dataset.json").write_text(json.dumps(description))
    return root


def write_ct(root: Path) -> Path:
    """Three scans in Hounsfield units: the organ is brighter in each, the slices thicker."""
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for number in range(3):
        labels = np.zeros((24, 24, 24), np.uint8)
        labels[6:18, 6:18, 6:18] = 1
        noise = np.random.default_rng(number).normal(0, 5, labels.shape)
        image = np.where(labels == 1, 150 + 60 * number, -800) + noise
        affine = np.diag([1.0, 1.0, 1.0 + 0.5 * number, 1.0])
        save(root / "images" / f"ct{number}.nii.gz", image.astype(np.float32), affine)
        save(root / "labels" / f"ct{number}.nii.gz", labels, affine)
    return root


def save(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Writes NIfTI."""
    nib.save(nib.Nifti1Image(array, affine), path)
