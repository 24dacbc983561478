"""Surface elements and their distances against MONAI's, over 200 pairs of random masks."""

import numpy as np
import pytest
import torch
from monai.metrics import compute_hausdorff_distance, compute_surface_dice
from monai.metrics.utils import get_edge_surface_distance
from scipy import ndimage

from unetr.metrics import score, surface_distances

from .shapes import cuboid

# Voxels of 0.6 and 0.8 mm lie at exactly 1 mm, a tolerance: rounding must not decide.
SPACINGS_MM = [(0.8, 0.6, 2.5), (1.0, 1.0, 1.0), (0.5, 1.5, 0.5)]
TOLERANCES_MM = [1.0, 1.5, 2.4, 3.0]


def pair(seed):
    """Two lumpy masks, most of which touch the volume's border, a spacing and a tolerance."""
    random = np.random.default_rng(seed)
    shape, width = random.integers(3, 15, 3), random.uniform(0.5, 2)
    field = ndimage.gaussian_filter(random.normal(size=shape), width)
    noise = ndimage.gaussian_filter(random.normal(size=shape), width)
    share = random.uniform(0.02, 0.98)
    fields = field, field + random.uniform(0, 2) * noise
    masks = [each > min(np.quantile(each, share), each.max() - 1e-9) for each in fields]
    if seed % 2:
        return *masks, SPACINGS_MM[seed // 2 % 3], TOLERANCES_MM[seed // 2 % 4]
    return *masks, tuple(random.uniform(0.3, 4, 3).tolist()), float(random.uniform(0.2, 4))


def of_monai(prediction, reference, spacing_mm):
    """(distance, area) of the prediction's elements and of the reference's, as MONAI has them."""
    masks = torch.from_numpy(prediction), torch.from_numpy(reference)
    edges, distances, areas = get_edge_surface_distance(
        *masks, spacing=spacing_mm, use_subvoxels=True, symmetric=True
    )
    return [
        (distance.double().numpy(), area[edge].double().numpy())
        for distance, area, edge in zip(distances, areas, edges, strict=True)
    ]


def percentile_by_area(distance_mm, area_mm2):
    """The first distance, from the least on, at which 95 % of the area are reached."""
    order = np.argsort(distance_mm)
    shares = np.cumsum(area_mm2[order]) / area_mm2.sum()
    return distance_mm[order][np.flatnonzero(shares >= 0.95)[0]]


@pytest.mark.parametrize("start", range(0, 200, 50))
def test_every_element_and_score(start):
    close = {"rtol": 1e-6, "atol": 1e-6}
    for seed in range(start, start + 50):
        prediction, reference, spacing_mm, tolerance_mm = pair(seed)
        p, r = of_monai(prediction, reference, spacing_mm)
        elements = surface_distances(prediction, reference, spacing_mm)
        np.testing.assert_allclose(elements.prediction_mm, p[0], **close)
        np.testing.assert_allclose(elements.reference_mm, r[0], **close)
        np.testing.assert_allclose(elements.prediction_mm2, p[1], **close)
        np.testing.assert_allclose(elements.reference_mm2, r[1], **close)

        found = score(prediction, reference, spacing_mm, tolerance_mm)
        assert found.hd_mm == pytest.approx(max(p[0].max(), r[0].max()), rel=1e-6, abs=1e-6)
        hd95_mm = max(percentile_by_area(*p), percentile_by_area(*r))
        assert found.hd95_mm == pytest.approx(hd95_mm, rel=1e-6, abs=1e-6)
        weighted = np.dot(*p) + np.dot(*r)
        assert found.assd_mm == pytest.approx(weighted / (p[1].sum() + r[1].sum()), abs=1e-6)
        nsd = compute_surface_dice(
            torch.from_numpy(prediction)[None, None],
            torch.from_numpy(reference)[None, None],
            [tolerance_mm],
            include_background=True,
            spacing=spacing_mm,
            use_subvoxels=True,
        )
        assert found.nsd == pytest.approx(float(nsd), abs=1e-6)


def test_hausdorff_by_voxels_is_the_same_where_surfaces_are_parallel():
    # MONAI's compute_hausdorff_distance measures between voxels at the surface, all alike.
    reference = cuboid((16, 10, 10), (1, 1, 1), (12, 8, 8))
    prediction = np.roll(reference, 2, axis=0)
    masks = [torch.from_numpy(mask)[None, None] for mask in (prediction, reference)]
    spacing_mm = (0.7, 2.0, 3.0)
    for percentile, name in [(None, "hd_mm"), (95, "hd95_mm")]:
        theirs = compute_hausdorff_distance(
            *masks, include_background=True, percentile=percentile, spacing=spacing_mm
        )
        ours = getattr(score(prediction, reference, spacing_mm), name)
        assert ours == pytest.approx(float(theirs)) == pytest.approx(1.4)
