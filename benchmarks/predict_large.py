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

SPACING_MM = (0.8, 0.8, 1.0)


def main() -> None:
    """Writes scan and model, predicts, prints time and peak memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--max-memory", type=float, default=6.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        seconds, peak, record = predicted(Path(temporary), 1000, options.max_memory)
    print(
        f"512 x 512 x 1000 voxels, --max-memory {options.max_memory:g}: {seconds:.0f} s, ", end=""
    )
    print(f"peak {peak:.2f} GB, {record['engine']} {record['precision']}")
    print(f"seconds per step: {record['cases']['scan']['seconds']}")
    if peak >= options.max_memory:
        raise SystemExit("more memory than allowed")


def predicted(folder: Path, planes: int, max_memory_gb: float) -> tuple[float, float, dict]:
    """Seconds, peak GB and the manifest of a scan's prediction in a process of its own."""
    subprocess.run([sys.executable, __file__, "--write", str(folder), str(planes)], check=True)
    out = folder / "labels.nii.gz"
    command = [str(Path(sys.executable).parent / "unetr"), "--quiet", "predict"]
    command += [str(folder / "model.safetensors"), str(folder / "scan.nii.gz"), "-o", str(out)]
    command += ["--max-memory", str(max_memory_gb)]
    began = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit("prediction failed")
    if nib.load(out).shape != (512, 512, planes):
        raise SystemExit("the labels are not on the scan's grid")
    record = json.loads((folder / "labels.manifest.json").read_text())
    return seconds, usage.ru_maxrss * 1024 / 1e9, record


def write(folder: Path, planes: int) -> None:
    """The scan, an elliptic body of 340 x 250 mm in air with noise, and the model."""
    import torch

    from unetr.checkpoint import Model, save_model
    from unetr.data.plan import Crop, Label, Normalisation, Plan
    from unetr.model import UNETR

    random = np.random.default_rng(0)
    x, y = ((np.arange(512) - 255.5) * mm for mm in SPACING_MM[:2])
    body = (x[:, None] / 170) ** 2 + (y / 125) ** 2 < 1
    scan = np.full((512, 512, planes), -1000, np.int16)
    for z in range(planes):
        scan[..., z] = np.rint(np.where(body, 40, -1000) + random.normal(0, 12, body.shape))
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
        write(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
