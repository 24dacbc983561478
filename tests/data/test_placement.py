"""What goes to the network's grid comes back to the scan's own voxels: shape, affine and place."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from unetr.data.grid import Placement
from unetr.data.placement import Restorer, preprocess, preprocess_labels, restore

from .placements import IDS, REGIONS, make_plan, scan


def dice(a, b) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


@st.composite
def affines(draw):
    """Any of the 48 orientations, turned by up to 30 degrees about any axis, anywhere."""
    spacing_mm = np.array(draw(st.tuples(*[st.floats(0.5, 6.0)] * 3)))
    axes = draw(st.permutations(range(3)))
    signs = draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3))
    about = np.array(draw(st.tuples(*[st.floats(-1, 1)] * 3))) + 1e-3
    angle = draw(st.floats(0, np.deg2rad(30)))
    turn = Rotation.from_rotvec(angle * about / np.linalg.norm(about)).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.eye(3)[:, axes] @ np.diag(np.array(signs) * spacing_mm)
    affine[:3, 3] = draw(st.tuples(*[st.floats(-300, 300)] * 3))
    return affine


@given(affine=affines(), target=st.tuples(*[st.floats(1.0, 3.0)] * 3), seed=st.integers(0, 99))
def test_labels_come_back(affine, target, seed):
    """Dice of the round trip is at least 0.95 for every structure.

    Each grid can only place a surface to within a fraction of its voxel, so the property holds for
    structures that are large beside the voxels of both grids, and for no others: here ellipsoids
    whose half-axes are 5 to 7 voxels of whichever grid is coarser along that axis. A surface that
    is off by a mean of d voxels costs a Dice of about 3 d / (2 r) at radius r: r = 5 leaves room
    for a sixth of a voxel. A shift of half a voxel of the grid, which is what aligning edges with
    centres gives, costs 0.75 / r = 0.15 along one axis: it fails.
    """
    random = np.random.default_rng(seed)
    spacing_mm = np.linalg.norm(affine[:3, :3], axis=0)
    plan = make_plan(spacing_mm=target)
    # Along each axis of the scan, the network voxel that ends up there.
    order = np.abs(affine[:3, :3] / spacing_mm).argmax(axis=0)
    radii = random.uniform(5, 7, 3) * np.maximum(spacing_mm, np.array(target)[order]) / spacing_mm
    # Two of them side by side along the axis that costs least, 1 voxel apart.
    along = int(np.argmin(radii))
    shape = np.ceil(2 * radii + random.uniform(1, 4, 3)).astype(int)
    shape[along] = int(np.ceil(4 * radii[along] + 5))
    places = np.indices(shape)
    labels = np.zeros(shape, np.uint16)
    for value, shift in ((200, -1.0), (600, 1.0)):
        centre = (shape - 1) / 2
        centre[along] += shift * (radii[along] + 0.5)
        inside = (((places.T - centre) / radii) ** 2).sum(-1).T <= 1
        labels[inside] = value
    volume = scan(labels, affine)
    _, placement = preprocess(plan, volume)
    back = restore(plan, preprocess_labels(plan, volume, placement), placement)
    assert back.shape == volume.shape
    assert back.dtype == np.uint16
    assert set(np.unique(back)) == {0, 200, 600}
    for value in (200, 600):
        assert dice(back == value, labels == value) >= 0.95


@given(
    affine=affines(),
    target=st.tuples(*[st.floats(0.5, 6.0)] * 3),
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    orientation=st.sampled_from(["RAS", "LPS", "SRA", "PIL"]),
)
def test_grid_is_exact_and_corner_comes_back(affine, target, shape, orientation):
    """The scan's shape and affine are kept to the bit, and each corner is found where it lies."""
    plan = make_plan(spacing_mm=target, orientation=orientation)
    mark = np.zeros(shape, np.float32)
    mark[0, -1, 0] = 1.0
    x, placement = preprocess(plan, scan(mark, affine))
    assert placement.native_shape == shape
    assert np.array_equal(np.array(placement.native_affine), affine)
    assert Placement.model_validate_json(placement.model_dump_json()) == placement
    # The brightest network voxel lies within a voxel (of the coarser grid) of the mark, in mm.
    assert x.shape[1:] == placement.shape
    at = np.unravel_index(int(x[0].argmax()), placement.shape)
    here = placement.affine @ (*at, 1.0)
    there = affine @ (0, shape[1] - 1, 0, 1.0)
    voxel = np.linalg.inv(affine[:3, :3]) @ (here - there)[:3]
    reach = np.maximum(1.0, np.array(placement.ratio)[np.argsort(placement.axes)])
    assert (np.abs(voxel) <= reach).all()
    # A map of the voxel's own index, brought there and back, is the index: nothing is displaced.
    back = placement.restore_map(x)
    assert back.shape == (1, *shape)
    if x.max() > x.min():
        assert np.unravel_index(int(back[0].argmax()), shape) == pytest.approx(
            (0, shape[1] - 1, 0), abs=reach.max()
        )


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("signs", list(itertools.product((1, -1), repeat=3)))
def test_every_orientation_gives_one_input(axes, signs):
    """The same patient stored 48 ways is the same input, and each voxel comes back exactly."""
    random = np.random.default_rng(0)
    body = random.random((5, 6, 7), dtype=np.float32)
    plan = make_plan()
    turned = body[:: signs[0], :: signs[1], :: signs[2]].transpose(axes)
    affine = np.eye(4)
    affine[:3, :3] = np.diag(signs)[:, axes]
    affine[:3, 3] = [
        0 if sign > 0 else size - 1 for sign, size in zip(signs, (5, 6, 7), strict=True)
    ]
    x, placement = preprocess(plan, scan(turned, affine))
    assert np.array_equal(x[0], body)
    assert np.array_equal(placement.affine, np.eye(4))
    assert np.array_equal(placement.restore_map(x)[0], turned)
    labels = np.array(IDS, np.uint16)[(turned * 4).astype(int)]
    back = preprocess_labels(plan, scan(labels, affine), placement)
    assert np.array_equal(restore(plan, back, placement), labels)


def scores_like(plan, placement, seed=0):
    torch.manual_seed(seed)
    return torch.rand(plan.out_channels, *placement.shape)


@given(
    cuts=st.lists(st.integers(0, 12), max_size=6),
    native=st.tuples(*[st.floats(0.5, 3.0)] * 3),
    regions=st.booleans(),
)
def test_slabs_equal_whole(cuts, native, regions):
    plan = make_plan(regions=REGIONS if regions else ())
    volume = scan(np.zeros((9, 8, 7), np.float32), np.diag([*native, 1.0]))
    _, placement = preprocess(plan, volume)
    scores = scores_like(plan, placement)
    whole, probabilities = restore(plan, scores, placement, probabilities=True)
    restorer = Restorer(plan, placement, probabilities=True)
    size = placement.shape[0]
    edges = [0, *sorted(min(cut, size) for cut in cuts), size]
    for start, stop in itertools.pairwise(edges):
        restorer.push(scores[:, start:stop])
    restored = restorer.finish()
    assert np.array_equal(restored.labels, whole)
    assert np.array_equal(restored.probabilities, probabilities)


@pytest.mark.parametrize("native", [(0.6, 2.0, 1.0), (2.5, 0.7, 0.9)])
def test_restore_is_linear_interpolation_then_argmax(native):
    """The plane-by-plane way gives what scipy's whole-volume way gives."""
    from scipy.ndimage import map_coordinates

    plan = make_plan(orientation="LSP")
    affine = np.diag([*native, 1.0])
    volume = scan(np.zeros((11, 12, 13), np.float32), affine)
    _, placement = preprocess(plan, volume)
    scores = scores_like(plan, placement)
    labels, probabilities = restore(plan, scores, placement, probabilities=True)
    places = np.stack([*np.indices(volume.shape), np.ones(volume.shape)])
    at = np.einsum("ij,jxyz->ixyz", np.linalg.inv(placement.affine) @ affine, places)[:3]
    wanted = np.stack([map_coordinates(s.numpy(), at, order=1, mode="nearest") for s in scores])
    assert np.abs(probabilities - wanted).max() < 1e-3
    assert np.mean(labels == np.array(IDS)[wanted.argmax(0)]) > 0.999


def test_regions_are_painted_in_order():
    plan = make_plan(regions=REGIONS)
    volume = scan(np.zeros((1, 1, 4), np.float32), np.eye(4))
    _, placement = preprocess(plan, volume)
    scores = np.array([[0.2, 0.9, 0.9, 0.1], [0.1, 0.4, 0.8, 0.6]], np.float32)[:, None, None]
    assert restore(plan, scores, placement).ravel().tolist() == [0, 200, 500, 500]
    labels = scan(np.array([[[0, 200, 500, 600]]], np.int16), np.eye(4))
    masks = preprocess_labels(plan, labels, placement)
    assert masks[:, 0, 0].tolist() == [[0, 1, 1, 0], [0, 0, 1, 0]]
    assert restore(plan, masks, placement).ravel().tolist() == [0, 200, 500, 0]
