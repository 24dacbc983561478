"""What tests of downloads share."""

from pathlib import Path

import numpy as np
import pytest

from unetr.data import download
from unetr.data.cases import Case
from unetr.image import Volume, write_image, write_labels

from .archive_server import Told


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting before another attempt, and small pieces."""
    monkeypatch.setattr(download, "_WAIT_S", 0.0)
    monkeypatch.setattr(download, "_CHUNK_BYTES", 10_000)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def case(tmp_path: Path) -> Case:
    rng = np.random.default_rng(0)
    array = rng.normal(size=(1, 40, 36, 50)).astype(np.float32)
    image = Volume(array, np.diag([1.0, 1.0, 1.0, 1.0]))
    labels = np.zeros(image.shape, np.uint8)
    labels[4:38, 4:34, 4:26] = 2
    labels[10:14, 10:14, 30:34] = 7
    write_image(tmp_path / "a.nii.gz", image)
    write_labels(tmp_path / "a_seg.nii.gz", labels, image)
    return Case("a", (tmp_path / "a.nii.gz",), tmp_path / "a_seg.nii.gz")
