"""Which files are taken for images, by the end of their names."""

import shlex
from itertools import islice
from pathlib import Path

NIFTI_SUFFIXES = (".nii.gz", ".nii")
IMAGE_SUFFIXES = (*NIFTI_SUFFIXES, ".nrrd", ".nhdr", ".mha", ".mhd")
_PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif")
_DICOM_MARK, _DICOM_MARK_AT = b"DICM", 128
_FILES_LOOKED_AT = 100


def image_suffix(path: Path) -> str:
    """The image suffix a file name ends with, or an empty string: `.nii.gz` counts as one."""
    name = path.name.lower()
    return next((suffix for suffix in IMAGE_SUFFIXES if name.endswith(suffix)), "")


def cure_for(path: Path) -> str:
    """What to do with a file that is no image, or a folder in which there is none."""
    looked_at = [path] if path.is_file() else islice(path.rglob("*"), _FILES_LOOKED_AT)
    files = [each for each in looked_at if each.is_file()]
    if any(map(_is_dicom, files)):
        command = f"mkdir -p nifti && dcm2niix -z y -o nifti {shlex.quote(str(path))}"
        return f"convert DICOM to NIfTI first, for example by: {command}"
    if any(each.suffix.lower() in _PICTURE_SUFFIXES for each in files):
        return f"pictures have two axes; give 3D scans ({', '.join(IMAGE_SUFFIXES)})"
    return f"supported endings are {', '.join(IMAGE_SUFFIXES)}"


def _is_dicom(path: Path) -> bool:
    """By its content: many exports have names without an ending."""
    try:
        with path.open("rb") as file:
            file.seek(_DICOM_MARK_AT)
            return file.read(len(_DICOM_MARK)) == _DICOM_MARK
    except OSError:
        return False
