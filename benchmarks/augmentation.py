"""A training patch, cut and augmented: ours against MONAI's transforms, on one core, in turn.

The same cached case, patch and settings for both; `paper` is the paper's set (flips, quarter turns,
scale and shift of intensities), `auto` the stronger one of the recipe of that name. The parts of
`auto` are also timed alone, each drawn every time. MONAI's pipeline is what its tutorials build:
RandCropByPosNegLabeld with cached indices, then one dictionary transform after the other.

    python benchmarks/augmentation.py [--rounds 20] [--patch 96 96 96]
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from monai import __version__ as monai_version
from monai import transforms as mt

from unetr.data.plan import Label, Normalisation, Plan
from unetr.training import intensity
from unetr.training.augmentation import affine_patch, augmented_patch, draw_affine
from unetr.training.recipe import Augmentation, Sampling
from unetr.training.recipe_toml import load_recipe
from unetr.training.sampling import patch_start

BOTH = ("image", "label")
Work = Callable[[], object]


@dataclass
class ArrayCase:
    """A cached case."""

    image: np.ndarray
    labels: np.ndarray
    foreground: list[np.ndarray]

    @cached_property
    def labelled(self) -> np.ndarray:
        return np.concatenate(self.foreground)


def made_case(patch: tuple[int, int, int]) -> ArrayCase:
    """Half as large again as the patch on each side, with two labels."""
    size = tuple(3 * n // 2 for n in patch)
    rng = np.random.default_rng(0)
    image = rng.normal(size=(1, *size)).astype(np.float32)
    labels = np.zeros(size, np.uint8)
    x, y, z = (n // 3 for n in size)
    labels[x : 2 * x, y : 2 * y, z : 2 * z] = 1
    labels[:x, :y, :z] = 2
    return ArrayCase(image, labels, [np.argwhere(labels == k)[:10_000] for k in (1, 2)])


def made_plan(patch: tuple[int, int, int]) -> Plan:
    return Plan(
        channels=("MR",),
        labels=tuple(Label(id=k, name=str(k)) for k in range(3)),
        spacing_mm=(1.0, 1.0, 1.0),
        patch_voxels=patch,
        normalisation=(Normalisation(kind="zscore"),),
        mirror_axes=(0, 1, 2),
    )


def our_sample(case: ArrayCase, plan: Plan, recipe: str) -> Work:
    """What the loop's thread does for one patch."""
    loaded, rng = load_recipe(recipe), np.random.default_rng(0)

    def sample() -> object:
        start = patch_start(case, plan.patch_voxels, loaded.sampling, rng)
        return augmented_patch(case, start, plan, loaded.augmentation, rng)

    return sample


def monai_sample(case: ArrayCase, plan: Plan, recipe: str) -> Work:
    """The same from MONAI: indices are cached, as they would be in its CacheDataset."""
    loaded = load_recipe(recipe)
    item: dict[str, Any] = {
        "image": torch.from_numpy(case.image),
        "label": torch.from_numpy(case.labels[None]),
    }
    item = mt.FgBgToIndicesd("label")(item)
    crop = mt.RandCropByPosNegLabeld(
        BOTH, "label", plan.patch_voxels, pos=loaded.sampling.foreground,
        neg=1 - loaded.sampling.foreground, num_samples=1,
        fg_indices_key="label_fg_indices", bg_indices_key="label_bg_indices",
    )  # fmt: skip
    chain = mt.Compose([crop, *monai_chain(loaded.augmentation, plan)])
    chain.set_random_state(0)
    return lambda: chain(dict(item))


def monai_chain(a: Augmentation, plan: Plan) -> list[Any]:
    """MONAI's transforms with the recipe's numbers. It has no contrast about the mean."""
    scale, degrees = a.scale, np.deg2rad(a.rotate_degrees)
    chain: list[Any] = []
    if a.rotate_p:
        chain.append(
            mt.RandAffined(
                BOTH, prob=1 - (1 - a.rotate_p) * (1 - a.scale_p), rotate_range=(degrees,) * 3,
                scale_range=(scale,) * 3, mode=("bilinear", "nearest"), padding_mode="zeros",
            )
        )  # fmt: skip
    chain += [mt.RandFlipd(BOTH, a.flip_p, axis) for axis in plan.mirror_axes]
    if a.rot90_p:
        chain.append(mt.RandRotate90d(BOTH, a.rot90_p, max_k=3))
    if a.noise_p:
        chain.append(mt.RandGaussianNoised("image", a.noise_p, std=a.noise))
    if a.blur_p:
        chain.append(mt.RandGaussianSmoothd("image", *[a.blur_voxels] * 3, prob=a.blur_p))
    chain.append(mt.RandScaleIntensityd("image", a.intensity_scale, a.intensity_scale_p))
    chain.append(mt.RandShiftIntensityd("image", a.intensity_shift, prob=a.intensity_shift_p))
    if a.low_resolution_p:
        chain.append(mt.RandSimulateLowResolutiond("image", a.low_resolution_p))
    if a.gamma_p:
        chain.append(mt.RandAdjustContrastd("image", a.gamma_p, a.gamma))
    return chain


def parts(case: ArrayCase, plan: Plan) -> dict[str, tuple[Work, Work]]:
    """Each transform alone, on the same cut patch (rotation and scale: about the same centre)."""
    patch, rng = plan.patch_voxels, np.random.default_rng(0)
    start = patch_start(case, patch, Sampling(), rng)
    window = tuple(slice(s, s + n) for s, n in zip(start, patch, strict=True))
    image = torch.from_numpy(case.image[:, *window].copy())
    item = {"image": image, "label": torch.from_numpy(case.labels[window][None].copy())}
    turned = Augmentation(rotate_p=1.0, scale_p=1.0, scale=0.25)
    always = Augmentation(
        noise_p=1.0, blur_p=1.0, gamma_p=1.0, low_resolution_p=1.0,
    )  # fmt: skip

    def affine() -> object:
        matrix = draw_affine(plan.spacing_mm, turned, rng)
        assert matrix is not None
        return affine_patch(case, start, patch, matrix)

    random_affine = mt.RandAffined(
        BOTH, prob=1.0, rotate_range=(np.deg2rad(15),) * 3, scale_range=(0.25,) * 3,
        mode=("bilinear", "nearest"), padding_mode="zeros",
    )  # fmt: skip
    noise, blur = mt.RandGaussianNoise(1.0, std=0.1), mt.RandGaussianSmooth(*[(0.5, 1.0)] * 3, 1.0)
    low, gamma = mt.RandSimulateLowResolution(1.0), mt.RandAdjustContrast(1.0, (0.7, 1.5))
    only_noise = Augmentation(noise_p=1.0)
    return {
        "rotation and scale": (affine, lambda: random_affine(dict(item))),
        "noise": (
            lambda: intensity.change_intensity(image, only_noise, rng),
            lambda: noise(image),
        ),
        "blur": (
            lambda: intensity.blur(image, rng.uniform(*always.blur_voxels)),
            lambda: blur(image),
        ),
        "low resolution": (
            lambda: intensity.low_resolution(image, rng.uniform(*always.low_resolution)),
            lambda: low(image),
        ),
        "gamma": (
            lambda: intensity.gamma(image, rng.uniform(*always.gamma)),
            lambda: gamma(image),
        ),
    }


def in_turn(own: Work, peer: Work, rounds: int) -> tuple[float, float]:
    """Median milliseconds of each, A B A B after one of each to warm up."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 1):
        for work, kept in zip((own, peer), seconds, strict=True):
            began = time.perf_counter()
            work()
            if number:
                kept.append(1e3 * (time.perf_counter() - began))
    return statistics.median(seconds[0]), statistics.median(seconds[1])


def mean_in_turn(own: Work, peer: Work, rounds: int) -> tuple[float, float]:
    """Mean milliseconds a sample: what is drawn differs from one to the next."""
    totals = [0.0, 0.0]
    for number in range(rounds + 1):
        for place, work in enumerate((own, peer)):
            began = time.perf_counter()
            for _ in range(10):
                work()
            if number:
                totals[place] += 1e3 * (time.perf_counter() - began) / 10
    return totals[0] / rounds, totals[1] / rounds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--patch", type=int, nargs=3, action="append", metavar=("X", "Y", "Z"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # as in the thread that prepares batches
    print(f"torch {torch.__version__}, MONAI {monai_version}, one thread\n")
    print("| patch | what | unetr ms | MONAI ms | ratio |")
    print("|---|---|---|---|---|")
    for patch in arguments.patch or [[96, 96, 96], [32, 48, 32]]:
        size = (patch[0], patch[1], patch[2])
        case, plan = made_case(size), made_plan(size)
        side = " x ".join(map(str, size))
        for what, (own, peer) in parts(case, plan).items():
            tell(side, what, *in_turn(own, peer, arguments.rounds))
        for recipe, name in (("btcv", "a sample, the paper's set"), ("auto", "a sample, auto")):
            works = our_sample(case, plan, recipe), monai_sample(case, plan, recipe)
            tell(side, name, *mean_in_turn(*works, arguments.rounds))


def tell(side: str, what: str, own: float, peer: float) -> None:
    print(f"| {side} | {what} | {own:.1f} | {peer:.1f} | {peer / own:.1f} |", flush=True)


if __name__ == "__main__":
    main()
