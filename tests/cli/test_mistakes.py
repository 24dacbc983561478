"""Mistakes that a new user makes: each is answered in one line that says what to do."""

import errno
import json
import shutil
from pathlib import Path

import matplotlib.image
import nibabel as nib
import numpy as np
import pytest
import torch

from unetr.checkpoint import Model, save_model
from unetr.checkpoint.header import METADATA_KEY
from unetr.data.plan import Label, Normalisation, Plan
from unetr.model import UNETR

from ..training.phantoms import TINY, write_phantoms

TRAIN = (*(word for setting in TINY for word in ("--set", setting)), "--max-steps", "2")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """A folder as a new user has it; `data` and `model.safetensors` are sound."""
    root = tmp_path_factory.mktemp("mistakes")
    data = write_phantoms(root / "data", cases=5)
    shutil.copytree(data / "imagesTr", root / "no-labels" / "images")
    shutil.copytree(data / "imagesTr", root / "loose")
    write_model(root / "model.safetensors")
    old = (root / "model.safetensors").read_bytes()
    assert old.count(b'\\"version\\":1') == 1
    (root / "old.safetensors").write_bytes(old.replace(b'\\"version\\":1', b'\\"version\\":0'))
    matplotlib.image.imsave(root / "slice.png", np.zeros((32, 32)))
    nib.save(nib.Nifti1Image(np.zeros((32, 32), np.float32), np.eye(4)), root / "slice.nii.gz")
    (root / "dicom" / "series").mkdir(parents=True)
    for number in range(3):
        # Exports have names without an ending; the mark after 128 bytes tells what they are.
        (root / "dicom" / "series" / f"IM{number:04d}").write_bytes(bytes(128) + b"DICM" + bytes(9))
    # Of a case that trains, and of one that only validates.
    for folder, case in (("more-labels", 2), ("more-to-validate", 0)):
        more = write_phantoms(root / folder, cases=5)
        spoil(more / "labelsTr" / f"phantom{case}.nii.gz")
    (root / "run").mkdir()
    (root / "run" / "manifest.json").write_text("{}")
    return root


def write_model(path: Path) -> None:
    torch.manual_seed(0)
    network = UNETR(
        1, 3, 32, feature_size=4, hidden_size=16, mlp_dim=32, num_heads=2, num_layers=4,
        skip_layers=(1, 2, 3),
    )  # fmt: skip
    plan = Plan(
        channels=("MR",),
        labels=tuple(
            Label(id=k, name=name) for k, name in ((0, "background"), (7, "block"), (20, "ball"))
        ),
        spacing_mm=(1.0, 1.0, 1.0),
        patch_voxels=(32, 32, 32),
        normalisation=(Normalisation(kind="zscore"),),
    )
    save_model(path, Model(network, plan))
    assert METADATA_KEY.encode() in path.read_bytes()


def spoil(label: Path) -> None:
    """A voxel of a structure that dataset.json does not know."""
    image = nib.load(label)
    array = np.asarray(image.dataobj).copy()
    array[0, 0, 0] = 9
    nib.save(nib.Nifti1Image(array, image.affine), label)


# What was typed, and what the answer's one line says: file, reason, cure.
MISTAKES = {
    "folder without labels": (
        ("train", "no-labels", "-o", "out"),
        "no-labels: no labels folder beside images; put label files of the same names into labels/",
    ),
    "directory as model": (
        ("predict", "data", "data/imagesTr", "-o", "out"),
        "data: a folder without model.safetensors; name models or run folders first, then scans",
    ),
    "arguments in the wrong order": (
        ("predict", "data/imagesTr/phantom0_0000.nii.gz", "model.safetensors", "-o", "out"),
        "data/imagesTr/phantom0_0000.nii.gz: not a model; name models or run folders first, then "
        "scans",
    ),
    "data set and run exchanged": (
        ("train", "out", "-o", "data"),
        "data: holds dataset.json, which no run wrote; give another name with -o",
    ),
    "wrong layout": (
        ("train", "loose", "-o", "out"),
        "loose: no data set: neither dataset.json nor an images folder; put the scans into images/ "
        "and their labels into labels/",
    ),
    "2D picture": (
        ("predict", "model.safetensors", "slice.png", "-o", "out"),
        "slice.png: not a supported image; pictures have two axes; give 3D scans (.nii.gz, .nii, "
        ".nrrd, .nhdr, .mha, .mhd)",
    ),
    "DICOM": (
        ("predict", "model.safetensors", "dicom", "-o", "out"),
        "dicom: no image in it; convert DICOM to NIfTI first, for example by: mkdir -p nifti && "
        "dcm2niix -z y -o nifti dicom",
    ),
    "DICOM file": (
        ("predict", "model.safetensors", "dicom/series/IM0000", "-o", "out"),
        "dicom/series/IM0000: not a supported image; convert DICOM to NIfTI first, for example by: "
        "mkdir -p nifti && dcm2niix -z y -o nifti dicom/series/IM0000",
    ),
    "old model": (
        ("predict", "old.safetensors", "data", "-o", "out"),
        "old.safetensors: model format version 0 is not known to this unetr, which reads version "
        "1; use the unetr that wrote it or a newer one",
    ),
    "label too many": (
        ("train", "more-labels", "-o", "out", *TRAIN),
        "more-labels/labelsTr/phantom2.nii.gz: label values: 9 is not in the label table; correct "
        "the voxels, or name it there (or in a labels.toml, with --labels)",
    ),
    "label too many to validate": (
        ("train", "more-to-validate", "-o", "out", *TRAIN),
        "more-to-validate/labelsTr/phantom0.nii.gz: label values: 9 is not in the label table; "
        "correct the voxels, or name it there (or in a labels.toml, with --labels)",
    ),
    "run that exists": (
        ("train", "data", "-o", "run"),
        "run: holds a run; continue it with --resume or replace it with --overwrite",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_answered_in_one_line(name, prepared, tmp_path, monkeypatch, unetr):
    words, told = MISTAKES[name]
    for path in prepared.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    code, out, err = unetr("--quiet", *words)
    assert (code, out) == (2, "")
    assert err == f"unetr: {told}\n"


def test_too_little_disk(prepared, tmp_path, monkeypatch, unetr):
    """Preprocessed cases are what fills it first."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("unetr.data.cache.np.save", full)
    code, out, err = unetr("--quiet", "train", prepared / "data", "-o", tmp_path / "run", *TRAIN)
    assert (code, out) == (2, "")
    cache = tmp_path / "run" / "cache"
    assert err == f"unetr: {cache}: the disk is full; free some space or write elsewhere\n"
    assert list(cache.iterdir()) == []


def test_a_2d_scan_among_others_fails_alone(prepared, tmp_path, unetr):
    """The folder's other scan is predicted; the exit code says that one failed."""
    (tmp_path / "scans").mkdir()
    shutil.copy(prepared / "slice.nii.gz", tmp_path / "scans")
    shutil.copy(prepared / "data" / "imagesTr" / "phantom0_0000.nii.gz", tmp_path / "scans")
    words = ("predict", prepared / "model.safetensors", tmp_path / "scans", "-o", tmp_path / "out")
    code, out, err = unetr("--quiet", *words, "--engine", "torch")
    assert (code, out) == (1, "")
    file = tmp_path / "scans" / "slice.nii.gz"
    assert err.splitlines() == [
        "1 of 2 failed:",
        f"  slice: {file}: shape: 32 x 32 has 2 axes; give a 3D scan",
    ]
    cases = json.loads((tmp_path / "out" / "manifest.json").read_text())["cases"]
    assert {name: case["status"] for name, case in cases.items()} == {
        "slice": "failed",
        "phantom0": "done",
    }
