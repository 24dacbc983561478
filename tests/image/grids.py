"""Scans of every kind of grid, for the tests of files and resampling."""

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from unetr.image import Volume

SMALL_SHAPES = st.tuples(*[st.integers(1, 6)] * 3)


@st.composite
def affines(draw: st.DrawFn, sheared: bool = False) -> NDArray[np.float64]:
    """Any of the 48 orientations, spacing 0.5 to 6 mm, turned by up to 30 degrees, anywhere.

    The numbers are float32's, which is what NIfTI holds.
    """
    spacing_mm = np.array(draw(st.tuples(*[st.floats(0.5, 6.0)] * 3)))
    axes = draw(st.permutations(range(3)))
    signs = np.array(draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3)))
    about = np.array(draw(st.tuples(*[st.floats(-1, 1)] * 3))) + 1e-3
    angle = draw(st.floats(0, np.deg2rad(30)))
    turn = Rotation.from_rotvec(angle * about / np.linalg.norm(about)).as_matrix()
    shear = np.eye(3)
    if sheared:
        shear[0, 1], shear[0, 2], shear[1, 2] = draw(st.tuples(*[st.floats(-0.4, 0.4)] * 3))
    affine = np.eye(4)
    affine[:3, :3] = turn @ shear @ np.eye(3)[:, axes] @ np.diag(signs * spacing_mm)
    affine[:3, 3] = draw(st.tuples(*[st.floats(-300, 300)] * 3))
    return affine.astype(np.float32).astype(np.float64)


def filled(shape: tuple[int, ...], dtype: str, seed: int = 0) -> NDArray[np.generic]:
    """Values over the whole range of a type (for floats, of their exponents too)."""
    random = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        powers = random.integers(-8, 8, shape)
        return (random.normal(size=shape) * 10.0**powers).astype(kind)
    if kind.kind == "b":
        return random.random(shape) < 0.5
    limits = np.iinfo(kind)
    return random.integers(limits.min, limits.max, shape, dtype=kind, endpoint=True)


def ball(shape: tuple[int, int, int] = (24, 26, 28), affine: NDArray[np.float64] | None = None):
    """A smooth bump in noise-free surroundings: what interpolators agree on."""
    grid = np.indices(shape) - np.array(shape)[:, None, None, None] / 2
    array = np.exp(-(grid**2).sum(0) / 40) * 100 + grid[0] * 0.5 - grid[2] * 0.25
    return Volume(
        array[None].astype(np.float32), np.eye(4) if affine is None else affine, source="ball"
    )
