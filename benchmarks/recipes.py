"""The paper's three recipes at full size: two real steps each, batch 1, and the peak memory.

Each runs `unetr train` in a process of its own on real volumes from UNETR_TEST_DATA, laid out with
symbolic links so that the network has the paper's channels and outputs: 1 -> 14, 1 -> 2 and 4 -> 3
(two of the four MR channels are there twice). The peak covers the whole run with its validation.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sides import peak_gb

ORGANS = (
    "spleen", "right kidney", "left kidney", "gallbladder", "oesophagus", "liver", "stomach",
    "aorta", "inferior vena cava", "veins", "pancreas", "right adrenal", "left adrenal",
)  # fmt: skip
REGIONS = {"whole tumour": [1, 2, 3, 4], "tumour core": [1, 3, 4], "enhancing tumour": [4]}
LIMIT_GB = 16


def spleen(data: Path, root: Path, names: tuple[str, ...]) -> None:
    """One CT crop with manual labels of the spleen; the other organs' labels are empty in it."""
    source, name = data / "spleen_ct_crop", "spleen_2_crop.nii.gz"
    labels = {"background": 0} | {organ: k for k, organ in enumerate(names, 1)}
    lay_out(root, {"0": "CT"}, labels)
    for case in ("a", "b"):
        link(source / "images" / name, root / "imagesTr" / f"{case}_0000.nii.gz")
        link(source / "labels" / name, root / "labelsTr" / f"{case}.nii.gz")


def brain(data: Path, root: Path) -> None:
    """Two heads."""
    source = data / "brats_2ch"
    lay_out(root, dict(zip("0123", ("FLAIR", "T1c", "FLAIR 2", "T1c 2"), strict=True)),
            {"background": 0, **REGIONS}, regions_class_order=[2, 1, 4])  # fmt: skip
    for case in ("brats_2013_pat0001_1", "brats_2013_pat0002_1"):
        for channel in range(4):
            file = source / "imagesTr" / f"{case}_{channel % 2:04d}.nii.gz"
            link(file, root / "imagesTr" / f"{case}_{channel:04d}.nii.gz")
        link(source / "labelsTr" / f"{case}.nii.gz", root / "labelsTr" / f"{case}.nii.gz")


def lay_out(root: Path, channels: dict[str, str], labels: dict[str, object], **more) -> None:
    """An nnU-Net data set without cases."""
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    content = {"channel_names": channels, "labels": labels, "numTraining": 2,
               "file_ending": ".nii.gz", **more}  # fmt: skip
    (root / "dataset.json").write_text(json.dumps(content))


def link(source: Path, name: Path) -> None:
    name.symlink_to(source.resolve())


def run(recipe: str, dataset: Path, folder: Path) -> tuple[float, float, dict]:
    """Seconds, peak GB and the manifest of two steps."""
    command = [sys.executable, __file__, "--one", recipe, str(dataset), str(folder)]
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    seconds = time.perf_counter() - began
    manifest = json.loads((folder / "manifest.json").read_text())
    return seconds, float(done.stdout.splitlines()[-1]), manifest


def one(recipe: str, dataset: str, folder: str) -> None:
    """Trains within this process, and prints its peak memory in GB."""
    from unetr.cli.main import app

    words = ["train", dataset, "-o", folder, "--recipe", recipe, "--max-steps", "2"]
    app([*words, "--set", "training.batch=1", "--set", "training.log_steps=1"],
        standalone_mode=False)  # fmt: skip
    print(peak_gb())


def parameters(model: Path) -> int:
    """Weights in a model file."""
    from safetensors import safe_open

    with safe_open(model, "pt") as file:
        shapes = [file.get_slice(key).get_shape() for key in file.keys()]  # noqa: SIM118
    return sum(math.prod(shape) for shape in shapes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=3, metavar=("RECIPE", "DATASET", "RUN"))
    arguments = parser.parse_args()
    if arguments.one:
        one(*arguments.one)
        return
    if not (found := os.environ.get("UNETR_TEST_DATA")):
        sys.exit("UNETR_TEST_DATA is not set")
    data = Path(found)
    print("| recipe | patch | parameters | precision | losses | whole run s | peak GB |")
    print("|---|---|---|---|---|---|---|")
    for recipe in ("btcv", "msd-spleen", "msd-brain-tumour"):
        with tempfile.TemporaryDirectory() as name:
            dataset, folder = Path(name) / "data", Path(name) / "run"
            if recipe == "msd-brain-tumour":
                brain(data, dataset)
            else:
                spleen(data, dataset, ORGANS if recipe == "btcv" else ORGANS[:1])
            seconds, peak, manifest = run(recipe, dataset, folder)
            lines = [json.loads(x) for x in (folder / "history.jsonl").read_text().splitlines()]
            losses = ", ".join(f"{line['loss']:.3f}" for line in lines if "loss" in line)
            side = manifest["plan"]["patch_voxels"][0]
            count = parameters(folder / "model.safetensors")
        print(f"| {recipe} | {side}^3 | {count:,} | {manifest['precision']} | {losses} | "
              f"{seconds:.0f} | {peak:.1f} |", flush=True)  # fmt: skip
        if peak > LIMIT_GB:
            sys.exit(f"{recipe}: more than {LIMIT_GB} GB")


if __name__ == "__main__":
    main()
