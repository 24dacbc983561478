"""Augmentation of intensities: what scanners and protocols change between scans."""

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional as F

from unetr.training.recipe import Augmentation

Image = Float[Tensor, "c x y z"]
# As published.
_RANDOM_LAYERS, _RANDOM_CHANNELS = 4, 2
_PARTIAL_VOLUME = 0.5
"""Width of a surface in voxels, as the deviation of a Gaussian."""


def change_intensity(
    image: Image, recipe: Augmentation, rng: np.random.Generator, calibrated: bool = False
) -> Image:
    """Applies what the recipe's probabilities draw: another appearance, then what nnU-Net does,
    in its order.

    Args:
        calibrated: As `Plan.calibrated`; appearances are not exchanged then.
    """
    # Drawn in any case, so that the plan does not change what others draw.
    if rng.random() < recipe.appearance_p and not calibrated:
        image = other_appearance(image, rng)
    if rng.random() < recipe.noise_p:
        image = image + rng.uniform(0, recipe.noise) * _normal(image, rng)
    if rng.random() < recipe.blur_p:
        image = blur(image, rng.uniform(*recipe.blur_voxels))
    if rng.random() < recipe.intensity_scale_p:
        image = image * (1 + rng.uniform(-1, 1) * recipe.intensity_scale)
    if rng.random() < recipe.intensity_shift_p:
        image = image + rng.uniform(-1, 1) * recipe.intensity_shift
    if rng.random() < recipe.contrast_p:
        image = contrast(image, rng.uniform(*recipe.contrast))
    if rng.random() < recipe.low_resolution_p:
        image = low_resolution(image, rng.uniform(*recipe.low_resolution))
    if rng.random() < recipe.gamma_p:
        image = gamma(image, rng.uniform(*recipe.gamma))
    return image.contiguous()


def other_appearance(image: Image, rng: np.random.Generator) -> Image:
    """The same shapes in other intensities: tissues change places between dark and bright.

    A few random convolutions with LReLU between, mixed with the image (GIN: Ouyang et al.,
    *Causality-inspired Single-source Domain Generalization for Medical Image Segmentation*,
    arXiv:2111.12525). Each channel keeps its mean and deviation, as it would when normalised.
    """
    x = image
    for layer in range(_RANDOM_LAYERS):
        last = layer == _RANDOM_LAYERS - 1
        side = int(rng.choice((1, 3)))
        shape = (len(image) if last else _RANDOM_CHANNELS, len(x), side, side, side)
        kernel, bias = (
            torch.from_numpy(rng.standard_normal(of, dtype=np.float32)) for of in (shape, shape[0])
        )
        x = F.conv3d(x[None], kernel, bias, padding=side // 2)[0]
        x = x if last else F.leaky_relu_(x)
    share = rng.random()
    return _as_bright_as(torch.lerp(image, _as_bright_as(x, image), share), image)


def other_structures(
    image: Image,
    labels: Shaped[Tensor, "*r x y z"],
    factors: tuple[float, float],
    rng: np.random.Generator,
) -> Image:
    """Half of the structures darker or brighter than they are, in all channels, as disease makes
    them: iron darkens liver and spleen, and a network that knows them by brightness finds neither.

    Distances from the channel's darkest voxel times a factor, drawn between the two on a
    logarithmic scale for each structure. Surfaces are as soft as partial volumes make them.

    Args:
        labels: (x, y, z) of classes, 0 the background, or (r, x, y, z) masks, of which the last
            counts where they overlap.
    """
    masks = (
        labels.bool() if labels.ndim == 4 else [labels == k for k in torch.unique(labels) if k > 0]
    )
    change = torch.ones(image.shape[1:])
    for mask in masks:
        factor = float(np.exp(rng.uniform(*np.log(factors))))
        if rng.random() < 0.5:
            change[mask] = factor
    if bool((change == 1).all()):
        return image
    low = image.amin((1, 2, 3), keepdim=True)
    return low + (image - low) * blur(change[None], _PARTIAL_VOLUME)


def _as_bright_as(x: Image, image: Image) -> Image:
    """`x` with the mean and deviation that each channel of `image` has."""
    own, wanted = (torch.std_mean(one, (1, 2, 3), keepdim=True) for one in (x, image))
    return (x - own[1]) * (wanted[0] / own[0].clamp(min=1e-7)) + wanted[1]


def _normal(image: Image, rng: np.random.Generator) -> Image:
    noise = rng.standard_normal(tuple(image.shape), dtype=np.float32)
    return torch.from_numpy(noise)


def contrast(image: Image, factor: float) -> Image:
    """Distances from each channel's mean times `factor`, within the channel's own range."""
    low, high = image.amin((1, 2, 3), keepdim=True), image.amax((1, 2, 3), keepdim=True)
    mean = image.mean((1, 2, 3), keepdim=True)
    return torch.clamp((image - mean) * factor + mean, low, high)


def gamma(image: Image, exponent: float) -> Image:
    """Each channel's range mapped to [0, 1], raised to `exponent`, and mapped back."""
    low = image.amin((1, 2, 3), keepdim=True)
    extent = image.amax((1, 2, 3), keepdim=True) - low
    return ((image - low) / extent.clamp(min=1e-7)).pow(exponent) * extent + low


def blur(image: Image, sigma_voxels: float) -> Image:
    """Gaussian of that width along each axis; the borders are repeated outwards."""
    reach = max(int(3 * sigma_voxels + 0.5), 1)
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (offsets / sigma_voxels) ** 2)
    kernel /= kernel.sum()
    x = image[:, None]
    for axis in range(3):
        shape, pad = [1, 1, 1, 1, 1], [0] * 6
        shape[2 + axis] = 2 * reach + 1
        pad[4 - 2 * axis] = pad[5 - 2 * axis] = reach
        x = F.conv3d(F.pad(x, pad, mode="replicate"), kernel.reshape(shape))
    return x[:, 0]


def low_resolution(image: Image, factor: float) -> Image:
    """As if taken with voxels `factor` times as large: reduced by nearest neighbour, then
    interpolated back."""
    small = [max(round(n / factor), 1) for n in image.shape[1:]]
    reduced = F.interpolate(image[None], small, mode="nearest-exact")
    return F.interpolate(reduced, image.shape[1:], mode="trilinear", align_corners=False)[0]
