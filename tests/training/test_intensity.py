"""Changes of intensity: known answers, and MONAI's where it has the same."""

import numpy as np
import pytest
import torch
from monai.transforms import (
    AdjustContrast,
    GaussianSmooth,
    RandSimulateLowResolution,
    ScaleIntensity,
    ShiftIntensity,
)

from unetr.training.intensity import (
    blur,
    change_intensity,
    contrast,
    gamma,
    low_resolution,
    other_appearance,
    other_structures,
)
from unetr.training.recipe import Augmentation


@pytest.fixture
def image() -> torch.Tensor:
    return torch.randn(2, 12, 13, 14, generator=torch.Generator().manual_seed(0))


def test_gamma_keeps_the_range_and_is_monais(image):
    found = gamma(image[:1], 1.5)
    expected = torch.as_tensor(AdjustContrast(1.5)(image[:1]))
    assert torch.allclose(found, expected, atol=1e-4)
    assert float(found.max()) == pytest.approx(float(image[:1].max()), abs=1e-5)


def test_blur_is_monais_inside(image):
    expected = torch.as_tensor(GaussianSmooth(1.0, approx="sampled")(image))
    inside = (slice(None), slice(4, -4), slice(4, -4), slice(4, -4))
    assert torch.allclose(blur(image, 1.0)[inside], expected[inside], atol=2e-2)
    assert torch.allclose(blur(torch.ones(1, 8, 8, 8), 0.8), torch.ones(1, 8, 8, 8), atol=1e-6)


def test_contrast_scales_about_the_mean_within_the_range(image):
    found = contrast(image, 0.5)
    mean = image.mean((1, 2, 3), keepdim=True)
    assert torch.allclose(found - mean, 0.5 * (image - mean), atol=1e-5)
    assert float(contrast(image, 3.0).max()) == float(image.max())


def test_low_resolution_keeps_a_constant_and_loses_detail(image):
    assert torch.allclose(low_resolution(torch.full((1, 8, 8, 8), 3.0), 2.0), torch.tensor(3.0))
    assert float(low_resolution(image, 2.0).std()) < 0.9 * float(image.std())


def test_low_resolution_is_monais(image):
    peer = RandSimulateLowResolution(
        prob=1.0, downsample_mode="nearest-exact", zoom_range=(0.625, 0.625)
    )
    assert torch.equal(low_resolution(image, 1.6), torch.as_tensor(peer(image)))


def test_scale_and_shift_are_monais(image):
    """The same draw: after whether to do it at all comes how much."""
    draws = np.random.default_rng(0)
    draws.random(4)
    amount = float(draws.uniform(-1, 1))
    settings = Augmentation(intensity_scale_p=1.0, intensity_scale=0.1)
    found = change_intensity(image, settings, np.random.default_rng(0))
    peer = ScaleIntensity(minv=None, maxv=None, factor=0.1 * amount)(image)
    assert torch.allclose(found, torch.as_tensor(peer), atol=1e-6)
    settings = Augmentation(intensity_shift_p=1.0, intensity_shift=0.1)
    found = change_intensity(image, settings, np.random.default_rng(3))
    draws = np.random.default_rng(3)
    draws.random(5)
    peer = ShiftIntensity(0.1 * float(draws.uniform(-1, 1)), safe=False)(image)
    assert torch.allclose(found, torch.as_tensor(peer), atol=1e-6)


def test_scale_and_shift_as_the_recipe_says(image):
    settings = Augmentation(intensity_scale_p=1.0, intensity_scale=0.5)
    found = change_intensity(image, settings, np.random.default_rng(0))
    factor = found / image
    assert float(factor.std()) < 1e-4
    assert 0.5 <= float(factor.mean()) <= 1.5
    settings = Augmentation(intensity_shift_p=1.0, intensity_shift=0.5)
    found = change_intensity(image, settings, np.random.default_rng(0)) - image
    assert float(found.std()) < 1e-4
    assert 0 < abs(float(found.mean())) <= 0.5


def test_noise_is_as_strong_as_asked_for(image):
    settings = Augmentation(noise_p=1.0, noise=0.2)
    added = [
        float((change_intensity(image, settings, np.random.default_rng(k)) - image).std())
        for k in range(20)
    ]
    assert max(added) <= 0.21
    assert max(added) > 0.12


def test_nothing_happens_at_probability_0(image):
    assert torch.equal(change_intensity(image, Augmentation(), np.random.default_rng(0)), image)


def test_another_appearance_keeps_mean_deviation_and_shapes(image):
    """Two tissues stay apart, but which is the brighter one is open."""
    image[:, :6] += 5
    brighter = []
    for seed in range(20):
        found = other_appearance(image, np.random.default_rng(seed))
        assert found.shape == image.shape
        for own, given in zip(found, image, strict=True):
            assert float(own.mean()) == pytest.approx(float(given.mean()), abs=1e-4)
            assert float(own.std()) == pytest.approx(float(given.std()), rel=1e-3)
        brighter.append(bool(found[0, :5].mean() > found[0, 7:].mean()))
    assert 0 < sum(brighter) < 20


def test_another_appearance_of_nothing_is_nothing():
    constant = torch.full((1, 4, 4, 4), 2.0)
    assert torch.allclose(other_appearance(constant, np.random.default_rng(0)), constant)


def test_what_is_calibrated_keeps_its_appearance(image):
    settings = Augmentation(appearance_p=1.0)
    rng = np.random.default_rng
    assert torch.equal(change_intensity(image, settings, rng(0), calibrated=True), image)
    assert not torch.allclose(change_intensity(image, settings, rng(0)), image)


def structures() -> tuple[torch.Tensor, torch.Tensor]:
    """Two cubes, 3 and 5 times as far from black, which is -1, as what lies about them."""
    labels = torch.zeros(24, 24, 24, dtype=torch.uint8)
    labels[4:10, 4:10, 4:10], labels[15:21, 15:21, 15:21] = 1, 4
    image = torch.zeros(1, 24, 24, 24)
    image[0, labels == 1], image[0, labels == 4] = 2.0, 4.0
    image[0, 0, 0, 0] = -1.0
    return image, labels


def test_structures_change_each_by_itself_and_the_rest_stays():
    image, labels = structures()
    seen = set()
    for seed in range(20):
        found = other_structures(image, labels, (0.5, 0.5), np.random.default_rng(seed))
        inside = round(float(found[0, 6, 6, 6]), 4), round(float(found[0, 18, 18, 18]), 4)
        assert set(inside) <= {2.0, 4.0, 0.5, 1.5}
        seen.add(inside)
        assert torch.allclose(found[0, 0], image[0, 0], atol=1e-5)
        assert torch.allclose(found[0, 12], image[0, 12], atol=1e-5)
    assert seen == {(2.0, 4.0), (0.5, 4.0), (2.0, 1.5), (0.5, 1.5)}


def test_structures_change_within_the_factors():
    image, labels = structures()
    factors = [
        (
            float(other_structures(image, labels, (0.3, 1.7), np.random.default_rng(k))[0, 6, 6, 6])
            + 1
        )
        / 3
        for k in range(60)
    ]
    assert 0.3 <= min(factors) < 0.5
    assert 1.3 < max(factors) <= 1.7


def test_structures_of_regions_change_as_those_of_labels():
    image, labels = structures()
    masks = torch.stack([labels == 1, labels == 4]).to(torch.uint8)
    for seed in range(5):
        draw = np.random.default_rng(seed), np.random.default_rng(seed)
        by_label = other_structures(image, labels, (0.3, 1.7), draw[0])
        assert torch.equal(other_structures(image, masks, (0.3, 1.7), draw[1]), by_label)


def test_without_structures_nothing_changes():
    image, labels = structures()
    found = other_structures(image, torch.zeros_like(labels), (0.3, 1.7), np.random.default_rng(0))
    assert torch.equal(found, image)
