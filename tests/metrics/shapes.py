"""Masks whose surfaces have closed forms."""

import numpy as np

from unetr.metrics.surface import SurfaceDistances


def cuboid(shape, start, size):
    """Voxels from `start` on, `size` of them along each axis."""
    mask = np.zeros(shape, bool)
    mask[tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))] = True
    return mask


def ball(shape, radius_mm, spacing_mm):
    """A ball in mm around the middle of the volume."""
    axes = [(np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(shape, spacing_mm, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    return x**2 + y**2 + z**2 <= radius_mm**2


def faces_mm2(size, spacing_mm):
    """Areas of a cuboid's flat faces across x, y and z, without their edges: one of each pair."""
    (a, b, c), (x, y, z) = np.array(size) - 1, spacing_mm
    return b * c * y * z, c * a * z * x, a * b * x * y


def edges_mm2(size, spacing_mm):
    """Areas of a cuboid's bevelled edges along x, y and z, without its corners: one of four."""
    (a, b, c), (x, y, z) = np.array(size) - 1, spacing_mm
    return a * x * np.hypot(y, z) / 2, b * y * np.hypot(z, x) / 2, c * z * np.hypot(x, y) / 2


def corner_mm2(spacing_mm):
    """Area of one of a cuboid's eight cut corners."""
    x, y, z = spacing_mm
    return np.linalg.norm([y * z, z * x, x * y]) / 8


def cuboid_mm2(size, spacing_mm):
    """Area of all of a cuboid's surface."""
    faces, edges = sum(faces_mm2(size, spacing_mm)), sum(edges_mm2(size, spacing_mm))
    return 2 * faces + 4 * edges + 8 * corner_mm2(spacing_mm)


def elements(prediction, reference):
    """Surface distances from lists of (mm, mm2)."""
    sides = [np.array(side, dtype=float).reshape(-1, 2).T for side in (prediction, reference)]
    return SurfaceDistances(*sides[0], *sides[1])
