"""Everything a data set's description can get wrong: one line that names the place."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unetr.data.dataset import find_images, open_dataset
from unetr.errors import InputError

from .small_datasets import labelled, msd, nnunet, plain, save


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


def _emptied(root: Path) -> Path:
    nnunet(root)
    for path in (root / "imagesTr").iterdir():
        path.unlink()
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


def _high_value(root: Path) -> Path:
    save(root / "images" / "a.nii.gz", 1)
    save(root / "labels" / "a.nii.gz", labelled(1).astype(np.int32) * 70000)
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
    "a value above two bytes": (
        _high_value,
        "a.nii.gz: label values: 70000 is above 65535; renumber the labels",
    ),
    "broken json": (_raw_json('{"labels": {'), "not valid JSON at line 1, column 13"),
    "json list": (_raw_json("[]"), "holds no JSON object"),
    "binary json": (_binary, "cannot be read"),
    "no layout": (_msd(training=None), "neither 'channel_names' (nnU-Net) nor 'training' (MSD)"),
    "no labels": (_msd(labels=None), "labels: missing"),
    "labels a list": (_msd(labels=["liver"]), "labels: not a table"),
    "label id is text": (_msd(labels={"a": "b"}), "an id is an integer from 0 up"),
    "label id negative": (_nnunet(labels={"background": 0, "x": -1}), "an id is an integer"),
    "label id a fraction": (_nnunet(labels={"background": 0, "x": 1.5}), "an id is an integer"),
    "label id above two bytes": (
        _nnunet(labels={"background": 0, "x": 70000}),
        "dataset.json: labels: 'x' has 70000, but ids end at 65535; renumber the labels",
    ),
    "region of an id above two bytes": (
        _nnunet(labels={"background": 0, "x": [1, 70000]}, regions_class_order=[1]),
        "dataset.json: labels: 'x' has 70000, but ids end at 65535",
    ),
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
    "nothing in imagesTr": (_emptied, "imagesTr: no file ends in .nii.gz; it is empty"),
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
    "labels.toml without labels": (
        _toml(""),
        'labels.toml: labels: missing; write for example [labels] and 1 = "liver"',
    ),
    "case named like a folder": (
        _nnunet(dataset={"../a": {"images": ["a.nii.gz"], "label": "b.nii.gz"}}),
        "dataset.json: dataset.../a: a name that no file can have; take letters",
    ),
    "labels.toml id above two bytes": (
        _toml("[labels]\n70000 = 'x'\n"),
        "labels.toml: labels: '70000' has 70000, but ids end at 65535",
    ),
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
