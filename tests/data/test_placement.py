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
from unetr.data.plan import Crop, Label, Normalisation, Plan, Region
from unetr.errors import InputError
from unetr.image.volume import Volume

IDS = (0, 200, 500, 600)


def make_plan(**changed) -> Plan:
    given = {
        "channels": ("ct",),
        "labels": tuple(Label(id=i, name=str(i)) for i in IDS),
        "spacing_mm": (1.0, 1.0, 1.0),
        "patch_voxels": (16, 16, 16),
        "normalisation": (Normalisation(kind="range", low=0.0, high=1.0),),
    }
    return Plan(**(given | changed))


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


def scan(array, affine) -> Volume:
    return Volume(np.asarray(array)[None], affine, source="scan.nii.gz")


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


@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize("target", [(0.7, 1.0, 2.1), (3.0, 0.5, 1.3)])
def test_resampling_is_affine_exact(order, target):
    """A linear ramp in mm is, inside, the same ramp on the network's grid: no half-voxel shift."""
    affine = np.diag([-0.9, 1.1, 2.0, 1.0])
    affine[:3, 3] = (20, -30, 7)
    places = np.stack([*np.indices((24, 24, 24)), np.ones((24, 24, 24))])
    mm = np.einsum("ij,jxyz->ixyz", affine, places)
    slope = (1.0, 2.0, -3.0)
    ramp = sum(s * axis for s, axis in zip(slope, mm[:3], strict=True))
    plan = make_plan(
        spacing_mm=target,
        image_order=(order,) * 3,
        normalisation=(Normalisation(kind="range", low=-1000, high=1000),),
    )
    x, placement = preprocess(plan, scan(ramp.astype(np.float32), affine))
    places = np.stack([*np.indices(placement.shape), np.ones(placement.shape)])
    mm = np.einsum("ij,jxyz->ixyz", placement.affine, places)
    wanted = sum(s * axis for s, axis in zip(slope, mm[:3], strict=True))
    margin = [int(np.ceil(2 * max(1, ratio) / ratio)) + 1 for ratio in placement.ratio]
    inner = tuple(slice(m, -m) for m in margin)
    found = x[0] * 2000 - 1000
    assert found[inner].size > 100
    assert np.abs(found[inner] - wanted[inner]).max() < 2e-2
    back = placement.restore_map(found[None])[0]
    inner = tuple(
        slice(m, -m)
        for m in (
            int(np.ceil(2 * max(1, placement.ratio[k]))) + 2 for k in np.argsort(placement.axes)
        )
    )
    assert np.abs(back[inner] - ramp[inner]).max() < 2e-2


def test_shrinking_does_not_alias():
    """A stripe per voxel becomes its mean, not whichever stripe the new grid happens to hit."""
    stripes = np.indices((48, 4, 4)).sum(0) % 2
    plan = make_plan(spacing_mm=(6.0, 1.0, 1.0))
    x, _ = preprocess(plan, scan(stripes.astype(np.float32), np.eye(4)))
    assert x.shape == (1, 8, 4, 4)
    assert np.abs(x - 0.5).max() < 0.05


def scores_like(plan, placement, seed=0):
    torch.manual_seed(seed)
    return torch.rand(plan.out_channels, *placement.shape)


REGIONS = (
    Region(name="whole", members=(200, 500), paint=200),
    Region(name="core", members=(500,), paint=500),
)


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


def test_crop_is_background_outside():
    """A body in air: the box is the body's with its margin, and air comes back as background."""
    plan = make_plan(crop=Crop(kind="above", threshold=-500, margin_mm=3.0))
    array = np.full((12, 10, 8), -1000, np.int16)
    array[4:9, 5:, 2:4] = 40
    x, placement = preprocess(plan, scan(array, np.diag([2.0, 1.0, 4.0, 1.0])))
    assert placement.box == ((2, 11), (2, 10), (1, 5))
    scores = torch.zeros(4, *x.shape[1:])
    scores[2] = 1.0
    labels, probabilities = restore(plan, scores, placement, probabilities=True)
    inside = np.zeros(array.shape, bool)
    inside[2:11, 2:10, 1:5] = True
    assert np.array_equal(labels, np.where(inside, 500, 0))
    assert np.array_equal(probabilities[0], ~inside)
    assert np.array_equal(probabilities[2], inside)


def test_nonzero_crop_sees_all_channels_and_an_empty_scan_is_kept():
    plan = make_plan(
        channels=("a", "b"),
        crop=Crop(kind="nonzero"),
        normalisation=(Normalisation(kind="zscore", over="nonzero"),) * 2,
    )
    array = np.zeros((2, 6, 6, 6), np.float32)
    x, placement = preprocess(plan, Volume(array, np.eye(4)))
    assert x.shape == (2, 6, 6, 6)
    assert not x.any()
    array[0, 1, 2, 2], array[1, 4, 2, 3] = 7.0, 9.0
    _, placement = preprocess(plan, Volume(array, np.eye(4)))
    assert placement.box == ((1, 5), (2, 3), (2, 4))


@pytest.mark.parametrize(
    ("how", "wanted"),
    [
        ({"kind": "range", "low": 0, "high": 4}, [0, 0, 0.25, 0.5, 1, 1]),
        (
            {"kind": "standard", "low": 0, "high": 4, "mean": 1, "std": 2},
            [-0.5, -0.5, 0, 0.5, 1.5, 1.5],
        ),
        ({"kind": "percentile", "low": 20, "high": 80}, [0, 0, 0.25, 0.5, 1, 1]),
        ({"kind": "zscore"}, None),
        ({"kind": "zscore", "over": "nonzero"}, None),
    ],
)
def test_normalisation(how, wanted):
    values = np.array([-2.0, 0, 1, 2, 4, 7])
    plan = make_plan(normalisation=(Normalisation(**how),))
    x, _ = preprocess(plan, scan(values.reshape(6, 1, 1).astype(np.int16), np.eye(4)))
    if wanted is None:
        used = values[values != 0] if "over" in how else values
        wanted = (values - used.mean()) / used.std()
        wanted[(values == 0) & ("over" in how)] = 0
    assert x.ravel() == pytest.approx(np.array(wanted), abs=1e-6)


def test_input_is_left_alone():
    array = np.full((4, 4, 4), 9.0, np.float32)
    array.setflags(write=False)
    x, _ = preprocess(make_plan(), scan(array, np.eye(4)))
    assert (array == 9).all()
    assert (x == 1).all()


def test_wrong_input_is_told():
    plan = make_plan()
    with pytest.raises(InputError, match=r"scan.nii.gz: channels: 2, but the model takes 1 \(ct\)"):
        preprocess(plan, Volume(np.zeros((2, 4, 4, 4)), np.eye(4), source="scan.nii.gz"))
    volume = scan(np.zeros((4, 4, 4), np.uint8), np.eye(4))
    _, placement = preprocess(plan, volume)
    with pytest.raises(InputError, match=r"\(1, 4, 4, 5\) is not one channel on the grid"):
        preprocess_labels(plan, scan(np.zeros((4, 4, 5), np.uint8), np.eye(4)), placement)
    for strange in (-1, 3, 601, 70000):
        labels = np.zeros((4, 4, 4), np.int32)
        labels[1, 1, 1] = strange
        with pytest.raises(InputError, match=f"label values {strange} are not in the plan"):
            preprocess_labels(plan, scan(labels, np.eye(4)), placement)
    with pytest.raises(InputError, match="float32, not integers"):
        preprocess_labels(plan, scan(np.zeros((4, 4, 4), np.float32), np.eye(4)), placement)
    with pytest.raises(ValueError, match="do not fit"):
        Restorer(plan, placement).push(torch.zeros(4, 5, 4, 4))
    with pytest.raises(ValueError, match="0 of 4 planes"):
        Restorer(plan, placement).finish()
