"""Phantoms under the names that the documentation uses."""

import io
import json
import tarfile
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from unetr.model import UNETR, export_monai

SIZE = 24
AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])  # LPS, as many files have it


def write_task(root: Path, channels: tuple[str, ...], labels: tuple[str, ...]) -> Path:
    """A data set in the decathlon's layout: five labelled cases and two without labels.

    Structure k is a ball with the value k of its own somewhere in noise, brighter with k.
    """
    name = root.name.partition("_")[2].lower()
    for number in range(7):
        train = number < 5
        case = f"{name}_{number + 1:03d}.nii.gz"
        image, label = phantom(number, len(channels), len(labels))
        save(root / ("imagesTr" if train else "imagesTs") / case, image)
        if train:
            save(root / "labelsTr" / case, label)
    cases = [f"{name}_{number + 1:03d}.nii.gz" for number in range(7)]
    description = {
        "name": root.name,
        "modality": {str(k): channel for k, channel in enumerate(channels)},
        "labels": {str(k): label for k, label in enumerate(("background", *labels))},
        "numTraining": 5,
        "training": [
            {"image": f"./imagesTr/{case}", "label": f"./labelsTr/{case}"} for case in cases[:5]
        ],
        "test": [f"./imagesTs/{case}" for case in cases[5:]],
    }
    (root / "dataset.json").write_text(json.dumps(description))
    return root


def phantom(seed: int, channels: int, structures: int) -> tuple[np.ndarray, np.ndarray]:
    """An image (x, y, z) or (x, y, z, channel) and its labels (x, y, z)."""
    rng = np.random.default_rng(seed)
    at = np.stack(np.indices((SIZE,) * 3), -1)
    labels = np.zeros((SIZE,) * 3, np.uint8)
    for k in range(1, structures + 1):
        centre = rng.uniform(6, SIZE - 6, 3)
        labels[np.linalg.norm(at - centre, axis=-1) < rng.uniform(3, 5)] = k
    image = 100 * labels[..., None] + rng.normal(0, 20, (*labels.shape, channels))
    return image.astype(np.float32).squeeze(-1 if channels == 1 else ()), labels


def save(path: Path, array: np.ndarray) -> None:
    """Writes NIfTI."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, AFFINE), path)


def write_checkpoint(path: Path, channels: int, outputs: int, size: int) -> None:
    """A checkpoint as MONAI's scripts save it, of a small network."""
    torch.manual_seed(0)
    network = UNETR(
        channels, outputs, size, feature_size=4, hidden_size=24, mlp_dim=32, num_heads=2,
        skip_layers=(4, 7, 10),
    )  # fmt: skip
    torch.save({"state_dict": export_monai(network)}, path)


def archived(task: Path, name: str) -> bytes:
    """A tar file of a data set, as the decathlon serves it, under the name of a task."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        tar.add(task, name)
    return content.getvalue()
