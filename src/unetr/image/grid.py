"""Where voxels lie: what a header says without its data, and whether two scans agree on it."""

import itertools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from unetr.errors import InputError
from unetr.image.volume import Volume

# Of the smallest voxel side. Headers hold float32, and tools round in their own ways.
_TOLERANCE = 0.05


@dataclass(frozen=True, eq=False)
class Grid:
    """What a file's header says.

    Attributes:
        shape: Voxels along x, y, z.
        channels: Number of channels.
        affine: (4, 4) voxel index to millimetres in RAS+ patient space.
        itemsize: Bytes of a voxel in the file.
    """

    shape: tuple[int, int, int]
    channels: int
    affine: NDArray[np.float64]
    itemsize: int

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along x, y, z."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)


def same_grid(first: Grid | Volume, second: Grid | Volume) -> str:
    """How the second grid differs from the first, in a phrase; empty if it does not.

    Grids are the same if they have the same shape and no corner lies farther apart than a
    twentieth of the smallest voxel side.
    """
    if first.shape != second.shape:
        return f"shape {_times(second.shape)} instead of {_times(first.shape)}"
    apart = max(
        float(np.linalg.norm((second.affine - first.affine) @ (*corner, 1)))
        for corner in itertools.product(*((0, n - 1) for n in first.shape))
    )
    if apart <= _TOLERANCE * min(first.spacing_mm):
        return ""
    if not np.allclose(first.spacing_mm, second.spacing_mm, rtol=1e-3):
        mine, other = (" x ".join(f"{s:.4g}" for s in g.spacing_mm) for g in (second, first))
        return f"affine: spacing {mine} mm instead of {other} mm"
    return f"affine: voxels lie up to {apart:.3g} mm apart"


def is_orthogonal(affine: Float64[np.ndarray, "4 4"], tolerance: float = 1e-5) -> bool:
    """Whether the three axes are at right angles.

    Args:
        tolerance: The largest cosine between two of them.
    """
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.allclose(axes.T @ axes, np.eye(3), atol=tolerance))


def check_affine(affine: Float64[np.ndarray, "4 4"], path: object) -> None:
    """Refuses an affine that maps voxels to no volume.

    Raises:
        InputError: it is singular or not finite.
    """
    sides = np.linalg.norm(affine[:3, :3], axis=0)
    volume = abs(np.linalg.det(affine[:3, :3])) if np.isfinite(affine).all() else 0.0
    # A box of the same sides has their product; a flat one has nothing of it.
    if not volume > 1e-6 * sides.prod():
        raise InputError(
            f"{path}: affine: singular or not finite; correct the header (spacing and orientation)"
        )


def _times(shape: tuple[int, int, int]) -> str:
    return " x ".join(map(str, shape))
