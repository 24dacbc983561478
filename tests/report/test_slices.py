"""What is cut, where it lies on the page, and its outlines."""

import base64
import io
import re

import nibabel as nib
import numpy as np
import pytest
from matplotlib.image import imread

from unetr.evaluation.matching import Pair
from unetr.report.slices import outline, read_shown, slices

from ..evaluation.cubes import AFFINE, SHAPE, box, save


def test_an_outline_follows_the_voxels_sides_in_mm():
    """One voxel of 2 x 3 mm at column 1, row 0: its sides' middles."""
    mask = np.zeros((2, 3), bool)
    mask[0, 1] = True
    points = set(re.sub("[MZ]", "", outline(mask, 2.0, 3.0)).split())
    assert points == {"2,1.5", "3,0", "4,1.5", "3,3"}
    small = set(re.sub("[MZ]", "", outline(mask, 2e-6, 3e-6)).split())
    assert small == {"2e-06,1.5e-06", "3e-06,0", "4e-06,1.5e-06", "3e-06,3e-06"}


def test_every_part_has_its_outline_and_nothing_has_none():
    mask = np.zeros((8, 8), bool)
    mask[1, 1] = mask[5:7, 5:7] = True
    assert outline(mask, 1.0, 1.0).count("Z") == 2
    assert outline(np.zeros((3, 3), bool), 1.0, 1.0) == ""


def oriented(array, affine, codes):
    """The same voxels in another order of axes."""
    start = nib.orientations.io_orientation(affine)
    turn = nib.orientations.ornt_transform(start, nib.orientations.axcodes2ornt(codes))
    turned = nib.orientations.apply_orientation(array, turn)
    return turned, affine @ nib.orientations.inv_ornt_aff(turn, array.shape)


@pytest.fixture
def make_pair(tmp_path):
    """A block at the patient's right front top, with an image that brightens to the right."""

    def make(codes):
        reference = box((30, 40), (24, 32), (12, 18), 7, shape=(50, 40, 24))
        ramp = np.broadcast_to(np.arange(50.0)[:, None, None], reference.shape)
        for name, array in (
            ("reference", reference),
            ("prediction", np.roll(reference, 2, axis=1)),
            ("image", ramp.astype(np.float32)),
        ):
            save(tmp_path / f"{name}.nii.gz", *oriented(array, AFFINE, codes))
        paths = [tmp_path / f"{name}.nii.gz" for name in ("prediction", "reference", "image")]
        return Pair("case", paths[0], paths[1], (paths[2],))

    return make


def grey(address):
    return imread(io.BytesIO(base64.b64decode(address.split(",")[1])))[..., 0]


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SRA", "PIR"])
def test_the_patients_sides_lie_as_marked_whatever_the_files_axes(make_pair, codes):
    axial, coronal, sagittal = slices(read_shown(make_pair(codes)), (7,))
    assert [s.view for s in (axial, coronal, sagittal)] == ["axial", "coronal", "sagittal"]
    assert (axial.left, axial.top, sagittal.left) == ("R", "A", "A")
    # Bright is right, and right is at the left.
    picture = grey(axial.image)
    assert picture[:, 0].min() > picture[:, -1].max()
    # 10 mm around at least: x 20..49 (to the border), y 14..39, z 12 +- 5 slices of 2 mm.
    assert (axial.width_mm, axial.height_mm) == (30.0, 26.0)
    assert (coronal.width_mm, coronal.height_mm) == (30.0, 32.0)
    assert (sagittal.width_mm, sagittal.height_mm) == (26.0, 32.0)
    # The prediction lies 2 mm to the front: further up in the axial slice.
    top = [min(float(y) for y in re.findall(r",([\d.]+)", path))
           for path in (axial.prediction, axial.reference)]  # fmt: skip
    assert top[1] - top[0] == 2.0


def test_a_prediction_alone_is_shown_where_it_is(tmp_path):
    prediction = box((2, 6), (2, 6), (2, 6))
    save(tmp_path / "p.nii.gz", prediction)
    save(tmp_path / "r.nii.gz", np.zeros(SHAPE, np.uint8))
    shown = slices(read_shown(Pair("a", tmp_path / "p.nii.gz", tmp_path / "r.nii.gz")), (1,))
    assert all(each.prediction and not each.reference and not each.image for each in shown)


def test_other_grids_are_brought_onto_the_references(tmp_path):
    reference = box((2, 10), (2, 8), (2, 6))
    fine = np.diag([0.5, 0.5, 1.0, 1.0])
    fine[:3, 3] = (-0.25, -0.25, -0.5)
    doubled = reference.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    save(tmp_path / "r.nii.gz", reference)
    for name in ("p", "i"):
        save(tmp_path / f"{name}.nii.gz", doubled, fine)
    paths = [tmp_path / f"{name}.nii.gz" for name in "pri"]
    shown = read_shown(Pair("a", paths[0], paths[1], (paths[2],)))
    assert np.array_equal(shown.prediction, shown.reference)
    assert shown.image.shape == SHAPE
    assert np.array_equal(shown.image > 0.5, reference == 1)
