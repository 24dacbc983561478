"""What goes to the network's grid comes back to the scan's own voxels: shape, affine and place."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from unetr.data.placement import Placement
from unetr.data.preprocess import Restorer, preprocess, preprocess_labels, restore

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


# Spacing of scans and of the network's grid: all that the two may be to each other.
SPACINGS_MM = st.tuples(*[st.floats(0.5, 6.0)] * 3)


def coarser(affine, target, orientation="RAS"):
    """Along each axis of the scan, the network's voxel over the scan's, or 1 if that is larger."""
    spacing_mm = np.linalg.norm(affine[:3, :3], axis=0)
    # The network axis that runs along each of the scan's: `target` is in the plan's orientation.
    patient = np.abs(affine[:3, :3] / spacing_mm).argmax(axis=0)
    along = ["LR", "PA", "IS"]
    order = [[letter in along[axis] for letter in orientation].index(True) for axis in patient]
    return np.maximum(1.0, np.array(target)[order] / spacing_mm)


@given(affine=affines(), target=SPACINGS_MM, seed=st.integers(0, 99))
def test_labels_come_back(affine, target, seed):
    """Dice of the round trip is at least 0.95 for every structure.

    Each grid can only place a surface to within a fraction of its voxel, so the property holds for
    structures that are large beside the voxels of both grids, and for no others: here ellipsoids
    whose half-axes are 6.5 to 7 voxels of whichever grid is coarser along that axis (at 5 voxels
    the worst cases fall just below 0.95). A surface that is off by a mean of d voxels costs a Dice
    of about 3 d / (2 r) at radius r. A shift of half a voxel of the grid, which is what aligning
    edges with centres gives, costs 0.75 / r = 0.11 along one axis: it fails.
    """
    random = np.random.default_rng(seed)
    plan = make_plan(spacing_mm=target)
    radii = random.uniform(6.5, 7, 3) * coarser(affine, target)
    # Two of them side by side along the axis that costs least, 1 voxel apart.
    along = int(np.argmin(radii))
    shape = np.ceil(2 * radii + random.uniform(1, 4, 3)).astype(int)
    shape[along] = int(np.ceil(4 * radii[along] + 5))
    labels = np.zeros(shape, np.uint16)
    for value, shift in ((200, -1.0), (600, 1.0)):
        centre = (shape - 1) / 2
        centre[along] += shift * (radii[along] + 0.5)
        x, y, z = (
            ((np.arange(n) - c) / r) ** 2 for n, c, r in zip(shape, centre, radii, strict=True)
        )
        labels[x[:, None, None] + y[:, None] + z <= 1] = value
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
    target=SPACINGS_MM,
    more=st.tuples(*[st.integers(0, 3)] * 3),
    corner=st.tuples(*[st.booleans()] * 3),
    orientation=st.sampled_from(["RAS", "LPS", "SRA", "PIL"]),
)
def test_the_grid_is_exact_and_a_marked_corner_comes_back(
    affine, target, more, corner, orientation
):
    """Shape and affine are kept to the bit; a block in a corner is found there, and nowhere else.

    The block is two voxels of the coarser grid long, the scan at least twice that.
    """
    plan = make_plan(spacing_mm=target, orientation=orientation)
    side = np.ceil(2 * coarser(affine, target, orientation)).astype(int)
    shape = tuple(int(n) for n in 2 * side + more)
    block = tuple(
        slice(n - s, n) if far else slice(s) for n, s, far in zip(shape, side, corner, strict=True)
    )
    mark = np.zeros(shape, np.uint16)
    mark[block] = 500
    volume = scan(mark, affine)
    x, placement = preprocess(plan, scan((mark > 0).astype(np.float32), affine))
    assert placement.native_shape == shape
    assert np.array_equal(np.array(placement.native_affine), affine)
    assert Placement.model_validate_json(placement.model_dump_json()) == placement
    # On the network's grid: the block's centre of mass lies where it lies in the scan, in mm.
    assert x.shape[1:] == placement.shape
    network, native = (
        placed @ (*np.average(np.indices(array.shape).reshape(3, -1), 1, array.ravel()), 1.0)
        for placed, array in ((placement.affine, x[0]), (affine, mark))
    )
    away = np.abs(np.linalg.inv(affine[:3, :3]) @ (network - native)[:3])
    assert (away <= 0.75 * coarser(affine, target, orientation)).all()
    # And back: the corner voxel itself, none of the other corners, the centre where it was.
    back = restore(plan, preprocess_labels(plan, volume, placement), placement)
    corners = back[:: shape[0] - 1, :: shape[1] - 1, :: shape[2] - 1]
    assert np.argwhere(corners).tolist() == [[int(far) for far in corner]]
    assert corners.max() == 500
    centre, there = (np.argwhere(array).mean(axis=0) for array in (back, mark))
    assert (np.abs(centre - there) <= 0.5 * coarser(affine, target, orientation)).all()


@given(affine=affines(), target=SPACINGS_MM)
def test_a_map_of_places_comes_back_as_it_was(affine, target):
    """Millimetres given as scores, brought back to the scan, are each voxel's own: no shift."""
    plan = make_plan(spacing_mm=target)
    _, placement = preprocess(plan, scan(np.zeros((9, 10, 11), np.float32), affine))
    network = np.einsum("ij,jxyz->ixyz", placement.affine[:3, :3], np.indices(placement.shape))
    back = placement.restore_map(network + placement.affine[:3, 3, None, None, None])
    native = np.einsum("ij,jxyz->ixyz", affine[:3, :3], np.indices((9, 10, 11)))
    away = np.abs(back - native - affine[:3, 3, None, None, None])
    # Voxels outside of the network's outermost centres take these centres' value.
    positions = [placement.crop_positions(k) for k in range(3)]
    held = np.ix_(
        *((p >= 0) & (p <= n - 1) for p, n in zip(positions, placement.shape, strict=True))
    )
    assert placement.crop_of(away)[:, *held].max(initial=0) < 2e-3


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


def restored_in(plan, scores, placement, edges):
    """With probabilities, from slabs that begin and end at `edges`."""
    restorer = Restorer(plan, placement, probabilities=True)
    for start, stop in itertools.pairwise(edges):
        restorer.push(scores[:, start:stop])
    return restorer.finish()


@given(
    cuts=st.lists(st.integers(0, 12), max_size=6),
    native=st.tuples(*[st.floats(0.5, 2.0)] * 3),
    regions=st.booleans(),
)
def test_slabs_equal_whole(cuts, native, regions):
    plan = make_plan(regions=REGIONS if regions else ())
    volume = scan(np.zeros((7, 6, 5), np.float32), np.diag([*native, 1.0]))
    _, placement = preprocess(plan, volume)
    scores = scores_like(plan, placement)
    size = placement.shape[0]
    edges = [0, *sorted(min(cut, size) for cut in cuts), size]
    whole = restored_in(plan, scores, placement, [0, size])
    restored = restored_in(plan, scores, placement, edges)
    assert np.array_equal(restored.labels, whole.labels)
    assert np.array_equal(restored.probabilities, whole.probabilities)


@pytest.mark.parametrize("native", [(0.6, 2.0, 1.0), (2.5, 0.7, 0.9)])
def test_restore_is_linear_interpolation_then_argmax(native):
    """The plane-by-plane way gives what scipy's whole-volume way gives."""
    from scipy.ndimage import map_coordinates

    plan = make_plan(orientation="LSP")
    affine = np.diag([*native, 1.0])
    volume = scan(np.zeros((11, 12, 13), np.float32), affine)
    _, placement = preprocess(plan, volume)
    scores = scores_like(plan, placement)
    restored = restored_in(plan, scores, placement, [0, placement.shape[0]])
    places = np.stack([*np.indices(volume.shape), np.ones(volume.shape)])
    at = np.einsum("ij,jxyz->ixyz", np.linalg.inv(placement.affine) @ affine, places)[:3]
    wanted = np.stack([map_coordinates(s.numpy(), at, order=1, mode="nearest") for s in scores])
    assert np.abs(restored.probabilities - wanted).max() < 1e-3
    assert np.mean(restored.labels == np.array(IDS)[wanted.argmax(0)]) > 0.999


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
