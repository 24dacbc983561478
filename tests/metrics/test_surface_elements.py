"""Areas of surface elements against closed forms and MONAI's table."""

import numpy as np
import pytest
from monai.metrics.utils import get_code_to_measure_table

from unetr.metrics.surface_elements import surface_areas_mm2


@pytest.mark.parametrize(
    "spacing_mm",
    [
        (1.0, 1.0, 1.0),
        (0.8, 0.8, 5.0),
        (5.0, 0.8, 0.8),
        (0.8, 5.0, 0.8),
        (0.45, 1.3, 2.9),
        (3.0, 2.0, 0.1),
    ],
)
def test_every_code_has_the_area_of_monai(spacing_mm):
    theirs, kernel = get_code_to_measure_table(spacing_mm, device="cpu")
    assert kernel.flatten().tolist() == [128, 64, 32, 16, 8, 4, 2, 1]
    np.testing.assert_allclose(surface_areas_mm2(spacing_mm), theirs.numpy(), rtol=2e-6, atol=1e-7)


def test_corner_edge_and_plane():
    x, y, z = spacing_mm = (0.5, 1.5, 4.0)
    areas = surface_areas_mm2(spacing_mm)
    # One corner inside: a triangle through the middles of three edges.
    assert areas[1] == pytest.approx(np.linalg.norm([y * z, z * x, x * y]) / 8)
    # Two along z: a rectangle over half the other two axes.
    assert areas[0b11] == pytest.approx(z * np.hypot(x, y) / 2)
    # Four at one end of x: a plane.
    assert areas[0b1111] == pytest.approx(y * z)
    assert areas[0] == areas[255] == 0
