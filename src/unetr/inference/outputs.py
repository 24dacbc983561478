"""The files of one prediction."""

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from unetr.data.plan import Plan
from unetr.files import written_whole
from unetr.image import Volume, image_suffix, write_labels
from unetr.inference.predictor import Prediction


@dataclass(frozen=True)
class OutputPaths:
    """Labels, and what else may be asked for, in folders of its own beside them, so that a folder
    of predictions holds labels only."""

    labels: Path
    probabilities: Path
    uncertainty: Path
    attention: Path


def output_paths(labels: Path) -> OutputPaths:
    """Where the files of a prediction go whose labels go to `labels`."""
    name = labels.name.removesuffix(image_suffix(labels)) + ".nii.gz"
    folders = ("probabilities", "uncertainty", "attention")
    return OutputPaths(labels, *(labels.parent / folder / name for folder in folders))


def write_prediction(paths: OutputPaths, prediction: Prediction, plan: Plan) -> None:
    """Writes what the prediction holds; the labels last: where they are, the rest is too."""
    if prediction.probabilities is not None:
        _write_probabilities(paths.probabilities, prediction.probabilities)
    if prediction.uncertainty is not None:
        _write_map(paths.uncertainty, prediction.uncertainty)
    if prediction.attention is not None:
        _write_map(paths.attention, prediction.attention)
    names = {label.id: label.name for label in plan.labels}
    found = prediction.labels
    write_labels(paths.labels, found.array[0], found, names)


def _write_probabilities(path: Path, volume: Volume) -> None:
    """4D NIfTI of 16 bits: NIfTI has no float16, so integers with a slope of 1/65535."""
    steps = np.empty(volume.array.shape[1:] + volume.array.shape[:1], np.uint16)
    for index, one in enumerate(volume.array):
        np.rint(one.astype(np.float32) * 65535, out=steps[..., index], casting="unsafe")
    image = nib.Nifti1Image(steps, volume.affine)
    image.header.set_slope_inter(1 / 65535, 0)
    _save(path, image)


def _write_map(path: Path, volume: Volume) -> None:
    """float32 NIfTI: 3D for one channel, 4D for more."""
    channels_last = np.moveaxis(volume.array.astype(np.float32), 0, -1)
    array = channels_last[..., 0] if channels_last.shape[-1] == 1 else channels_last
    _save(path, nib.Nifti1Image(array, volume.affine))


def _save(path: Path, image: nib.Nifti1Image) -> None:
    with written_whole(path) as part:
        nib.save(image, part)
