"""Data sets: three layouts opened alike."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unetr.data.dataset import find_images, open_dataset, read_case
from unetr.data.plan import Region
from unetr.errors import InputError

from .small_datasets import SHAPE, labelled, msd, nnunet, plain, save


def test_msd(tmp_path: Path) -> None:
    dataset = open_dataset(msd(tmp_path))
    assert dataset.layout == "msd"
    assert dataset.channels == ("MRI",)
    assert [(each.id, each.name) for each in dataset.labels] == [
        (0, "background"),
        (1, "head"),
        (2, "tail"),
    ]
    assert [case.name for case in dataset.cases] == ["a", "b", "c"]
    assert dataset.cases[1].label == tmp_path / "labelsTr" / "b.nii.gz"
    assert [case.name for case in dataset.test] == ["t"]
    assert dataset.test[0].label is None
    assert dataset.defects == ()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"licence": "CC-BY-SA 4.0"}, "CC-BY-SA 4.0"),
        ({"license": " CC0\n1.0 "}, "CC0 1.0"),
        ({"licence": ["odd"]}, ""),
        ({}, ""),
    ],
)
def test_the_licence_is_kept(fields: dict[str, Any], expected: str, tmp_path: Path) -> None:
    assert open_dataset(msd(tmp_path, **fields)).licence == expected
    assert open_dataset(nnunet(tmp_path / "other", **fields)).licence == expected


def test_msd_by_the_path_of_its_json(tmp_path: Path) -> None:
    assert len(open_dataset(msd(tmp_path) / "dataset.json").cases) == 3


def test_msd_with_the_channel_files_of_nnunet_version_1(tmp_path: Path) -> None:
    msd(tmp_path, modality={"0": "T1", "1": "T2"})
    for name in "abc":
        one = tmp_path / "imagesTr" / f"{name}.nii.gz"
        one.rename(one.with_name(f"{name}_0000.nii.gz"))
        save(one.with_name(f"{name}_0001.nii.gz"), 8)
    case = open_dataset(tmp_path).cases[0]
    assert case.name == "a"
    assert [path.name for path in case.images] == ["a_0000.nii.gz", "a_0001.nii.gz"]


def test_msd_with_one_channel_file_of_nnunet_version_1(tmp_path: Path) -> None:
    """Named as nnU-Net names them, by which its folds are drawn."""
    names = ("case_1", "case_2", "case_10")
    pairs = []
    for name in names:
        save(tmp_path / "imagesTr" / f"{name}_0000.nii.gz", 1)
        save(tmp_path / "labelsTr" / f"{name}.nii.gz", labelled(1))
        pairs.append({"image": f"imagesTr/{name}.nii.gz", "label": f"labelsTr/{name}.nii.gz"})
    cases = open_dataset(msd(tmp_path, training=pairs)).cases
    assert [case.name for case in cases] == ["case_1", "case_10", "case_2"]
    assert cases[0].images[0].name == "case_1_0000.nii.gz"


def test_msd_lists_by_other_names_are_told_of(tmp_path: Path) -> None:
    held_out = [{"image": "imagesTr/v.nii.gz", "label": "labelsTr/v.nii.gz"}]
    dataset = open_dataset(msd(tmp_path, validation=held_out))
    assert [case.name for case in dataset.cases] == ["a", "b", "c"]
    (defect,) = dataset.defects
    assert (defect.field, defect.severity) == ("validation", "defect")
    assert defect.problem == "the 1 cases listed here are left out"


def test_msd_cases_in_folders_of_their_own_are_named_after_these(tmp_path: Path) -> None:
    pairs = []
    for patient in ("p2", "p1"):
        save(tmp_path / patient / "ct.nii.gz", 1)
        save(tmp_path / patient / "seg.nii.gz", labelled(1))
        pairs.append({"image": f"{patient}/ct.nii.gz", "label": f"{patient}/seg.nii.gz"})
    dataset = open_dataset(msd(tmp_path, training=pairs, numTraining=2))
    assert [case.name for case in dataset.cases] == ["p1_ct", "p2_ct"]


def test_msd_cases_outside_the_folder_are_named_too(tmp_path: Path) -> None:
    pairs = []
    for patient in ("p2", "p1"):
        image = save(tmp_path / "store" / patient / "ct.nii.gz", 1)
        label = save(tmp_path / "store" / patient / "seg.nii.gz", labelled(1))
        pairs.append({"image": str(image), "label": str(label)})
    (tmp_path / "set").mkdir()
    dataset = open_dataset(msd(tmp_path / "set", training=pairs, numTraining=2))
    assert [case.name for case in dataset.cases] == ["p1_ct", "p2_ct"]


def test_nnunet(tmp_path: Path) -> None:
    dataset = open_dataset(nnunet(tmp_path))
    assert dataset.layout == "nnunet"
    assert dataset.channels == ("FLAIR", "T1c")
    assert [case.name for case in dataset.cases] == ["a", "b"]
    assert [path.name for path in dataset.cases[0].images] == ["a_0000.nii.gz", "a_0001.nii.gz"]
    image, label = read_case(dataset, dataset.cases[0])
    assert label is not None
    assert [float(channel.max()) for channel in image.array] == [10.0, 11.0]
    assert np.unique(label.array).tolist() == [0, 1, 2, 3]


def test_nnunet_regions(tmp_path: Path) -> None:
    labels = {"background": 0, "whole tumour": [1, 2, 3], "tumour core": [1, 3], "rim": 3}
    dataset = open_dataset(nnunet(tmp_path, labels=labels, regions_class_order=[2, 1, 3]))
    assert dataset.regions == (
        Region(name="whole tumour", members=(1, 2, 3), paint=2),
        Region(name="tumour core", members=(1, 3), paint=1),
        Region(name="rim", members=(3,), paint=3),
    )
    assert [(each.id, each.name) for each in dataset.labels] == [
        (0, "background"),
        (1, "label 1"),
        (2, "label 2"),
        (3, "rim"),
    ]


def test_nnunet_dataset_key(tmp_path: Path) -> None:
    table = {
        name: {
            "images": [f"imagesTr/{name}_0000.nii.gz", f"imagesTr/{name}_0001.nii.gz"],
            "label": f"labelsTr/{name}.nii.gz",
        }
        for name in ("b", "a")
    }
    cases = open_dataset(nnunet(tmp_path, dataset=table)).cases
    assert [case.name for case in cases] == ["a", "b"]
    assert cases[0].images[1] == tmp_path / "imagesTr" / "a_0001.nii.gz"


def test_nnunet_says_what_has_no_partner(tmp_path: Path) -> None:
    nnunet(tmp_path)
    (tmp_path / "labelsTr" / "a.nii.gz").unlink()
    save(tmp_path / "labelsTr" / "ghost.nii.gz", labelled(1))
    save(tmp_path / "imagesTr" / "b_0002.nii.gz")
    dataset = open_dataset(tmp_path)
    assert [case.name for case in dataset.cases] == ["b"]
    told = "\n".join(map(str, dataset.defects))
    assert "a_0000.nii.gz: label: no label file; add labelsTr/a.nii.gz" in told
    assert "ghost.nii.gz: image: no image" in told
    assert "b_0002.nii.gz: channel: channel 2 is not declared" in told
    assert "numTraining: says 2, but there are 1 training cases; set it to 1" in told
    assert len(dataset.defects) == 4


def test_plain_folders_name_labels_by_their_values_gaps_and_all(tmp_path: Path) -> None:
    dataset = open_dataset(plain(tmp_path, ("b", "a"), 500, 200, 600))
    assert dataset.layout == "folders"
    assert [(each.id, each.name) for each in dataset.labels] == [
        (0, "background"),
        (200, "label 200"),
        (500, "label 500"),
        (600, "label 600"),
    ]
    assert [case.name for case in dataset.cases] == ["a", "b"]


def test_labels_toml_names_labels_regions_and_channels(tmp_path: Path) -> None:
    plain(tmp_path, ("a",), 1, 2)
    (tmp_path / "labels.toml").write_text(
        'channels = ["CT"]\nregions_class_order = [2, 1]\n'
        '[labels]\n1 = "tumour"\nliver = 2\n'
        '[regions]\n"whole liver" = [1, 2]\ntumour = [1]\n'
    )
    dataset = open_dataset(tmp_path)
    assert [(each.id, each.name) for each in dataset.labels] == [
        (0, "background"),
        (1, "tumour"),
        (2, "liver"),
    ]
    assert dataset.regions[0] == Region(name="whole liver", members=(1, 2), paint=2)
    assert dataset.channels == ("CT",)


def test_labels_given_beside_the_folder_go_before_those_in_it(tmp_path: Path) -> None:
    other = tmp_path / "names.toml"
    other.write_text('[labels]\n1 = "front"\n2 = "back"\n')
    dataset = open_dataset(msd(tmp_path / "set"), other)
    assert [each.name for each in dataset.labels] == ["background", "front", "back"]


def test_a_labels_toml_may_name_channels_alone(tmp_path: Path) -> None:
    plain(tmp_path, ("a", "b"), 4)
    (tmp_path / "labels.toml").write_text('channels = ["CT"]\n')
    dataset = open_dataset(tmp_path)
    assert dataset.channels == ("CT",)
    assert [each.name for each in dataset.labels] == ["background", "label 4"]
    (tmp_path / "set").mkdir()
    described = open_dataset(msd(tmp_path / "set"), tmp_path / "labels.toml")
    assert [each.name for each in described.labels] == ["background", "head", "tail"]


def test_images_without_labels_are_found_for_prediction(tmp_path: Path) -> None:
    for name in ("a_0000", "a_0001", "b", "c_0007"):
        save(tmp_path / f"{name}.nii.gz", 1)
    (tmp_path / "._a_0000.nii.gz").write_bytes(b"left by macOS")
    found = find_images(tmp_path)
    assert [(case.name, len(case.images)) for case in found] == [("a", 2), ("b", 1), ("c_0007", 1)]
    assert [case.name for case in find_images(tmp_path, channels=1)] == [
        "a_0000",
        "a_0001",
        "b",
        "c_0007",
    ]
    assert find_images(tmp_path / "a_0000.nii.gz") == [found[0]]
    assert [case.name for case in find_images(tmp_path / "b.nii.gz")] == ["b"]


def test_the_test_scans_of_a_data_set_are_found_for_prediction(tmp_path: Path) -> None:
    assert [case.name for case in find_images(msd(tmp_path / "msd"))] == ["t"]
    root = nnunet(tmp_path / "nnunet")
    assert [case.name for case in find_images(root)] == ["a", "b"]
    save(root / "imagesTs" / "q_0000.nii.gz", 1)
    save(root / "imagesTs" / "q_0001.nii.gz", 2)
    assert [(case.name, len(case.images)) for case in find_images(root)] == [("q", 2)]


def test_of_two_scans_of_one_name_none_is_left_out_without_a_word(tmp_path: Path) -> None:
    root = msd(tmp_path / "msd", test=None)
    save(root / "imagesTs" / "t.nii", 9)
    with pytest.raises(InputError, match=r"t\.nii\.gz: t\.nii has the same name; remove or"):
        find_images(root)
    for root, name in ((nnunet(tmp_path / "nnunet"), "imagesTs"), (plain(tmp_path / "p"), "test")):
        save(root / name / "t_0000.nii", 9)
        save(root / name / "t_0000.nii.gz", 9)
        (told,) = (str(defect) for defect in open_dataset(root).defects)
        assert told.endswith("t_0000.nii.gz: name: t_0000.nii has the same; remove or rename one")
    for suffix in (".nii", ".nii.gz"):
        save(tmp_path / f"a_0000{suffix}", 1)
    save(tmp_path / "a_0001.nii", 1)
    with pytest.raises(InputError, match=r"a_0000\.nii\.gz: a_0000\.nii has the same name"):
        find_images(tmp_path / "a_0000.nii")
    save(tmp_path / "b_0000.nii", 1)
    save(tmp_path / "b_0001.nii", 1)
    assert [len(case.images) for case in find_images(tmp_path / "b_0000.nii")] == [2]


def test_a_single_channel_file_is_named_without_its_number(tmp_path: Path) -> None:
    path = save(tmp_path / "a_0000.nii.gz", 1)
    assert find_images(path)[0].name == "a"
    assert find_images(tmp_path, channels=1)[0].name == "a"


def test_reading_a_case_refuses_other_channels_and_grids(tmp_path: Path) -> None:
    dataset = open_dataset(plain(tmp_path, ("a", "b")))
    save(tmp_path / "images" / "a.nii.gz", np.ones((*SHAPE, 2), np.float32))
    save(tmp_path / "labels" / "b.nii.gz", labelled(1), spacing_mm=2.0)
    with pytest.raises(InputError, match=r"a\.nii\.gz: channels: 2, but the data set has 1"):
        read_case(dataset, dataset.cases[0])
    with pytest.raises(InputError, match=r"b\.nii\.gz: grid: "):
        read_case(dataset, dataset.cases[1])
