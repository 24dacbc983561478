"""Scoring 13 abdominal organs on 512 x 512 x 160 voxels: ours against MONAI's.

Ours is `score_structures`: Dice, IoU, HD95, HD100, ASSD, NSD and volumes. MONAI's are
`compute_hausdorff_distance` (95th percentile) and `compute_surface_dice` with `use_subvoxels`, one
organ at a time, which costs it no time and spares it the one-hot volume of all organs. Both run in
turn, each in a process of its own; counted are the seconds of the calls, by the clock and of the
processors, and what the process held at most above what it held before them: libraries and labels.

The organs are lumpy ellipsoids and tubes with an abdomen's volumes; the prediction is the same
anatomy shifted, scaled and dented a little.

Then the values: NSD against MONAI's; HD95, HD100 and ASSD against what MONAI's own surface elements
(`get_edge_surface_distance` with `use_subvoxels`) give by the definition, since MONAI's
`compute_hausdorff_distance` knows no surface elements. How far its HD95 differs is printed too.

    python benchmarks/metrics.py [--shape 512 512 160] [--repeats 3]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from scipy import ndimage

from sides import peak_gb

SPACING_MM = (0.8, 0.8, 2.5)
TOLERANCE_MM = 2.0
FULL_MM = np.array((512, 512, 160)) * SPACING_MM
# Name: centre in mm from the scan's middle, half axes in mm (ellipsoids of an abdomen's volumes).
ORGANS = {
    "spleen": ((105, 30, 40), (26, 38, 50)),
    "right kidney": ((-62, 55, -30), (26, 28, 55)),
    "left kidney": ((62, 55, -20), (26, 28, 55)),
    "gallbladder": ((-52, -45, -5), (14, 16, 32)),
    "oesophagus": ((5, 20, 110), (9, 8, 60)),
    "liver": ((-70, -15, 45), (95, 72, 72)),
    "stomach": ((60, -40, 40), (42, 36, 55)),
    "aorta": ((12, 48, 0), (11, 11, 180)),
    "vena cava": ((-16, 42, 0), (12, 10, 180)),
    "portal vein": ((-10, 8, 20), (50, 8, 14)),
    "pancreas": ((22, -4, 4), (62, 16, 20)),
    "right adrenal": ((-38, 40, 40), (5, 12, 18)),
    "left adrenal": ((38, 40, 40), (5, 12, 18)),
}


def main() -> None:
    """Prints a row per side, the ratios, and how far the values are apart."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", type=int, nargs=3, default=[512, 512, 160])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--run", choices=list(RUNS))
    parser.add_argument("--volumes", type=Path)
    arguments = parser.parse_args()
    if arguments.run:
        print(json.dumps(measured(arguments.run, arguments.volumes)))
        return
    from monai import __version__ as monai_version

    shape = tuple(arguments.shape)
    with tempfile.TemporaryDirectory() as folder:
        volumes = Path(folder) / "volumes.npy"
        np.save(volumes, np.stack([phantom(shape, seed) for seed in (0, 1)]))
        results: dict[str, list[Any]] = {"ours": [], "monai": []}
        for _ in range(arguments.repeats):
            for name, found in results.items():
                found.append(in_own_process(name, volumes))
        elements = in_own_process("elements", volumes)["values"]
    size = " x ".join(map(str, shape))
    print(f"{len(ORGANS)} organs, {size} voxels, {os.cpu_count()} cores, MONAI {monai_version}")
    ours, monai = results["ours"], results["monai"]
    middle = {
        name: [statistics.median(run[key] for run in runs) for key in ("seconds", "cpu", "gb")]
        for name, runs in results.items()
    }
    for name, (seconds, cpu, gb) in middle.items():
        print(f"{name:>6}: median {seconds:7.2f} s ({cpu:6.2f} s of processors), peak {gb:.3f} GB")
    faster, cheaper, smaller = (b / a for a, b in zip(middle["ours"], middle["monai"], strict=True))
    print(f"ratio: {faster:.1f} times faster ({cheaper:.1f}), {smaller:.1f} times less memory")
    print_differences(ours[0]["values"], monai[0]["values"], elements)


def print_differences(ours: Any, monai: Any, elements: Any) -> None:
    """The greatest difference over the organs, score by score; ends with 1 where they disagree."""

    def apart(key: str, theirs: Any) -> float:
        return max(abs(ours[organ][key] - theirs[organ][key]) for organ in ours)

    found = {key: apart(key, elements) for key in ("nsd", "hd95_mm", "hd_mm", "assd_mm")}
    for key, difference in found.items():
        print(f"{key} from MONAI's surface elements: differs by {difference:.1e} at most")
    found["compute_surface_dice"] = apart("nsd", monai)
    print(f"nsd from compute_surface_dice: differs by {found['compute_surface_dice']:.1e} at most")
    other = apart("hd95_mm", monai)
    print(f"hd95_mm from compute_hausdorff_distance, another definition: by {other:.2f} mm at most")
    if max(found.values()) > 1e-5:
        raise SystemExit("the values are not the same")


def in_own_process(name: str, volumes: Path) -> Any:
    """What `measured` found."""
    command = [sys.executable, __file__, "--run", name, "--volumes", str(volumes)]
    told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return json.loads(told.splitlines()[-1])


def measured(name: str, volumes: Path) -> dict[str, Any]:
    """Seconds, processor seconds, peak GB above the start, and the values per organ."""
    warnings.simplefilter("ignore")
    prediction, reference = np.load(volumes)
    run = RUNS[name]
    run(prediction[:8, :8, :8], reference[:8, :8, :8])  # imports what it needs
    # The peak so far is forgotten, imports and loading with it (Linux).
    Path("/proc/self/clear_refs").write_text("5")
    before = psutil.Process().memory_info().rss
    began, began_cpu = time.perf_counter(), time.process_time()
    values = run(prediction, reference)
    seconds, cpu = time.perf_counter() - began, time.process_time() - began_cpu
    return {"seconds": seconds, "cpu": cpu, "gb": peak_gb() - before / 1e9, "values": values}


def ours(prediction: Any, reference: Any) -> dict[str, dict[str, float | None]]:
    """All scores."""
    from dataclasses import asdict

    from unetr.metrics import score_structures

    structures = {name: [label] for label, name in enumerate(ORGANS, 1)}
    scores = score_structures(prediction, reference, structures, SPACING_MM, TOLERANCE_MM)
    return {name: asdict(found) for name, found in scores.items()}


def monai(prediction: Any, reference: Any) -> dict[str, dict[str, float]]:
    """HD95 and NSD."""
    import torch
    from monai.metrics import compute_hausdorff_distance, compute_surface_dice

    found = {}
    for label, name in enumerate(ORGANS, 1):
        p, r = (torch.from_numpy(labels == label)[None, None] for labels in (prediction, reference))
        common = {"include_background": True, "spacing": list(SPACING_MM)}
        hd = compute_hausdorff_distance(p, r, percentile=95, **common)
        nsd = compute_surface_dice(p, r, [TOLERANCE_MM], use_subvoxels=True, **common)
        found[name] = {"hd95_mm": float(hd), "nsd": float(nsd)}
    return found


def from_elements(prediction: Any, reference: Any) -> dict[str, dict[str, float]]:
    """The definition applied to MONAI's surface elements."""
    import torch
    from monai.metrics.utils import get_edge_surface_distance

    found = {}
    for label, name in enumerate(ORGANS, 1):
        p, r = (torch.from_numpy(labels == label) for labels in (prediction, reference))
        if not p.any() or not r.any():
            continue
        edges, distances, areas = get_edge_surface_distance(
            p, r, spacing=list(SPACING_MM), use_subvoxels=True, symmetric=True
        )
        sides = []
        for distance, area, edge in zip(distances, areas, edges, strict=True):
            order = np.argsort(distance.numpy())
            sides.append((distance.numpy()[order], area[edge].numpy().astype(float)[order]))
        total = sum(area.sum() for _, area in sides)
        found[name] = {
            "hd_mm": float(max(distance[-1] for distance, _ in sides)),
            "hd95_mm": float(
                max(d[np.searchsorted(np.cumsum(a) / a.sum(), 0.95)] for d, a in sides)
            ),
            "assd_mm": float(sum(np.dot(d, a) for d, a in sides) / total),
            "nsd": float(sum(a[d <= TOLERANCE_MM].sum() for d, a in sides) / total),
        }
    return found


RUNS: dict[str, Any] = {"ours": ours, "monai": monai, "elements": from_elements}


def phantom(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Label volume of the organs; seed 0 is the anatomy, others are how a network might see it."""
    random, lumps_of = np.random.default_rng(seed), np.random.default_rng(100)
    scale = FULL_MM / np.array(SPACING_MM) / shape
    labels = np.zeros(shape, np.uint8)
    for label, (centre_mm, half_mm) in enumerate(ORGANS.values(), 1):
        centre, half = np.array(centre_mm, float), np.array(half_mm, float)
        lumps = lumps_of.normal(size=(6, 6, 6)), random.normal(size=(14, 14, 14))
        if seed:
            centre, half = centre + random.normal(0, 1, 3), half * random.normal(1, 0.02, 3)
        spacing = np.array(SPACING_MM) * scale
        middle = (np.array(shape) - 1) / 2 + centre / spacing
        reach = 1.35 * half / spacing + 1
        low = np.maximum(np.floor(middle - reach), 0).astype(int)
        high = np.minimum(np.ceil(middle + reach) + 1, shape).astype(int)
        axes = [
            ((np.arange(a, b) - m) * mm / h) ** 2
            for a, b, m, mm, h in zip(low, high, middle, spacing, half, strict=True)
        ]
        size = tuple(high - low)
        radius = 1 + 0.12 * smooth(lumps[0], size) + (0.02 if seed else 0) * smooth(lumps[1], size)
        inside = axes[0][:, None, None] + axes[1][:, None] + axes[2] < radius**2
        part = labels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
        part[inside] = label
    return labels


def smooth(lumps: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Values on a coarse grid, interpolated onto a fine one."""
    zoom = [n / coarse for n, coarse in zip(size, lumps.shape, strict=True)]
    return ndimage.zoom(lumps, zoom, order=1, mode="nearest", grid_mode=True)


if __name__ == "__main__":
    main()
