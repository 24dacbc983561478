"""Files as other systems leave them: endings in capitals, others among them, byte order marks."""

from pathlib import Path

import pytest

from unetr.data.dataset import find_images, open_dataset, read_case
from unetr.errors import InputError

from .small_datasets import nnunet, plain


def test_endings_in_capitals_count_and_others_are_told_of(tmp_path: Path) -> None:
    nnunet(tmp_path)
    images, labels = tmp_path / "imagesTr", tmp_path / "labelsTr"
    for channel in range(2):
        (images / f"a_000{channel}.nii.gz").rename(images / f"a_000{channel}.NII.GZ")
    (labels / "a.nii.gz").rename(labels / "a.NII.gz")
    (images / "c_0000.mha").touch()
    dataset = open_dataset(tmp_path)
    assert [case.name for case in dataset.cases] == ["a", "b"]
    assert read_case(dataset, dataset.cases[0])[0].array.shape[0] == 2
    (told,) = map(str, dataset.defects)
    assert "c_0000.mha" in told
    assert "does not end in file_ending .nii.gz, so it is left out" in told


def test_labels_toml_of_windows_editors_is_read(tmp_path: Path) -> None:
    plain(tmp_path, ("a",))
    (tmp_path / "labels.toml").write_text('[labels]\n1 = "Niere"\n', encoding="utf-8-sig")
    assert open_dataset(tmp_path).labels[1].name == "Niere"


def test_a_link_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    plain(tmp_path, ("a", "b"))
    (tmp_path / "images" / "c.nii.gz").symlink_to(tmp_path / "not-fetched.nii.gz")
    (tmp_path / "labels" / "c.nii.gz").symlink_to(tmp_path / "not-fetched-either.nii.gz")
    found = find_images(tmp_path / "images")
    assert [case.name for case in found] == ["a", "b", "c"]
    with pytest.raises(InputError, match=r"c\.nii\.gz: no such file"):
        read_case(open_dataset(tmp_path), found[2])
