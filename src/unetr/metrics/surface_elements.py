"""How much surface a 2 x 2 x 2 neighbourhood holds: marching cubes, from its rules alone.

The eight voxel centres of a neighbourhood are the corners of a cube. Each corner lies inside the
mask or outside of it; its *code* has a bit per corner, 128 for the first (x, y, z all low) down to
1 for the last, z fastest. Where an edge of the cube joins inside and outside, the surface crosses
its middle. The crossings of a cube form closed polygons, which are cut into triangles; the area of
a code is the sum of theirs.

Marching cubes leaves two choices open. They are taken so that the areas are those of DeepMind's
surface-distance (Nikolov et al., arXiv:1809.04430), whose table MONAI uses too:

- On a face with two diagonal corners inside, the corners of the rarer kind (of the whole cube) are
  cut off one by one.
- Polygons of five or six corners need not be flat, and their area depends on the cut. Of all cuts,
  that with the greatest area at unit spacing is taken, and among equals the one that has the
  greatest single triangle.
"""

import itertools
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Float64

_Corner = tuple[int, int, int]
_Edge = tuple[_Corner, _Corner]
_Triangle = tuple[int, int, int]

_CORNERS: list[_Corner] = [(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)]


def surface_areas_mm2(spacing_mm: Sequence[float]) -> Float64[np.ndarray, " 256"]:
    """Area of the surface in a neighbourhood, by its code.

    Args:
        spacing_mm: Distance between voxel centres along x, y, z.
    """
    x, y, z = spacing_mm
    # Stretching the axes stretches each component of a normal by the other two axes.
    stretched = _normals() * np.array([y * z, z * x, x * y])
    areas: Float64[np.ndarray, " 256"] = np.linalg.norm(stretched, axis=-1).sum(axis=1)
    return areas


@lru_cache(maxsize=1)
def _normals() -> Float64[np.ndarray, "256 4 3"]:
    """Up to four triangles per code: normals as long as the triangles' areas at unit spacing."""
    table = np.zeros((256, 4, 3))
    for code in range(1, 128):
        normals = [normal for polygon in _polygons(code) for normal in _cut(polygon)]
        # Inside and outside exchanged, the surface is the same.
        table[code, : len(normals)] = table[255 - code, : len(normals)] = normals
    return table


def _polygons(code: int) -> list[Float64[np.ndarray, "n 3"]]:
    """The closed polygons, between 3 and 6 corners each, that separate inside from outside."""
    inside = {corner: bool(code >> 7 - bit & 1) for bit, corner in enumerate(_CORNERS)}
    rarer = sum(inside.values()) <= 4
    sides: dict[_Edge, list[_Edge]] = {}
    for face in _faces():
        for one, other in _face_sides([inside[corner] == rarer for corner in face], face):
            sides.setdefault(one, []).append(other)
            sides.setdefault(other, []).append(one)
    polygons = []
    while sides:
        # Each crossing lies on two faces: its polygon goes on over the side not yet walked.
        walked = [next(iter(sides))]
        while following := [edge for edge in sides[walked[-1]] if edge not in walked]:
            walked.append(following[0])
        polygons.append(np.mean(walked, axis=1))
        for edge in walked:
            del sides[edge]
    return polygons


def _faces() -> Iterator[list[_Corner]]:
    """The four corners of each face of the cube, going round."""
    for axis, side in itertools.product(range(3), (0, 1)):
        for_face = ((0, 0), (0, 1), (1, 1), (1, 0))
        yield [(a, b, side)[-axis - 1 :] + (a, b, side)[: -axis - 1] for a, b in for_face]  # type: ignore[misc]


def _face_sides(marked: list[bool], face: list[_Corner]) -> Iterator[tuple[_Edge, _Edge]]:
    """The sides of polygons on a face: pairs of crossed edges, cutting off runs of marked ones."""

    def edge(k: int) -> _Edge:
        low, high = sorted((face[k % 4], face[(k + 1) % 4]))
        return low, high

    starts = [k for k in range(4) if marked[k] and not marked[k - 1]]
    for start in starts:
        end = next(k for k in range(start, start + 4) if not marked[(k + 1) % 4])
        yield edge(start - 1), edge(end)


def _cut(polygon: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "triangles 3"]:
    """Normals of the polygon's triangles, for the cut that the module's rules choose."""
    cuts = []
    for triangles in _triangulations(range(len(polygon))):
        a, b, c = (polygon[[triangle[k] for triangle in triangles]] for k in range(3))
        cuts.append(np.cross(b - a, c - a) / 2)
    return max(cuts, key=_rank)


def _rank(normals: Float64[np.ndarray, "triangles 3"]) -> tuple[float, float]:
    """Sum of the areas, then the greatest of them."""
    areas = np.linalg.norm(normals, axis=1)
    # Rounded: sums of the same areas in another order must be equal.
    return round(float(areas.sum()), 9), round(float(areas.max()), 9)


def _triangulations(corners: Sequence[int]) -> Iterator[list[_Triangle]]:
    """Every way to cut a polygon: some triangle stands on the side from its last to its first."""
    if len(corners) < 3:
        yield []
        return
    first, last = corners[0], corners[-1]
    for k in range(1, len(corners) - 1):
        for left in _triangulations(corners[: k + 1]):
            for right in _triangulations(corners[k:]):
                yield [*left, *right, (first, corners[k], last)]
