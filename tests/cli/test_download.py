"""`unetr download` as typed, against a server on this machine."""

import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from ..data.archive_server import Archive, served


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Task09_Spleen as the decathlon packs it, with two small scans."""
    folder = tmp_path_factory.mktemp("packed")
    root = folder / "Task09_Spleen"
    label = np.zeros((12, 10, 8), np.uint8)
    label[3:7, 3:7, 3:6] = 1
    pairs = []
    for number in (2, 3):
        name = f"spleen_{number}.nii.gz"
        image = np.random.default_rng(number).normal(50, 20, label.shape).astype(np.float32)
        for kind, array in (("imagesTr", image), ("labelsTr", label)):
            (root / kind).mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.eye(4)), root / kind / name)
        pairs.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
    description = {
        "modality": {"0": "CT"},
        "labels": {"0": "background", "1": "spleen"},
        "numTraining": 2,
        "training": pairs,
        "test": [],
    }
    (root / "dataset.json").write_text(json.dumps(description))
    path = folder / "archive.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(root, root.name)
    return path.read_bytes()


def test_what_is_downloaded_can_be_inspected(
    archive: bytes,
    tmp_path: Path,
    unetr: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    md5 = hashlib.md5(archive).hexdigest()
    with served(Archive(archive, breaks=[5_000])) as server:
        words = ("download", "spleen", "--from", server.url, "--md5", md5, "--to", tmp_path)
        monkeypatch.setattr("unetr.data.download._WAIT_S", 0.0)
        code, out, err = unetr(*words)
        assert (code, out) == (0, f"{tmp_path / 'Task09_Spleen'}\n")
        assert server.asked == [None, "bytes=5000-"]
        size = f"{len(archive) / 1000:.3g} kB"
        told = err.splitlines()
        assert told[0] == f"downloading: 5 kB of {size}"
        assert told[1] == f"the connection broke after 5 kB of {size}; trying again"
        assert told[-2] == f"checking: {size} of {size}"
        assert told[-1].startswith("unpacking: ")
        assert unetr(*words)[2].endswith("Task09_Spleen: already there\n")
    code, out, _ = unetr("inspect", tmp_path / "Task09_Spleen")
    assert code == 0
    assert "Task09_Spleen (MSD): 2 labelled cases, 0 without labels; 0 defects" in out


def test_the_public_sum_holds_for_another_address_too(
    archive: bytes,
    tmp_path: Path,
    unetr: Any,
) -> None:
    with served(Archive(archive)) as server:
        code, out, err = unetr("download", "spleen", "--from", server.url, "--to", tmp_path)
    assert (code, out) == (2, "")
    line = err.splitlines()[-1]
    assert line.startswith(f"unetr: {server.url}: MD5 ")
    assert "where 410d4a301da4e5b2f6f86ec3ddba524e is expected" in line
    assert list(tmp_path.iterdir()) == []


def test_unknown_names_and_the_list(unetr: Any) -> None:
    code, out, err = unetr("download", "brain_tumor")
    assert (code, out) == (2, "")
    assert err == (
        "unetr: brain_tumor: no task of the Medical Segmentation Decathlon; "
        "near are Task01_BrainTumour\n"
    )
    code, out, _ = unetr("download", "list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()][::9] == [
        "Task01_BrainTumour",
        "Task10_Colon",
    ]
