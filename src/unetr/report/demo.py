"""The demo's picture: where the held-out blocks lie in the brain, and what was found in them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from unetr.data.mni152 import BLOCKS, HELD_OUT, NAMES
from unetr.files import written_whole
from unetr.image import read_image, read_labels

# By label: grey matter, white matter; readable with any colour vision.
_COLOURS = {1: (0.90, 0.45, 0.10), 2: (0.25, 0.60, 0.95)}
_WRONG = (0.95, 0.10, 0.35)
_MARGIN_VOXELS = 4


@dataclass(frozen=True, eq=False)
class _Block:
    """A block on the grid that all of them share; `found` only where it was held out."""

    image: NDArray[Any]
    labels: NDArray[Any]
    found: NDArray[Any] | None


def draw_demo(data: Path, predictions: Path, path: Path) -> None:
    """Draws `path` (PNG) of the data set in `data` and the segmentations in `predictions`.

    Raises:
        InputError: a file is missing or cannot be read; the picture cannot be written.
    """
    blocks = [_read(number, data, predictions) for number in range(BLOCKS)]
    figure = Figure(figsize=(11, 5.4), dpi=110, facecolor="white", layout="constrained")
    grid = figure.add_gridspec(1, 2, width_ratios=(1.05, 1))
    where, cuts = (figure.add_subfigure(grid[0, side]) for side in range(2))
    _draw_where(where.subplots(), blocks)
    axes = cuts.subplots(len(HELD_OUT), 4)
    for row, number in zip(axes, HELD_OUT, strict=True):
        _draw_cut(row, blocks[number])
    titles = ("scan", "reference", "prediction", "where they differ")
    for column, title in zip(axes[0], titles, strict=True):
        column.set_title(title, fontsize=10)
    with written_whole(path) as part:
        figure.savefig(part, format="png")


def _read(number: int, data: Path, predictions: Path) -> _Block:
    name = f"brain_{number}.nii.gz"
    split = "Ts" if number in HELD_OUT else "Tr"
    found = read_labels(predictions / name).array[0] if split == "Ts" else None
    return _Block(
        read_image(data / f"images{split}" / name).array[0],
        read_labels(data / f"labels{split}" / name).array[0],
        found,
    )


def _draw_where(axes: Axes, blocks: list[_Block]) -> None:
    """The whole hemisphere from its side; in the held-out blocks what was predicted."""
    labels = np.concatenate([block.labels for block in blocks], axis=1)
    x = int(np.argmax((labels > 0).sum(axis=(1, 2))))
    nothing = [np.zeros_like(block.labels) if block.found is None else block.found
               for block in blocks]  # fmt: skip
    image = np.concatenate([block.image for block in blocks], axis=1)[x]
    found = np.concatenate(nothing, axis=1)[x]
    rows = np.flatnonzero((labels > 0).any(axis=(0, 1)))
    low, high = max(0, rows[0] - _MARGIN_VOXELS), rows[-1] + _MARGIN_VOXELS
    axes.imshow(_painted(image, found)[:, low:high].swapaxes(0, 1), origin="lower")
    edges = np.cumsum([0, *(block.labels.shape[1] for block in blocks)])
    for number in HELD_OUT:
        axes.axvspan(edges[number] - 0.5, edges[number + 1] - 0.5, fill=False, edgecolor="white")
    axes.set_axis_off()
    axes.set_title("the hemisphere from its side: in the two framed blocks, which training\n"
                   "never saw, what the network found", fontsize=10)  # fmt: skip
    for place, label in zip((0.02, 0.26), (1, 2), strict=True):
        axes.text(place, 0.02, f"■ {NAMES[label]}", color=_COLOURS[label], fontsize=10,
                  transform=axes.transAxes)  # fmt: skip


def _draw_cut(row: NDArray[Any], block: _Block) -> None:
    """A block's middle coronal plane, four times."""
    assert block.found is not None
    plane = block.labels.shape[1] // 2
    box = _around(np.any(block.labels > 0, axis=1))
    image, labels, found = (
        each[:, plane][box] for each in (block.image, block.labels, block.found)
    )
    wrong = _painted(image, np.zeros_like(labels))
    wrong[labels != found] = _WRONG
    shown = (_painted(image, np.zeros_like(labels)), _painted(image, labels),
             _painted(image, found), wrong)  # fmt: skip
    for axes, picture in zip(row, shown, strict=True):
        axes.imshow(picture.swapaxes(0, 1), origin="lower", interpolation="nearest")
        axes.set_axis_off()


def _around(mask: Bool[np.ndarray, "rows columns"]) -> tuple[slice, ...]:
    """The mask's box with a margin."""
    box = []
    for axis in range(2):
        filled = np.flatnonzero(mask.any(axis=1 - axis))
        box.append(slice(max(0, filled[0] - _MARGIN_VOXELS), filled[-1] + 1 + _MARGIN_VOXELS))
    return tuple(box)


def _painted(
    image: UInt8[np.ndarray, "rows columns"], labels: UInt8[np.ndarray, "rows columns"]
) -> Float[np.ndarray, "rows columns 3"]:
    """The scan in grey with its labels laid over it."""
    picture = np.repeat(image[..., None] / 255.0, 3, axis=-1)
    for label, colour in _COLOURS.items():
        inside = labels == label
        picture[inside] = 0.45 * picture[inside] + 0.55 * np.array(colour)
    return picture
