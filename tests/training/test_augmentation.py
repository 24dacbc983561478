"""Augmentation in space: image and labels alike, MONAI's flips and turns as the oracle."""

import numpy as np
import pytest
import torch
from monai.transforms import Affine, Flip, Rotate90

from unetr.data.plan import Normalisation
from unetr.training.augmentation import (
    affine_grid,
    affine_patch,
    augmented_patch,
    draw_affine,
    rotation,
    square_planes,
)
from unetr.training.recipe import Augmentation
from unetr.training.sampling import cut

from .tiny import ArrayCase, array_case

SIZE = (16, 16, 16)


def labelled_by_itself(size=(32, 32, 32)) -> ArrayCase:
    """The image equals its labels: they must stay together through any change in space."""
    labels = (np.indices(size).sum(0) // 4 % 3).astype(np.uint8)
    return ArrayCase(labels[None].astype(np.float32), labels, [])


def test_without_augmentation_it_is_a_cut(plan):
    case = array_case()
    image, labels = augmented_patch(case, (2, 3, 4), plan, Augmentation(), np.random.default_rng(0))
    assert np.array_equal(image.numpy(), cut(case.image, (2, 3, 4), SIZE))
    assert np.array_equal(labels.numpy(), cut(case.labels, (2, 3, 4), SIZE))


def test_flips_are_monais(plan):
    case = labelled_by_itself()
    settings = Augmentation(flip_p=1.0)
    image, labels = augmented_patch(case, (2, 3, 4), plan, settings, np.random.default_rng(0))
    expected = Flip((0, 1, 2))(torch.from_numpy(cut(case.image, (2, 3, 4), SIZE)))
    assert torch.equal(image, torch.as_tensor(expected))
    assert torch.equal(image[0], labels.float())


def test_flips_keep_to_the_plans_axes(plan):
    case = labelled_by_itself()
    only_z = plan.model_copy(update={"mirror_axes": (2,)})
    for axes, flipped in (("plan", [3]), ("all", [1, 2, 3])):
        settings = Augmentation(flip_p=1.0, flip_axes=axes)
        image, _ = augmented_patch(case, (0, 0, 0), only_z, settings, np.random.default_rng(0))
        straight = torch.from_numpy(cut(case.image, (0, 0, 0), SIZE))
        assert torch.equal(image, straight.flip(flipped))


def test_quarter_turns_are_monais(plan):
    case = labelled_by_itself()
    straight = torch.from_numpy(cut(case.image, (2, 3, 4), SIZE))
    turned = [
        torch.as_tensor(Rotate90(k, plane)(straight))
        for k in (1, 2, 3)
        for plane in ((0, 1), (0, 2), (1, 2))
    ]
    found = set()
    for seed in range(60):
        image, labels = augmented_patch(
            case, (2, 3, 4), plan, Augmentation(rot90_p=1.0), np.random.default_rng(seed)
        )
        assert torch.equal(image[0], labels.float())
        found |= {k for k, each in enumerate(turned) if torch.equal(image, each)}
    assert found == set(range(9))


def test_quarter_turns_only_where_the_grid_stays(plan):
    assert square_planes(plan) == [(-3, -2), (-3, -1), (-2, -1)]
    assert square_planes(plan, "axial") == [(-3, -2)]
    flat = plan.model_copy(update={"spacing_mm": (1.0, 1.0, 4.0)})
    assert square_planes(flat) == [(-3, -2)]
    long = plan.model_copy(update={"patch_voxels": (16, 16, 24)})
    assert square_planes(long) == [(-3, -2)]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_rotation_by_90_degrees_is_a_quarter_turn(axis):
    case = labelled_by_itself()
    angles = np.zeros(3)
    angles[axis] = np.pi / 2
    image, labels = affine_patch(case, (8, 8, 8), SIZE, rotation(angles))
    straight = torch.from_numpy(cut(case.labels, (8, 8, 8), SIZE))
    plane = [k for k in range(3) if k != axis]
    assert any(torch.equal(labels, straight.rot90(k, plane)) for k in (1, 3))
    assert torch.allclose(image[0], labels.float(), atol=1e-3)


@pytest.mark.parametrize("what", ["image", "labels", "regions"])
def test_rotation_with_scale_is_monais_inside(what):
    """MONAI turns the patch alone, so it is given one with room around; 10 voxels of it. It turns
    labels as masks, of which the largest share decides."""
    case = array_case(size=(40, 40, 40))
    random = np.random.default_rng(0)
    case.image[:] = random.normal(size=case.image.shape)
    case.labels[:] = np.kron(random.integers(0, 5, (10, 10, 10)), np.ones((4, 4, 4)))
    masks = np.stack([case.labels == k for k in range(5)]).astype(np.float32)
    matrix = 1.2 * rotation(np.array([0.3, -0.2, 0.4]))
    affine = np.eye(4)
    affine[:3, :3] = matrix
    large = torch.from_numpy(cut(case.image if what == "image" else masks, (1, 2, 3), (36, 36, 36)))
    turn = Affine(affine=affine, mode="bilinear", padding_mode="zeros", image_only=True)
    peer = torch.as_tensor(turn(large))[:, 10:-10, 10:-10, 10:-10]
    if what == "regions":
        case = ArrayCase(case.image, masks.astype(np.uint8), [])
    image, labels = affine_patch(case, (11, 12, 13), SIZE, matrix)
    if what == "image":
        assert torch.allclose(image, peer, atol=1e-4)
    elif what == "labels":
        assert (labels == peer.argmax(0)).float().mean() > 0.999  # but for ties
        assert len(labels.unique()) == 5
    else:
        assert ((labels == 1) == (peer >= 0.5)).float().mean() > 0.999
    assert float((image if what == "image" else labels.float()).std()) > 0.1


@pytest.mark.parametrize("dtype", [np.uint8, np.int16])
def test_labels_of_a_patch_larger_than_the_scan(dtype):
    """Beyond it is background, and the scan lies in the middle."""
    labels = np.full((10, 9, 1), 100 if dtype == np.uint8 else 1000, dtype)
    case = ArrayCase(np.ones((1, 10, 9, 1), np.float32), labels, [])
    _, found = affine_patch(case, (-3, -3, -7), SIZE, rotation(np.array([0.0, 0.0, 0.5])))
    assert found.dtype == torch.from_numpy(labels).dtype
    assert set(found.unique().tolist()) == {0, int(labels.max())}
    assert int((found != 0).sum()) == pytest.approx(labels.size, rel=0.1)
    assert int((found[..., 7] != 0).sum()) == int((found != 0).sum())


def test_the_grid_is_torchs():
    linear, shift = np.arange(9.0).reshape(3, 3) / 7 - 0.4, np.array([0.1, -0.2, 0.3])
    theta = np.column_stack([linear, shift])[::-1, [2, 1, 0, 3]].astype(np.float32)
    peer = torch.nn.functional.affine_grid(
        torch.from_numpy(theta.copy())[None], [1, 1, 5, 6, 7], align_corners=False
    )[0]
    assert torch.allclose(affine_grid(linear, shift, (5, 6, 7)), peer, atol=1e-6)


def test_identity_is_the_patch_itself():
    case = array_case(size=(40, 40, 40))
    image, labels = affine_patch(case, (5, 6, 7), SIZE, np.eye(3))
    assert torch.allclose(image, torch.from_numpy(cut(case.image, (5, 6, 7), SIZE)), atol=1e-4)
    assert np.array_equal(labels.numpy(), cut(case.labels, (5, 6, 7), SIZE))


def test_scale_by_two_shows_twice_as_much():
    case = labelled_by_itself((48, 48, 48))
    case.labels[:] = 0
    case.labels[16:32, 16:32, 16:32] = 1
    _, labels = affine_patch(case, (16, 16, 16), SIZE, 2 * np.eye(3))
    assert int(labels.sum()) == 8**3
    assert int(labels[4:12, 4:12, 4:12].sum()) == 8**3


def test_corners_show_the_scan_and_not_padding():
    case = ArrayCase(np.ones((1, 48, 48, 48), np.float32), np.ones((48, 48, 48), np.uint8), [])
    image, _ = affine_patch(case, (16, 16, 16), SIZE, rotation(np.full(3, np.pi / 4)))
    assert float(image.min()) == pytest.approx(1.0, abs=1e-5)


def test_rotation_is_one_in_millimetres():
    settings = Augmentation(rotate_p=1.0, rotate_degrees=30.0)
    matrix = draw_affine((1.0, 1.0, 2.5), settings, np.random.default_rng(1))
    to_mm = np.diag([1.0, 1.0, 2.5])
    turn = to_mm @ matrix @ np.linalg.inv(to_mm)
    assert np.allclose(turn @ turn.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(turn) == pytest.approx(1.0)


def test_thick_slices_turn_in_their_plane_alone():
    settings = Augmentation(rotate_p=1.0, rotate_degrees=30.0)
    matrix = draw_affine((1.0, 1.0, 7.7), settings, np.random.default_rng(1))
    assert np.allclose(matrix[2], [0, 0, 1])
    assert np.allclose(matrix[:, 2], [0, 0, 1])
    assert abs(matrix[0, 1]) > 0.01


def test_regions_are_turned_with_their_channels(plan):
    masks = np.stack([array_case().labels == 1, array_case().labels == 2]).astype(np.uint8)
    case = ArrayCase(masks.astype(np.float32), masks, [])
    settings = Augmentation(rotate_p=1.0, flip_p=0.5, scale_p=1.0)
    image, labels = augmented_patch(case, (2, 2, 2), plan, settings, np.random.default_rng(3))
    assert labels.shape == (2, *SIZE)
    assert torch.equal(labels.bool(), labels > 0)
    assert float(((image > 0.5) == labels.bool()).float().mean()) > 0.98


def test_regions_change_brightness_as_structures_do(plan):
    masks = np.stack([array_case().labels == 1, array_case().labels == 2]).astype(np.uint8)
    case = ArrayCase(masks.astype(np.float32), masks, [])
    settings = Augmentation(structure_p=1.0, structure=(0.5, 0.5))
    drawn = [
        augmented_patch(case, (2, 2, 2), plan, settings, np.random.default_rng(seed))[0]
        for seed in range(8)
    ]
    straight = torch.from_numpy(cut(case.image, (2, 2, 2), SIZE))
    changed = [bool((image[0] - straight[0]).abs().max() > 0.3) for image in drawn]
    assert 0 < sum(changed) < len(changed)


@pytest.mark.parametrize("what", ["appearance_p", "structure_p"])
def test_only_scans_without_a_scale_of_their_own_change_appearance(plan, what):
    case, settings = array_case(), Augmentation(**{what: 1.0})

    def changed(kind: str) -> list[bool]:
        how = Normalisation(kind=kind, low=0.0, high=1.0, mean=0.0, std=1.0)
        other = plan.model_copy(update={"normalisation": (how,) * len(plan.channels)})
        drawn = (
            augmented_patch(case, (2, 3, 4), other, settings, np.random.default_rng(seed))
            for seed in range(4)
        )
        return [not np.allclose(image.numpy(), original) for image, _ in drawn]

    original = cut(case.image, (2, 3, 4), SIZE)
    for kind in ("range", "standard"):
        assert not any(changed(kind))
    assert any(changed("zscore"))
