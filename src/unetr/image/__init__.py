"""Scans: from files to `Volume` and back, on any grid. numpy only."""

from unetr.image.files import (
    check_format,
    read_grid,
    read_image,
    read_label_names,
    read_labels,
    write_image,
    write_labels,
)
from unetr.image.grid import Grid, same_grid
from unetr.image.resample import resample_image, resample_labels
from unetr.image.suffix import IMAGE_SUFFIXES, cure_for, image_suffix
from unetr.image.volume import Volume

__all__ = [
    "IMAGE_SUFFIXES",
    "Grid",
    "Volume",
    "check_format",
    "cure_for",
    "image_suffix",
    "read_grid",
    "read_image",
    "read_label_names",
    "read_labels",
    "resample_image",
    "resample_labels",
    "same_grid",
    "write_image",
    "write_labels",
]
