"""Prediction from file to file: ours against MONAI's transforms, UNETR and sliding window.

A synthetic CT of 512 x 512 x 160 voxels (0.8 x 0.8 x 2.5 mm), the plan of the published BTCV code
(RAS, 1.5 x 1.5 x 2.0 mm, -175..250 HU, cropped to the body), 96^3 windows, overlap 0.5, 14 classes,
the 92.8 M network with the same weights on both sides. Every run is a process of its own, measured
from its start to its end; MONAI at fp32 and under bf16 autocast, in turn with ours.

So that labels can be compared at all, the network first learns for some steps to tell the tissues
of this scan: each side samples the scan at places of its own, part of a voxel apart, and what
random weights say depends on the noise there.

    python benchmarks/predict.py [--rounds N]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

THREADS = 2
STEPS = 100
# Classes are bands of the clean scan from -175 to 250 HU; organs lie in the middle of theirs.
CLASSES = 14
TISSUES = [-175 + 425 * (k + 0.5) / CLASSES for k in range(4, CLASSES)]
OURS = {
    "ours auto": ["--engine", "auto"],
    "ours auto fp32": ["--engine", "auto", "--precision", "fp32"],
    "ours torch fp32": ["--engine", "torch", "--precision", "fp32"],
    "ours torch bf16": ["--engine", "torch", "--precision", "bf16"],
}
MONAI = {"MONAI fp32": "fp32", "MONAI bf16": "bf16"}


def main() -> None:
    """Runs every side in turn and prints medians, ratios and agreement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=[*OURS, *MONAI])
    parser.add_argument("--keep", type=Path, help="work in this folder and leave it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(exist_ok=True)
        write_phantom(folder / "scan.nii.gz")
        subprocess.run([sys.executable, __file__, "--models", str(folder)], check=True)
        runs: dict[str, list[tuple[float, float]]] = {name: [] for name in options.only}
        first = run(folder, "ours auto", "first.nii.gz")
        print(f"first use of a model, which converts it: {first[0]:.1f} s, {first[1]:.2f} GB")
        for _ in range(options.rounds):
            for name in options.only:
                runs[name].append(run(folder, name, f"{name.replace(' ', '-')}.nii.gz"))
                print(f"  {name}: {runs[name][-1][0]:.1f} s", file=sys.stderr)
        report(folder, runs)


def report(folder: Path, runs: dict[str, list[tuple[float, float]]]) -> None:
    """Seconds and peak memory beside MONAI's, and voxels with the same label."""
    seconds = {name: statistics.median(s for s, _ in found) for name, found in runs.items()}
    peak = {name: max(gb for _, gb in found) for name, found in runs.items()}
    labels = {
        name: np.asarray(nib.load(folder / f"{name.replace(' ', '-')}.nii.gz").dataobj).squeeze()
        for name in runs
    }
    peers = [name for name in MONAI if name in runs]
    columns = [f"times faster than {peer} | times less memory" for peer in peers]
    print(f"\n| {' | '.join(['side', 's', 'peak GB', *columns])} |")
    print("|---" * (3 + 2 * len(peers)) + "|")
    for name in runs:
        cells = [name, f"{seconds[name]:.1f}", f"{peak[name]:.2f}"]
        for peer in peers:
            cells += [f"{seconds[peer] / seconds[name]:.2f}", f"{peak[peer] / peak[name]:.2f}"]
        print(f"| {' | '.join(cells)} |")
    others = [name for name in ("MONAI fp32", "ours torch fp32") if name in runs]
    print(f"\n| {' | '.join(['same label as', *others])} |\n|---" + "|---" * len(others) + "|")
    for name in runs:
        agree = [f"{(labels[name] == labels[other]).mean():.5f}" for other in others]
        print(f"| {' | '.join([name, *agree])} |")
    print(f"\n{THREADS} threads, median of {len(next(iter(runs.values())))}")


def run(folder: Path, name: str, output: str) -> tuple[float, float]:
    """Wall time in seconds and peak resident memory in GB of one prediction in its own process."""
    scan, out = str(folder / "scan.nii.gz"), str(folder / output)
    if name in OURS:
        command = [str(Path(sys.executable).parent / "unetr"), "predict"]
        command += [str(folder / "model.safetensors"), scan, "-o", out, "--overwrite", *OURS[name]]
    else:
        command = [sys.executable, __file__, "--monai", str(folder), MONAI[name], out]
    environment = os.environ | {
        "OMP_NUM_THREADS": str(THREADS),
        "XDG_CACHE_HOME": str(folder / "cache"),
    }
    start = time.perf_counter()
    with (folder / "errors.txt").open("w+") as errors:
        process = subprocess.Popen(command, env=environment, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        elapsed = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            raise SystemExit(f"{errors.read()}{name} failed: {' '.join(command)}")
    manifest = Path(out.replace(".nii.gz", ".manifest.json"))
    if manifest.exists():
        content = json.loads(manifest.read_text())
        steps = content["cases"]["scan"]["seconds"]
        print(f"  {name} ({content['engine']} {content['precision']}): {steps}", file=sys.stderr)
    return elapsed, usage.ru_maxrss * 1024 / 1e9


def write_phantom(path: Path) -> None:
    """A body of 340 x 250 mm in air: fat, muscle, organs as ellipsoids, a spine, noise; in HU.

    Also `clean.nii.gz` beside it, without the noise.
    """
    random = np.random.default_rng(0)
    size, spacing = (512, 512, 160), (0.8, 0.8, 2.5)
    axes = [(np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(size, spacing, strict=True)]
    x, y, z = np.meshgrid(*[a.astype(np.float32) for a in axes], indexing="ij", sparse=True)

    def ellipsoid(centre: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
        parts = zip((x, y, z), centre, radii, strict=True)
        return sum(((a - c) / r) ** 2 for a, c, r in parts) < 1

    scan = np.full(size, -1000.0, np.float32)
    scan[np.broadcast_to((x / 170) ** 2 + (y / 125) ** 2 < 1, size)] = -90
    scan[np.broadcast_to((x / 150) ** 2 + (y / 105) ** 2 < 1, size)] = 50
    scan[np.broadcast_to((x / 22) ** 2 + ((y + 75) / 20) ** 2 < 1, size)] = 400
    for _ in range(24):
        centre = tuple(random.uniform(-1, 1, 3) * (100, 60, 170))
        radii = tuple(random.uniform(12, 55, 3))
        scan[ellipsoid(centre, radii)] = TISSUES[random.integers(len(TISSUES))]
    clean = scan.copy()
    scan += random.normal(0, 12, size).astype(np.float32)
    affine = np.diag([-0.8, -0.8, 2.5, 1.0])
    affine[:3, 3] = [204.4, 204.4, -198.75]
    for name, values in ((path, scan), (path.with_name("clean.nii.gz"), clean)):
        values = np.rint(values).clip(-1024, 3000).astype(np.int16)
        nib.save(nib.Nifti1Image(values, affine), name)


def models(folder: Path) -> None:
    """Writes `model.safetensors` for us and `monai.pt` for MONAI, with the same weights."""
    import torch

    from unetr.checkpoint import Model, save_model
    from unetr.data.plan import Crop, Label, Normalisation, Plan
    from unetr.model import export_monai, unetr_base

    torch.manual_seed(0)
    # MONAI's own network takes the outputs of blocks 4, 7 and 10.
    network = unetr_base(1, CLASSES, 96, skip_layers=(4, 7, 10))
    names = ["background", *(f"organ {k}" for k in range(1, CLASSES))]
    plan = Plan(
        channels=("CT",),
        labels=tuple(Label(id=k, name=name) for k, name in enumerate(names)),
        orientation="RAS",
        spacing_mm=(1.5, 1.5, 2.0),
        patch_voxels=(96, 96, 96),
        crop=Crop(kind="above", threshold=-175.0),
        normalisation=(Normalisation(kind="range", low=-175.0, high=250.0),),
        overlap=0.5,
    )
    learn(network, plan, folder)
    save_model(folder / "model.safetensors", Model(network.eval(), plan))
    torch.save(export_monai(network), folder / "monai.pt")


def learn(network: Any, plan: Any, folder: Path) -> None:
    """Steps on patches of the noisy scan, with bands of the clean one as classes."""
    import torch

    from unetr import read_image
    from unetr.data.plan import Crop
    from unetr.training import prepare
    from unetr.training.losses import dice_ce

    # The box of the body would differ by the noise.
    plan = plan.model_copy(update={"crop": Crop()})
    noisy, clean = (
        torch.from_numpy(np.asarray(plan.preprocess(read_image(folder / name))[0]))
        for name in ("scan.nii.gz", "clean.nii.gz")
    )
    classes = (clean[0] * CLASSES).long().clamp(0, CLASSES - 1)
    network = prepare(network).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-4, fused=True)
    random = np.random.default_rng(0)
    bf16 = torch.cpu._is_avx512_bf16_supported()
    for _ in range(STEPS):
        window = tuple(
            slice(start, start + 96)
            for start in (random.integers(n - 95) for n in classes.shape)
        )  # fmt: skip
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = network(noisy[(slice(None), *window)][None])
        loss = dice_ce(logits, classes[window][None])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    print(f"the network's loss after {STEPS} steps: {float(loss.detach()):.3f}")


def monai(folder: Path, precision: str, out: Path) -> None:
    """MONAI's pipeline as its tutorials write it, with `Invertd` on the scores."""
    import torch
    from monai.data import Dataset, decollate_batch, list_data_collate
    from monai.inferers.utils import sliding_window_inference
    from monai.networks.nets import UNETR
    from monai.transforms import (
        AsDiscreted,
        Compose,
        CropForegroundd,
        EnsureChannelFirstd,
        Invertd,
        LoadImaged,
        Orientationd,
        SaveImaged,
        ScaleIntensityRanged,
        Spacingd,
    )

    before = Compose(
        [
            LoadImaged(keys="image"),
            EnsureChannelFirstd(keys="image"),
            Orientationd(keys="image", axcodes="RAS"),
            Spacingd(keys="image", pixdim=(1.5, 1.5, 2.0), mode="bilinear"),
            ScaleIntensityRanged("image", a_min=-175, a_max=250, b_min=0, b_max=1, clip=True),
            CropForegroundd(keys="image", source_key="image", allow_smaller=True),
        ]
    )
    after = Compose(
        [
            Invertd("pred", before, orig_keys="image", nearest_interp=False, to_tensor=True),
            AsDiscreted(keys="pred", argmax=True),
            SaveImaged(
                keys="pred",
                output_dir=str(out.parent),
                output_postfix="",
                separate_folder=False,
                resample=False,
                print_log=False,
                output_name_formatter=lambda *_: {
                    "subject": out.name.removesuffix(".nii.gz"),
                    "idx": None,
                },
            ),
        ]
    )
    network = UNETR(1, CLASSES, (96, 96, 96), feature_size=16).eval()
    network.load_state_dict(torch.load(folder / "monai.pt", weights_only=True))
    data = list_data_collate([Dataset([{"image": str(folder / "scan.nii.gz")}], before)[0]])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        data["pred"] = sliding_window_inference(
            data["image"], (96, 96, 96), 1, network, overlap=0.5, mode="gaussian"
        )
    for case in decollate_batch(data):
        after(case)


if __name__ == "__main__":
    # The parent starts this script again for the two things that need a process of their own.
    if sys.argv[1:2] == ["--models"]:
        models(Path(sys.argv[2]))
    elif sys.argv[1:2] == ["--monai"]:
        monai(Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
    else:
        main()
