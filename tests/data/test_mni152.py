"""The demo's data set: where its blocks lie, what their labels are, and that none is seen twice."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from unetr.data import mni152
from unetr.data.dataset import open_dataset
from unetr.data.inspect import inspect
from unetr.data.mni152 import BLOCKS, HELD_OUT, NAMES, write_mni152
from unetr.errors import InputError
from unetr.image import read_image, read_label_names, read_labels

pytestmark = pytest.mark.skipif(find_spec("nilearn") is None, reason="needs the extra [demo]")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "mni152"
    write_mni152(folder)
    return folder


def template(kind: str) -> np.ndarray[Any, Any]:
    package = find_spec("nilearn")
    assert package is not None
    assert package.origin is not None
    name = f"mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz"
    return np.asarray(nib.load(Path(package.origin).parent / "datasets" / "data" / name).dataobj)


def path(data: Path, kind: str, number: int) -> Path:
    return data / f"{kind}{'Ts' if number in HELD_OUT else 'Tr'}" / f"brain_{number}.nii.gz"


def test_the_halves_are_mirrored_so_that_one_is_no_test_for_the_other() -> None:
    """Why the data set is cut into blocks of one half."""
    for kind in ("t1", "gm", "wm"):
        whole = template(kind)
        assert np.array_equal(whole, whole[::-1])


def test_the_blocks_are_the_left_half_in_its_place(data: Path) -> None:
    blocks = [read_image(path(data, "images", number)) for number in range(BLOCKS)]
    together = np.concatenate([block.array[0] for block in blocks], axis=1)
    starts = np.cumsum([0] + [block.shape[1] for block in blocks])
    first = round(blocks[0].affine[1, 3] + 134)
    assert np.array_equal(together, template("t1")[:99, first : first + starts[-1]])
    for block, start in zip(blocks, starts, strict=False):
        assert block.orientation == "RAS"
        assert block.spacing_mm == (1.0, 1.0, 1.0)
        # The left half: from -98 mm to the midline at 0.
        assert block.affine[:3, 3].tolist() == [-98.0, first - 134.0 + start, -72.0]
        assert block.shape[0] == 99
        assert block.shape[1] in (22, 23)


def test_labels_are_the_likelier_tissue_from_one_half_on(data: Path) -> None:
    grey, white = template("gm")[:99], template("wm")[:99]
    together = np.concatenate(
        [read_labels(path(data, "labels", number)).array[0] for number in range(BLOCKS)], axis=1
    )
    first = round(read_image(path(data, "images", 0)).affine[1, 3] + 134)
    window = np.s_[:, first : first + together.shape[1]]
    grey, white = grey[window], white[window]
    assert np.array_equal(together == 1, (grey >= 128) & (grey >= white))
    assert np.array_equal(together == 2, (white >= 128) & (white > grey))
    assert set(np.unique(together)) == set(NAMES)
    # No tissue is cut off at the front or the back.
    assert not (mni152._tissue(*map(mni152._load, ("gm", "wm"))).array[0].sum()) - together.sum()
    assert read_label_names(path(data, "labels", 2)) == NAMES


def test_it_opens_without_a_defect_and_the_held_out_blocks_are_no_training_cases(
    data: Path,
) -> None:
    dataset = open_dataset(data)
    assert [case.name for case in dataset.cases] == [f"brain_{n}" for n in (0, 1, 3, 4, 6, 7)]
    assert [case.name for case in dataset.test] == ["brain_2", "brain_5"]
    assert dataset.channels == ("MRI",)
    assert {label.id: label.name for label in dataset.labels} == NAMES
    assert "Copyright (C) 1993-2009 Louis Collins" in dataset.licence
    assert [report.defects for report in inspect(dataset)] == [()] * 6
    # Each held-out block has one on either side that may be trained on.
    for number in HELD_OUT:
        assert {number - 1, number + 1}.isdisjoint(HELD_OUT)


def test_a_second_call_writes_the_same(data: Path) -> None:
    before = {each: each.read_bytes() for each in data.rglob("*") if each.is_file()}
    write_mni152(data)
    assert {each: each.read_bytes() for each in data.rglob("*") if each.is_file()} == before
    assert json.loads((data / "dataset.json").read_text())["numTraining"] == 6


def test_without_nilearn_it_is_one_line_with_the_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mni152, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"ships with nilearn; .* pip install 'unetr\[demo\]'$"):
        write_mni152(tmp_path / "data")
    assert not (tmp_path / "data").exists()
