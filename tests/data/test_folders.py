"""Plain folders: which image belongs to which label, and which files are channels."""

from pathlib import Path

import numpy as np
import pytest

from unetr.data.dataset import open_dataset
from unetr.errors import InputError

from .small_datasets import SHAPE, labelled, plain, save


def test_plain_folders_with_channel_files(tmp_path: Path) -> None:
    for name in ("x", "y"):
        for channel in range(2):
            save(tmp_path / "imagesTr" / f"{name}_{channel:04d}.nii.gz", channel + 1)
        save(tmp_path / "labelsTr" / f"{name}.nii.gz", labelled(1))
    (tmp_path / "imagesTr" / "y_0001.nii.gz").unlink()
    dataset = open_dataset(tmp_path)
    assert dataset.channels == ("channel 0", "channel 1")
    assert [path.name for path in dataset.cases[1].images] == ["y_0000.nii.gz", "y_0001.nii.gz"]


def test_a_numbered_file_of_several_channels_is_no_channel_itself(tmp_path: Path) -> None:
    for name in ("scan_0001", "scan_0002"):
        save(tmp_path / "images" / f"{name}.nii.gz", np.ones((*SHAPE, 2), np.float32))
        save(tmp_path / "labels" / f"{name}.nii.gz", labelled(1))
    (tmp_path / "labels.toml").write_text('channels = ["T1", "T2"]\n[labels]\n1 = "liver"\n')
    dataset = open_dataset(tmp_path)
    assert dataset.channels == ("T1", "T2")
    assert [[path.name for path in case.images] for case in dataset.cases] == [
        ["scan_0001.nii.gz"],
        ["scan_0002.nii.gz"],
    ]


def test_four_digits_are_a_name_where_the_label_has_them_too(tmp_path: Path) -> None:
    dataset = open_dataset(plain(tmp_path, ("scan_0000", "scan_0001")))
    assert [case.name for case in dataset.cases] == ["scan_0000", "scan_0001"]
    assert dataset.channels == ("channel 0",)


def test_each_file_without_a_label_is_told(tmp_path: Path) -> None:
    plain(tmp_path, ("case_0001", "case_0002"))
    for name in ("case_0003", "case_0004"):
        save(tmp_path / "images" / f"{name}.nii.gz", 3)
    dataset = open_dataset(tmp_path)
    assert [case.name for case in dataset.cases] == ["case_0001", "case_0002"]
    told = [f"{defect.file.name}: {defect.problem}" for defect in dataset.defects]
    assert told == ["case_0003.nii.gz: no label file", "case_0004.nii.gz: no label file"]


def test_names_that_differ_in_the_kind_only_match(tmp_path: Path) -> None:
    save(tmp_path / "img" / "img0001.nii.gz", 1)
    save(tmp_path / "label" / "label0001.nii.gz", labelled(4))
    case = open_dataset(tmp_path).cases[0]
    assert (case.name, case.images[0].name) == ("label0001", "img0001.nii.gz")


def test_a_number_of_four_digits_is_no_channel_where_a_label_has_it(tmp_path: Path) -> None:
    for number in ("0001", "0002"):
        save(tmp_path / "images" / f"img_{number}.nii.gz", 1)
        save(tmp_path / "labels" / f"label_{number}.nii.gz", labelled(4))
    found = open_dataset(tmp_path).cases
    assert [(case.name, case.images[0].name) for case in found] == [
        ("label_0001", "img_0001.nii.gz"),
        ("label_0002", "img_0002.nii.gz"),
    ]


def test_two_files_with_one_label_are_no_channels(tmp_path: Path) -> None:
    for name in ("p1_img", "p1_mask"):
        save(tmp_path / "images" / f"{name}.nii.gz", 1)
    save(tmp_path / "labels" / "p1_seg.nii.gz", labelled(4))
    with pytest.raises(InputError, match=r"p1_mask.*its label would be p1_seg, .* of p1_img, too"):
        open_dataset(tmp_path)


def test_a_file_of_several_channels(tmp_path: Path) -> None:
    save(tmp_path / "images" / "a.nii.gz", np.ones((*SHAPE, 3), np.float32))
    save(tmp_path / "labels" / "a.nii.gz", labelled(1))
    assert open_dataset(tmp_path).channels == ("channel 0", "channel 1", "channel 2")
