"""The files of one prediction."""

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.openers import ImageOpener

from unetr.data.plan import Plan
from unetr.files import written_whole
from unetr.image import Volume, image_suffix, write_image, write_labels
from unetr.inference.prediction import Prediction

MAPS = ("probabilities", "uncertainty", "attention")
# Planes turned into integers at a time.
_PLANES = 16


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
    return OutputPaths(labels, *(labels.parent / folder / name for folder in MAPS))


def write_prediction(
    paths: OutputPaths, prediction: Prediction, plan: Plan, overwrite: bool = True
) -> tuple[str, ...]:
    """Writes what the prediction holds; the labels last: where they are, the rest is too.

    Args:
        overwrite: Maps of labels that are replaced go with them. Else labels that are there stay,
            such as ones that were corrected by hand, and so do their maps.

    Returns:
        What was written: of `MAPS`, and `labels`.
    """
    made = []
    there = paths.labels.exists()
    anew = overwrite or not there
    for name in MAPS:
        path, found = getattr(paths, name), getattr(prediction, name)
        if found is not None and (anew or not path.exists()):
            (_write_probabilities if name == "probabilities" else _write_map)(path, found)
            made.append(name)
        elif found is None and anew and there:
            with suppress(FileNotFoundError, NotADirectoryError):
                path.unlink()
    if anew:
        names = {label.id: label.name for label in plan.labels}
        write_labels(paths.labels, prediction.labels.array[0], prediction.labels, names)
        made.append("labels")
    return tuple(made)


def _write_probabilities(path: Path, volume: Volume) -> None:
    """4D NIfTI of 16 bits: NIfTI has no float16, so integers with a slope of 1/65535.

    Plane by plane and class by class, which is their order in the file: all at once would be held
    twice.
    """
    nothing = np.broadcast_to(np.uint16(0), (*volume.shape, len(volume.array)))
    header = nib.Nifti1Image(nothing, volume.affine, _without_display(volume)).header
    header.set_data_dtype(np.uint16)
    header["vox_offset"] = 0  # nibabel says where voxels begin once there are no extensions
    header.extensions.clear()
    header.set_slope_inter(1 / 65535, 0)
    with written_whole(path) as partial, ImageOpener(partial, "wb") as file:
        header.write_to(file)
        for one in volume.array:
            for first in range(0, one.shape[2], _PLANES):
                part = one[:, :, first : first + _PLANES].astype(np.float32)
                steps = np.rint(part * 65535).astype(header.get_data_dtype())
                file.write(steps.tobytes(order="F"))


def _write_map(path: Path, volume: Volume) -> None:
    """float32 NIfTI: 3D for one channel, 4D for more."""
    array = volume.array.astype(np.float32, copy=False)
    write_image(path, replace(volume, array=array, header=_without_display(volume)))


def _without_display(volume: Volume) -> nib.Nifti1Header | None:
    """The scan's header without the display window of its intensities."""
    if not isinstance(volume.header, nib.Nifti1Header):
        return None
    header = volume.header.copy()
    header["cal_min"] = header["cal_max"] = 0
    return header
