"""Which files are taken for images, by the end of their names."""

from pathlib import Path

NIFTI_SUFFIXES = (".nii.gz", ".nii")
IMAGE_SUFFIXES = (*NIFTI_SUFFIXES, ".nrrd", ".nhdr", ".mha", ".mhd")


def image_suffix(path: Path) -> str:
    """The image suffix a file name ends with, or an empty string: `.nii.gz` counts as one."""
    name = path.name.lower()
    return next((suffix for suffix in IMAGE_SUFFIXES if name.endswith(suffix)), "")
