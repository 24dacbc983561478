"""What is measured on one case; the fingerprint is made of many of these.

Everything here is told along the patient's axes (x to the right, y to the front, z to the head),
whatever the order of the file's own axes, so that scans of any orientation can be compared.
"""

import hashlib
from dataclasses import dataclass

import cc3d
import nibabel as nib
import numpy as np
from jaxtyping import Bool, Integer, Num, Shaped
from numpy.typing import NDArray

from unetr.image import Volume
from unetr.metrics.masks import box_of

Triple = tuple[float, float, float]

AIR_HU = -500.0
"""Between air (-1000) and the body (fat -100): what lies above belongs to the patient."""

READERS = 2
"""Threads that measure cases: unpacking .nii.gz is most of the work and runs beside itself."""

_SAMPLE = 10_000
_POSITIONS = 1_000_000
_CONSTANT = 0.05
_HIGHEST_COUNTED = 65_535


@dataclass(frozen=True)
class Box:
    """The part of a scan that a crop rule would keep."""

    kept: float  # fraction of the scan's volume
    extent_mm: Triple
    holds_labels: bool


@dataclass(frozen=True)
class ChannelFacts:
    """Intensities of one channel.

    Attributes:
        background: The value of the corners, where it fills a good part of the scan, else None.
        content_low: 10th percentile of the voxels that are not background.
        zero_fraction: Voxels that are exactly 0.
        sample: At most 10,000 foreground voxels, evenly spread, always the same ones.
    """

    minimum: float
    maximum: float
    background: float | None
    content_low: float
    zero_fraction: float
    sample: NDArray[np.float32]


@dataclass(frozen=True)
class LabelFacts:
    """One structure in one case: how much, and where its centre lies from the scan's (mm).

    Attributes:
        largest_part: Share of its voxels that lie in one connected piece (26 neighbours).
    """

    voxels: int
    volume_ml: float
    centre_mm: Triple
    largest_part: float


@dataclass(frozen=True)
class CaseFacts:
    """One labelled case. Axes are the patient's.

    Attributes:
        digest: Names the image's voxels.
        label_digest: Names the labels' voxels, and where they lie.
    """

    name: str
    digest: str
    label_digest: str
    orientation: str
    size_voxels: tuple[int, int, int]
    spacing_mm: Triple
    channels: tuple[ChannelFacts, ...]
    labels: dict[int, LabelFacts]
    foreground_mm: Triple
    nonzero: Box
    above_air: Box
    off_background: Box

    @property
    def extent_mm(self) -> Triple:
        """Size of the scan along the patient's axes."""
        x, y, z = (n * mm for n, mm in zip(self.size_voxels, self.spacing_mm, strict=True))
        return x, y, z


def measure(name: str, image: Volume, label: Volume) -> CaseFacts:
    """Measures a case whose image and labels lie on one grid."""
    turn = nib.orientations.io_orientation(image.affine)
    axes = np.argsort(turn[:, 0])
    spacing = _triple(np.asarray(image.spacing_mm)[axes])
    labels = _turned(label.array[0], turn)
    # Files count x fastest: transposed, their flat view is no copy.
    foreground = np.flatnonzero(label.array[0].T)
    channels = tuple(_channel(channel, foreground) for channel in image.array)
    inside = labels != 0
    first = image.array[0]
    background = channels[0].background
    return CaseFacts(
        name=name,
        digest=digest(image),
        label_digest=f"{digest(label)} {(np.round(image.affine, 3) + 0.0).tolist()}",
        orientation=image.orientation,
        size_voxels=(labels.shape[0], labels.shape[1], labels.shape[2]),
        spacing_mm=spacing,
        channels=channels,
        labels=_labels(labels, label.array[0].T, spacing),
        foreground_mm=_box(inside, inside, spacing).extent_mm,
        nonzero=_box(_turned((image.array != 0).any(axis=0), turn), inside, spacing),
        above_air=_box(_turned(first > AIR_HU, turn), inside, spacing),
        off_background=_box(
            _turned(first != (np.inf if background is None else background), turn), inside, spacing
        ),
    )


def count_values(labels: Integer[np.ndarray, "..."]) -> dict[int, int]:
    """How often each value occurs; plane by plane, in bounded memory."""
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high > _HIGHEST_COUNTED:
        values, counts = np.unique(labels, return_counts=True)
        return dict(zip(values.tolist(), counts.tolist(), strict=True))
    total = np.zeros(high + 1, np.int64)
    for plane in np.moveaxis(labels, -1, 0):
        total += np.bincount(plane.ravel(order="K"), minlength=high + 1)
    return {int(value): int(total[value]) for value in np.flatnonzero(total)}


def digest(image: Volume) -> str:
    """A hash of the voxels in the file's order; the memory layout does not matter."""
    state = hashlib.blake2b(repr(image.array.shape).encode(), digest_size=16)
    for channel in image.array:
        state.update(np.ascontiguousarray(channel.T).data)
    return state.hexdigest()


def _triple(values: NDArray[np.float64]) -> Triple:
    x, y, z = values
    return float(x), float(y), float(z)


def _turned(array: Shaped[np.ndarray, "x y z"], turn: NDArray[np.float64]) -> NDArray[np.generic]:
    """A view of the array along the patient's axes."""
    turned: NDArray[np.generic] = nib.orientations.apply_orientation(array, turn)
    return turned


def _channel(
    channel: Num[np.ndarray, "x y z"], foreground: Integer[np.ndarray, " n"]
) -> ChannelFacts:
    corners = channel[:: channel.shape[0] - 1 or 1, :: channel.shape[1] - 1 or 1]
    corners = corners[:, :, :: channel.shape[2] - 1 or 1].ravel()
    values, counts = np.unique(corners, return_counts=True)
    corner = float(values[counts.argmax()])
    constant = counts.max() >= 4 and float((channel == corner).mean()) >= _CONSTANT
    flat = channel.T.reshape(-1)
    spread = flat[:: max(1, flat.size // _SAMPLE)]
    content = spread[spread != corner] if constant else spread
    chosen = foreground[:: max(1, -(-foreground.size // _SAMPLE))]
    return ChannelFacts(
        minimum=float(channel.min()),
        maximum=float(channel.max()),
        background=corner if constant else None,
        content_low=float(np.percentile(content, 10)) if content.size else corner,
        zero_fraction=1.0 - np.count_nonzero(channel) / channel.size,
        sample=flat[chosen].astype(np.float32),
    )


def _labels(
    labels: Integer[np.ndarray, "x y z"],
    in_memory: Integer[np.ndarray, "k j i"],
    spacing: Triple,
) -> dict[int, LabelFacts]:
    counts = count_values(labels)
    parts = _largest_parts(in_memory)
    where = np.flatnonzero(labels.T)
    where = where[:: max(1, -(-where.size // _POSITIONS))]
    coordinates = np.unravel_index(where, labels.shape[::-1])[::-1]
    here, inverse = np.unique(labels[coordinates], return_inverse=True)
    divisor = np.bincount(inverse, minlength=len(here))
    centres = np.zeros((len(here), 3))
    for axis, positions in enumerate(coordinates):
        mean = np.bincount(inverse, weights=positions, minlength=len(here)) / divisor
        centres[:, axis] = (mean - (labels.shape[axis] - 1) / 2) * spacing[axis]
    centre = {int(value): _triple(row) for value, row in zip(here, centres, strict=True)}
    voxel_ml = float(np.prod(spacing)) / 1000
    # A speck that the coordinate step passed over has no centre worth knowing.
    return {
        value: LabelFacts(
            voxels,
            voxels * voxel_ml,
            centre.get(value, (0.0, 0.0, 0.0)),
            parts.get(value, 0) / voxels,
        )
        for value, voxels in counts.items()
        if value != 0
    }


def _largest_parts(labels: Integer[np.ndarray, "k j i"]) -> dict[int, int]:
    """Voxels of the largest connected piece of each label; axes as in memory."""
    part = labels[box_of(labels)]
    if not part.size:
        return {}
    components = cc3d.connected_components(part, connectivity=26)
    sizes = cc3d.statistics(components, no_slice_conversion=True)["voxel_counts"]
    label_of = np.zeros(len(sizes), part.dtype)
    for numbers, values in zip(components, part, strict=True):
        label_of[numbers] = values
    found: dict[int, int] = {}
    for value, size in zip(label_of.tolist(), sizes.tolist(), strict=True):
        found[value] = max(size, found.get(value, 0))
    return found


def _box(
    mask: Bool[np.ndarray, "x y z"], labels: Bool[np.ndarray, "x y z"], spacing: Triple
) -> Box:
    """The bounding box of a mask, and whether all labelled voxels lie in it."""
    box, wanted = box_of(mask), box_of(labels)
    sides = np.array([side.stop - side.start for side in box])
    holds = all(a.start <= b.start and b.stop <= a.stop for a, b in zip(box, wanted, strict=True))
    return Box(
        kept=float(np.prod(sides / np.array(mask.shape))),
        extent_mm=_triple(sides * np.asarray(spacing)),
        holds_labels=holds or not labels.any(),
    )
