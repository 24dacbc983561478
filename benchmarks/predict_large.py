"""Peak memory of a scan of 512 x 512 x 1000 voxels (0.8 x 0.8 x 1.0 mm) under --max-memory 6.

A body in air, a small network with random weights, 14 classes, the plan of the published BTCV code.
The prediction runs in a process of its own, from file to written file.

    python benchmarks/predict_large.py [--max-memory GB]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np

SIZE, SPACING_MM = (512, 512, 1000), (0.8, 0.8, 1.0)


def main() -> None:
    """Writes scan and model, predicts, prints time and peak memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--max-memory", type=float, default=6.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        subprocess.run([sys.executable, __file__, "--write", str(folder)], check=True)
        out = folder / "labels.nii.gz"
        command = [str(Path(sys.executable).parent / "unetr"), "predict"]
        command += [str(folder / "model.safetensors"), str(folder / "scan.nii.gz"), "-o", str(out)]
        command += ["--max-memory", str(options.max_memory)]
        start = time.perf_counter()
        process = subprocess.Popen(command)
        _, status, usage = os.wait4(process.pid, 0)
        elapsed = time.perf_counter() - start
        if os.waitstatus_to_exitcode(status):
            raise SystemExit("prediction failed")
        record = json.loads((folder / "labels.manifest.json").read_text())
        shape = "x".join(map(str, nib.load(out).shape))
        peak = usage.ru_maxrss * 1024 / 1e9
        print(f"{shape} voxels, --max-memory {options.max_memory:g}: {elapsed:.0f} s, ", end="")
        print(f"peak {peak:.2f} GB, {record['engine']} {record['precision']}")
        print(f"seconds per step: {record['cases']['scan']['seconds']}")
        if peak >= options.max_memory:
            raise SystemExit("more memory than allowed")


def write(folder: Path) -> None:
    """The scan, an elliptic body of 340 x 250 mm in air with noise, and the model."""
    import torch

    from unetr.checkpoint import Model, save_model
    from unetr.data.plan import Crop, Label, Normalisation, Plan
    from unetr.model import UNETR

    random = np.random.default_rng(0)
    x, y = (
        (np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(SIZE[:2], SPACING_MM[:2], strict=True)
    )
    body = (x[:, None] / 170) ** 2 + (y / 125) ** 2 < 1
    scan = np.full(SIZE, -1000, np.int16)
    for z in range(SIZE[2]):
        plane = np.where(body, 40, -1000) + random.normal(0, 12, SIZE[:2])
        scan[..., z] = np.rint(plane)
    affine = np.diag([*SPACING_MM, 1.0])
    nib.save(nib.Nifti1Image(scan, affine), folder / "scan.nii.gz")

    torch.manual_seed(0)
    network = UNETR(1, 14, 96, hidden_size=192, mlp_dim=768, num_heads=6, feature_size=8)
    plan = Plan(
        channels=("CT",),
        labels=tuple(Label(id=i, name=f"organ {i}" if i else "background") for i in range(14)),
        spacing_mm=(1.5, 1.5, 2.0),
        patch_voxels=(96, 96, 96),
        crop=Crop(kind="above", threshold=-175.0),
        normalisation=(Normalisation(kind="range", low=-175.0, high=250.0),),
    )
    save_model(folder / "model.safetensors", Model(network.eval(), plan))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--write"]:
        write(Path(sys.argv[2]))
    else:
        main()
