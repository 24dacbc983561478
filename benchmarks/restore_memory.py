"""Bringing 14 classes back to a scan of 512 x 512 x 400 voxels: memory, time, and the same labels.

Both sides preprocess the same scan (0.8 x 0.8 x 1.0 mm) to 1.5 x 1.5 x 2.0 mm, each on its own
grid; there each reads the same smooth random field of 14 probabilities, by position in mm, as if a
network had predicted it. Ours is `restore`, MONAI's `Invertd` on the scores and `AsDiscreted`, in
float32, as its tutorials write it. Each side runs in a process of its own; counted is what it
held at most above the scan and the scores, and the seconds from scores to labels.

    python benchmarks/restore_memory.py [--shape 512 512 400]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import psutil
import torch
from torch.nn.functional import grid_sample

from sides import peak_gb

CLASSES = 14
SCAN_MM = (0.8, 0.8, 1.0)
NETWORK_MM = (1.5, 1.5, 2.0)
LIMIT_GB = 1.5
AGREEMENT = 0.999


def main() -> None:
    """Prints both sides, the ratios and how many labels agree."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", type=int, nargs=3, default=[512, 512, 400])
    parser.add_argument("--side", choices=list(SIDES))
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(measured(options.side, options.folder)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_scan(folder / "scan.nii.gz", tuple(options.shape))
        found = {side: in_own_process(side, folder) for side in SIDES}
        labels = [np.load(folder / f"{side}.npy") for side in SIDES]
    agree = float((labels[0] == labels[1]).mean())
    inside = (labels[0] > 0) | (labels[1] > 0)
    agree_inside = float((labels[0] == labels[1])[inside].mean())
    print(f"{CLASSES} classes onto {' x '.join(map(str, options.shape))} voxels")
    for side, one in found.items():
        print(f"{side:>6}: {one['seconds']:6.1f} s, {one['gb']:6.2f} GB above scan and scores "
              f"({one['base']:.2f} GB)")  # fmt: skip
    ours, monai = found["unetr"], found["MONAI"]
    print(f"ratio: {monai['seconds'] / ours['seconds']:.1f} times faster, "
          f"{monai['gb'] / ours['gb']:.1f} times less memory")  # fmt: skip
    print(f"labels agree in {agree:.6f} of all voxels, {agree_inside:.6f} of those not background")
    if ours["gb"] > LIMIT_GB or agree < AGREEMENT:
        sys.exit(f"more than {LIMIT_GB} GB, or less agreement than {AGREEMENT}")


def in_own_process(side: str, folder: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--side", side, "--folder", str(folder)]
    told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return json.loads(told.splitlines()[-1])


def measured(side: str, folder: Path) -> dict[str, float]:
    """Seconds and GB of the way back alone."""
    scores, way_back = SIDES[side](folder / "scan.nii.gz")
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten (Linux)
    base = psutil.Process().memory_info().rss
    began = time.perf_counter()
    labels = way_back(scores)
    seconds = time.perf_counter() - began
    peak = peak_gb() * 1e9
    np.save(folder / f"{side}.npy", labels)
    return {"seconds": seconds, "gb": (peak - base) / 1e9, "base": base / 1e9}


def unetr(path: Path):
    """Scores, and the way back that `unetr predict` goes."""
    from unetr import read_image
    from unetr.data.plan import Label, Normalisation, Plan
    from unetr.data.preprocess import preprocess, restore

    plan = Plan(
        channels=("CT",),
        labels=tuple(Label(id=i, name=f"organ {i}" if i else "background") for i in range(CLASSES)),
        spacing_mm=NETWORK_MM,
        patch_voxels=(96, 96, 96),
        normalisation=(Normalisation(kind="range", low=-175.0, high=250.0),),
    )
    scan = read_image(path)
    x, placement = preprocess(plan, scan)
    return field(x.shape[1:], placement.affine), lambda scores: restore(plan, scores, placement)


def monai(path: Path):
    """Scores, and the way back of MONAI's tutorials."""
    from monai.data import MetaTensor
    from monai.transforms import (
        AsDiscreted,
        Compose,
        EnsureChannelFirstd,
        Invertd,
        LoadImaged,
        Orientationd,
        ScaleIntensityRanged,
        Spacingd,
    )

    before = Compose([
        LoadImaged(keys="image"),
        EnsureChannelFirstd(keys="image"),
        Orientationd(keys="image", axcodes="RAS"),
        Spacingd(keys="image", pixdim=NETWORK_MM, mode="bilinear", dtype=np.float32),
        ScaleIntensityRanged("image", a_min=-175, a_max=250, b_min=0, b_max=1, clip=True),
    ])  # fmt: skip
    after = Compose([
        Invertd("pred", before, orig_keys="image", nearest_interp=False, to_tensor=True),
        AsDiscreted(keys="pred", argmax=True),
    ])  # fmt: skip
    data = before({"image": str(path)})
    scores = field(tuple(data["image"].shape[1:]), np.asarray(data["image"].affine))

    def way_back(scores: torch.Tensor) -> np.ndarray:
        data["pred"] = MetaTensor(scores, meta=data["image"].meta)
        return np.asarray(after(data)["pred"][0]).astype(np.uint8)

    return scores, way_back


def field(shape: tuple[int, ...], affine: np.ndarray) -> torch.Tensor:
    """Probabilities (class, x, y, z) that depend on the place in mm alone.

    A coarse grid of random logits, 40 mm apart, is read linearly; the background's are raised.
    """
    generator = torch.Generator().manual_seed(0)
    coarse = 4 * torch.randn(1, CLASSES, 12, 12, 12, generator=generator)
    coarse[:, 0] += 4
    scores = torch.empty(CLASSES, *shape)
    voxels = torch.stack(
        torch.meshgrid(*(torch.arange(n) for n in shape[1:]), indexing="ij"), -1
    ).float()
    matrix = torch.from_numpy(affine).float()
    for i in range(shape[0]):
        index = torch.cat([torch.full((*voxels.shape[:2], 1), float(i)), voxels], -1)
        mm = index @ matrix[:3, :3].T + matrix[:3, 3]
        where = (mm / 240).flip(-1)[None, None]  # grid_sample takes (z, y, x) in -1..1
        plane = grid_sample(coarse, where, align_corners=True, padding_mode="border")[0, :, 0]
        scores[:, i] = plane.softmax(0)
    return scores


def write_scan(path: Path, shape: tuple[int, ...]) -> None:
    """A scan in RAS with its centre at 0 mm."""
    scan = np.random.default_rng(0).integers(-200, 300, shape, dtype=np.int16)
    affine = np.diag([*SCAN_MM, 1.0])
    affine[:3, 3] = [-(n - 1) / 2 * mm for n, mm in zip(shape, SCAN_MM, strict=True)]
    nib.save(nib.Nifti1Image(scan, affine), path)


SIDES = {"unetr": unetr, "MONAI": monai}

if __name__ == "__main__":
    main()
