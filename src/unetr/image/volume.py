"""A scan in memory: voxels, where they lie in the patient, and the header they came with."""

from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Volume:
    """A scan on its own grid.

    Attributes:
        array: Voxels, axes (channel, x, y, z). Axis order is the file's; "x" need not point right.
        affine: (4, 4) float64, voxel index (x, y, z, 1) to millimetres in RAS+ patient space.
        header: The native header (nibabel's, or None where the format has none), kept for writing.
        source: What to call this scan in messages: usually its path.
    """

    array: NDArray[Any]
    affine: NDArray[np.float64]
    header: Any = None
    source: str = "volume"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along x, y, z."""
        x, y, z = self.array.shape[1:]
        return x, y, z

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along x, y, z: the lengths of the affine's columns."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def orientation(self) -> str:
        """The patient direction each axis runs closest to, such as RAS or LPS."""
        return "".join(nib.aff2axcodes(self.affine))
