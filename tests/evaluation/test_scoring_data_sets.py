"""References that are a data set: its names, regions and images, and its other cases."""

import json

import numpy as np

from unetr import evaluate

from .cubes import SHAPE, save, shifted


def test_a_data_set_brings_names_regions_and_images(tmp_path):
    root = tmp_path / "data"
    prediction, reference = shifted()
    for case in ("x", "y"):
        save(root / "imagesTr" / f"{case}_0000.nii.gz", reference.astype(np.float32))
        save(root / "labelsTr" / f"{case}.nii.gz", reference)
    description = {
        "channel_names": {"0": "MR"}, "numTraining": 2, "file_ending": ".nii.gz",
        "labels": {"background": 0, "whole": [1, 2], "core": [1]}, "regions_class_order": [2, 1],
    }  # fmt: skip
    (root / "dataset.json").write_text(json.dumps(description))
    # One is named as the case, the other as its image; the third case of the folder is not there.
    save(tmp_path / "predictions" / "x.nii.gz", prediction)
    save(tmp_path / "predictions" / "y_0000.nii.gz", prediction)
    for references in (root, root / "dataset.json"):
        found = evaluate(tmp_path / "predictions", references)
        assert [(e.name, e.label) for e in found.structures] == [("whole", "1+2"), ("core", "1")]
        assert (found.values("dice") == 0.75).all()
        images = [path.name for pair in found.pairs for path in pair.images]
        assert images == ["x_0000.nii.gz", "y_0000.nii.gz"]


def scored(root, **labels):
    """The structures, by name and label, that a data set with these labels is scored in."""
    prediction, reference = shifted()
    save(root / "imagesTr" / "x_0000.nii.gz", reference.astype(np.float32))
    save(root / "labelsTr" / "x.nii.gz", reference)
    description = {
        "channel_names": {"0": "MR"}, "numTraining": 1, "file_ending": ".nii.gz", **labels,
    }  # fmt: skip
    (root / "dataset.json").write_text(json.dumps(description))
    save(root / "predictions" / "x.nii.gz", prediction)
    return [(e.name, e.label) for e in evaluate(root / "predictions", root).structures]


def test_brain_tumours_are_scored_in_their_regions(tmp_path):
    """Though the data set lists labels alone; by their names it is known what they are."""
    labels = {"background": 0, "oedema": 1, "necrosis": 2, "enhancing tumour": 3}
    assert scored(tmp_path, labels=labels) == [
        ("whole tumour", "1+2+3"), ("tumour core", "2+3"), ("enhancing tumour", "3"),
    ]  # fmt: skip


def test_regions_of_several_labels_are_scored_though_no_label_has_a_name(tmp_path):
    labels = {"background": 0, "prostate": [1, 2]}
    assert scored(tmp_path, labels=labels, regions_class_order=[1]) == [("prostate", "1+2")]


def test_what_is_not_scored_is_not_looked_at(tmp_path):
    """A label file of a case without a prediction keeps nobody from scoring the others."""
    root = tmp_path / "data"
    prediction, reference = shifted()
    for case in ("x", "y"):
        save(root / "images" / f"{case}.nii.gz", reference.astype(np.float32))
    save(root / "labels" / "x.nii.gz", reference)
    save(root / "labels" / "y.nii.gz", np.full(SHAPE, 70_000, np.int32))
    save(tmp_path / "predictions" / "x.nii.gz", prediction)
    found = evaluate(tmp_path / "predictions", root)
    assert (found.cases, found.failures) == (("x",), {})
    assert [each.name for each in found.structures] == ["label 1"]
