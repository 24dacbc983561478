"""Data sets: three layouts opened alike, and everything a description can get wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unetr.data.dataset import find_images, open_dataset, read_case
from unetr.data.plan import Region
from unetr.errors import InputError

SHAPE = (6, 5, 4)


def save(path: Path, array: np.ndarray[Any, Any] | int = 0, spacing_mm: float = 1.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.full(SHAPE, array, np.int16) if isinstance(array, int) else array
    nib.save(nib.Nifti1Image(voxels, np.diag([spacing_mm] * 3 + [1.0])), path)
    return path


def labelled(*values: int) -> np.ndarray[Any, Any]:
    label = np.zeros(SHAPE, np.uint16)
    for index, value in enumerate(values):
        label[1 + index, 2, 2] = value
    return label


def msd(root: Path, **changes: Any) -> Path:
    """Three MSD cases; a change of None removes the field."""
    for name in ("c", "a", "b"):
        save(root / "imagesTr" / f"{name}.nii.gz", 7)
        save(root / "labelsTr" / f"{name}.nii.gz", labelled(1, 2))
    save(root / "imagesTs" / "t.nii.gz", 9)
    document: dict[str, Any] = {
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "2": "tail", "1": "head"},
        "numTraining": 3,
        "training": [
            {"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in "cab"
        ],
        "test": ["./imagesTs/t.nii.gz"],
    }
    document.update(changes)
    text = json.dumps({key: value for key, value in document.items() if value is not None})
    (root / "dataset.json").write_text(text)
    return root


def nnunet(root: Path, **changes: Any) -> Path:
    """Two nnU-Net cases of two channels."""
    for name in ("b", "a"):
        for channel in range(2):
            save(root / "imagesTr" / f"{name}_{channel:04d}.nii.gz", 10 + channel)
        save(root / "labelsTr" / f"{name}.nii.gz", labelled(1, 2, 3))
    document: dict[str, Any] = {
        "channel_names": {"1": "T1c", "0": "FLAIR"},
        "labels": {"background": 0, "core": 1, "oedema": 2, "rim": 3},
        "numTraining": 2,
        "file_ending": ".nii.gz",
    }
    document.update(changes)
    text = json.dumps({key: value for key, value in document.items() if value is not None})
    (root / "dataset.json").write_text(text)
    return root


def plain(root: Path, names: tuple[str, ...] = ("b", "a"), *values: int) -> Path:
    for name in names:
        save(root / "images" / f"{name}.nii.gz", 3)
        save(root / "labels" / f"{name}.nii.gz", labelled(*(values or (1,))))
    return root


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


def test_plain_folders_with_channel_files(tmp_path: Path) -> None:
    for name in ("x", "y"):
        for channel in range(2):
            save(tmp_path / "imagesTr" / f"{name}_{channel:04d}.nii.gz", channel + 1)
        save(tmp_path / "labelsTr" / f"{name}.nii.gz", labelled(1))
    (tmp_path / "imagesTr" / "y_0001.nii.gz").unlink()
    dataset = open_dataset(tmp_path)
    assert dataset.channels == ("channel 0", "channel 1")
    assert [path.name for path in dataset.cases[1].images] == ["y_0000.nii.gz", "y_0001.nii.gz"]


def test_four_digits_are_a_name_where_the_label_has_them_too(tmp_path: Path) -> None:
    dataset = open_dataset(plain(tmp_path, ("scan_0000", "scan_0001")))
    assert [case.name for case in dataset.cases] == ["scan_0000", "scan_0001"]
    assert dataset.channels == ("channel 0",)


def test_names_that_differ_in_the_kind_only_match(tmp_path: Path) -> None:
    save(tmp_path / "img" / "img0001.nii.gz", 1)
    save(tmp_path / "label" / "label0001.nii.gz", labelled(4))
    case = open_dataset(tmp_path).cases[0]
    assert (case.name, case.images[0].name) == ("label0001", "img0001.nii.gz")


def test_a_file_of_several_channels(tmp_path: Path) -> None:
    save(tmp_path / "images" / "a.nii.gz", np.ones((*SHAPE, 3), np.float32))
    save(tmp_path / "labels" / "a.nii.gz", labelled(1))
    assert open_dataset(tmp_path).channels == ("channel 0", "channel 1", "channel 2")


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


def _no_label_images(root: Path) -> Path:
    save(root / "images" / "a.nii.gz")
    return root


def _unmatched(root: Path) -> Path:
    save(root / "images" / "a.nii.gz")
    save(root / "labels" / "z.nii.gz", labelled(1))
    return root


def _empty_images(root: Path) -> Path:
    plain(root, ("a",))
    (root / "images" / "a.nii.gz").rename(root / "images" / "a.jpg")
    return root


def _twice(root: Path) -> Path:
    plain(root, ("a",))
    save(root / "images" / "a.nii")
    return root


def _all_background(root: Path) -> Path:
    save(root / "images" / "a.nii.gz", 1)
    save(root / "labels" / "a.nii.gz", labelled())
    return root


def _swapped_folders(root: Path) -> Path:
    values = np.arange(1200, dtype=np.int16).reshape(12, 10, 10)
    save(root / "labels" / "a.nii.gz", values)
    save(root / "images" / "a.nii.gz", labelled(1))
    return root


def _binary(root: Path) -> Path:
    (root / "dataset.json").write_bytes(b"\xff\xfe\x00\x80")
    return root


def _raw_json(text: str) -> Callable[[Path], Path]:
    def build(root: Path) -> Path:
        msd(root)
        (root / "dataset.json").write_text(text)
        return root

    return build


def _toml(text: str) -> Callable[[Path], Path]:
    def build(root: Path) -> Path:
        plain(root, ("a",))
        (root / "labels.toml").write_text(text)
        return root

    return build


def _msd(**changes: Any) -> Callable[[Path], Path]:
    return lambda root: msd(root, **changes)


def _nnunet(**changes: Any) -> Callable[[Path], Path]:
    return lambda root: nnunet(root, **changes)


_PAIR = {"image": "imagesTr/a.nii.gz", "label": "labelsTr/a.nii.gz"}

MALFORMED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "no folder": (lambda root: root / "nowhere", "no such folder"),
    "a file": (lambda root: save(root / "scan.nii.gz"), "a file; give the folder"),
    "empty folder": (lambda root: root, "neither dataset.json nor an images folder"),
    "only images": (_no_label_images, "no labels folder"),
    "no names in common": (_unmatched, "no image has the name of a label"),
    "images of another kind": (
        _empty_images,
        "no image in it; pictures have two axes; give 3D scans",
    ),
    "a.nii and a.nii.gz": (_twice, "has the same name"),
    "nothing labelled": (_all_background, "every label file is empty"),
    "images for labels": (_swapped_folders, "looks like an image"),
    "broken json": (_raw_json('{"labels": {'), "not valid JSON at line 1, column 13"),
    "json list": (_raw_json("[]"), "holds no JSON object"),
    "binary json": (_binary, "cannot be read"),
    "no layout": (_msd(training=None), "neither 'channel_names' (nnU-Net) nor 'training' (MSD)"),
    "no labels": (_msd(labels=None), "labels: missing"),
    "labels a list": (_msd(labels=["liver"]), "labels: not a table"),
    "label id is text": (_msd(labels={"a": "b"}), "an id is an integer from 0 up"),
    "label id negative": (_nnunet(labels={"background": 0, "x": -1}), "an id is an integer"),
    "label id a fraction": (_nnunet(labels={"background": 0, "x": 1.5}), "an id is an integer"),
    "only background": (_msd(labels={"0": "background"}), "no label but the background"),
    "an id twice": (_nnunet(labels={"background": 0, "x": 1, "y": 1}), "id 1 has several names"),
    "a name twice": (_msd(labels={"1": "x", "2": "x"}), "the name 'x' repeats"),
    "ignore label": (_nnunet(labels={"background": 0, "x": 1, "ignore": 2}), "'ignore' label"),
    "regions without order": (
        _nnunet(labels={"background": 0, "whole": [1, 2]}),
        "regions need regions_class_order",
    ),
    "regions with short order": (
        _nnunet(labels={"background": 0, "a": [1, 2], "b": 2}, regions_class_order=[1]),
        "write a list of 2 ids",
    ),
    "order with an unknown id": (
        _nnunet(labels={"background": 0, "a": [1, 2], "b": 2}, regions_class_order=[1, 9]),
        "9 is no label of a region",
    ),
    "region with background": (
        _nnunet(labels={"background": 0, "a": [0, 1]}, regions_class_order=[1]),
        "contains the background 0",
    ),
    "channels from 1": (_nnunet(channel_names={"1": "CT"}), "number the channels from 0"),
    "channels a list": (_nnunet(channel_names=["CT"]), "number the channels from 0"),
    "modality missing": (_msd(modality=None), "modality: None; number the channels from 0"),
    "file ending unknown": (_nnunet(file_ending=".png"), "file_ending: '.png' is not supported"),
    "file ending not a text": (_nnunet(file_ending=3), "file_ending: 3 is not supported"),
    "file ending of others": (_nnunet(file_ending=".mha"), "set file_ending to that"),
    "training no list": (_msd(training={"a": 1}), "training: not a list"),
    "training empty": (_msd(training=[]), "training: lists no case"),
    "no label in a case": (_msd(training=[{"image": "a.nii.gz"}]), "training[0]: 'label' is"),
    "no image in a case": (_msd(training=[{"label": "a.nii.gz"}]), "training[0]: 'image' is"),
    "a number for a path": (_msd(training=[5]), "training[0]: 'image' is missing or no path"),
    "a case twice": (_msd(training=[_PAIR, _PAIR]), "a.nii.gz is listed twice"),
    "two cases of one name": (
        _msd(training=[{**_PAIR, "image": f"/{k}/p/a.nii.gz"} for k in "xy"]),
        "two cases are named p_a",
    ),
    "dataset key a list": (_nnunet(dataset=[1]), "dataset: not a table of cases"),
    "dataset key without label": (
        _nnunet(dataset={"a": {"images": ["imagesTr/a_0000.nii.gz"]}}),
        "dataset.a: 'label' is missing",
    ),
    "labels.toml broken": (_toml("[labels\n"), "labels.toml: not readable as TOML"),
    "labels.toml unknown field": (_toml("[label]\n1 = 'x'\n"), "label: unknown field; use labels"),
    "labels.toml without labels": (_toml("channels = ['CT']\n"), "labels: missing"),
    "labels.toml channels": (_toml("channels = 'CT'\n[labels]\n1='x'\n"), "not a list of names"),
    "labels.toml region unknown": (
        _toml("regions_class_order = [1]\n[labels]\n1 = 'x'\n[regions]\nw = [1, 7]\n"),
        "'w' refers to label 7",
    ),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_in_one_line_that_names_the_place(case: str, tmp_path: Path) -> None:
    build, expected = MALFORMED[case]
    root = build(tmp_path)
    with pytest.raises(InputError) as caught:
        open_dataset(root)
    message = str(caught.value)
    assert expected in message
    assert str(tmp_path) in message
    assert "\n" not in message


def test_malformed_labels_argument(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no\.toml: no such file; give a labels\.toml"):
        open_dataset(plain(tmp_path, ("a",)), tmp_path / "no.toml")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nowhere", "no such file or folder"),
        ("notes.txt", "not a supported image"),
        ("e", "no image"),
    ],
)
def test_nothing_to_predict(name: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no scan")
    (tmp_path / "e").mkdir()
    with pytest.raises(InputError, match=expected):
        find_images(tmp_path / name)


_WORDS = st.sampled_from(("0", "1", "a", "image", "images", "label", "imagesTr/a.nii.gz", "\0"))
_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | st.floats() | st.text(max_size=5) | _WORDS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(_WORDS | st.text(max_size=3), inner, max_size=3)
        | st.lists(st.fixed_dictionaries({"image": inner, "label": inner}), max_size=2)
    ),
    max_leaves=8,
)
_FIELDS = (
    "modality",
    "channel_names",
    "labels",
    "training",
    "test",
    "numTraining",
    "file_ending",
    "regions_class_order",
    "dataset",
)


@pytest.fixture(scope="module")
def two_descriptions(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return [msd(tmp_path_factory.mktemp("msd")), nnunet(tmp_path_factory.mktemp("nnunet"))]


@given(st.integers(0, 1), st.dictionaries(st.sampled_from(_FIELDS), _ANYTHING, max_size=3))
def test_whatever_a_json_holds_it_opens_or_is_one_line(
    two_descriptions: list[Path], which: int, changes: dict[str, Any]
) -> None:
    description = two_descriptions[which] / "dataset.json"
    sound = description.read_text()
    description.write_text(json.dumps({**json.loads(sound), **changes}))
    told = str(two_descriptions[which])
    try:
        assert open_dataset(description).cases
    except InputError as error:
        told = str(error)
    finally:
        description.write_text(sound)
    assert told.startswith(str(two_descriptions[which]))
    assert "\n" not in told
