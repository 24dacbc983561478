"""Cases scored from file to figure, and everything that may be wrong with the files."""

import time
from dataclasses import asdict

import numpy as np
import pytest

from unetr import evaluate
from unetr.errors import InputError
from unetr.evaluation import scoring
from unetr.image import Volume, write_labels
from unetr.metrics import score

from .cubes import AFFINE, SHAPE, box, save, shifted


def write_pair(root, name, prediction, reference, affine=AFFINE):
    save(root / "predictions" / f"{name}.nii.gz", prediction, affine)
    save(root / "references" / f"{name}.nii.gz", reference)


@pytest.fixture
def folders(tmp_path):
    """Case a moved by one voxel of 4 (Dice 3/4), case b exact, case c with nothing predicted."""
    for name, by in (("a", 1), ("b", 0)):
        write_pair(tmp_path, name, *shifted(by))
    write_pair(tmp_path, "c", np.zeros(SHAPE, np.uint8), shifted()[1])
    return tmp_path


def of(root, **options):
    return evaluate(root / "predictions", root / "references", **options)


def test_values_counted_by_hand(folders):
    found = of(folders)
    assert found.cases == ("a", "b", "c")
    assert [each.label for each in found.structures] == ["1"]
    a, b, c = (found.scores[case]["label 1"] for case in found.cases)
    # 64 voxels of 2 mm3 each, 48 in common.
    assert a["dice"] == 0.75
    assert a["iou"] == pytest.approx(48 / 80)
    assert (a["volume_ml"], a["reference_volume_ml"]) == (0.128, 0.128)
    assert a["hd_mm"] == 1.0
    assert (b["dice"], b["hd95_mm"], b["nsd"]) == (1.0, 0.0, 1.0)
    assert (c["dice"], c["nsd"], c["hd95_mm"], c["assd_mm"]) == (0.0, 0.0, None, None)
    assert (c["volume_error_ml"], c["relative_volume_error"]) == (-0.128, -1.0)


def test_scores_are_those_of_the_metrics_on_the_masks(folders):
    prediction, reference = shifted(1)
    expected = asdict(score(prediction == 1, reference == 1, (1.0, 1.0, 2.0), 0.5))
    assert of(folders, tolerance_mm=0.5).scores["a"]["label 1"] == pytest.approx(expected)


def test_means_count_what_is_undefined(folders):
    found = of(folders)
    dice, hd95 = found.statistics("dice"), found.statistics("hd95_mm")
    assert (dice.n, dice.undefined, dice.mean) == (3, 0, pytest.approx(1.75 / 3))
    assert (hd95.n, hd95.undefined, hd95.mean) == (2, 1, pytest.approx(0.5))
    assert found.ranked(found.structures[0]) == [("c", 0.0), ("a", 0.75), ("b", 1.0)]


def test_a_label_that_one_case_lacks_is_undefined_there(tmp_path):
    prediction, reference = shifted()
    write_pair(tmp_path, "a", prediction, box((8, 10), (7, 9), (1, 3), 5, into=reference.copy()))
    write_pair(tmp_path, "b", prediction, reference)
    found = of(tmp_path)
    assert [each.name for each in found.structures] == ["label 1", "label 5"]
    assert found.scores["a"]["label 5"]["dice"] == 0.0
    assert found.scores["b"]["label 5"]["dice"] is None
    assert found.scores["b"]["label 5"]["reference_volume_ml"] == 0.0


def test_files_are_a_pair_whatever_their_names(folders):
    one = folders / "predictions" / "a.nii.gz"
    found = evaluate(one, folders / "references" / "b.nii.gz")
    assert found.scores["b"]["label 1"]["dice"] == 0.75
    with pytest.raises(InputError, match=r"no\.nii\.gz: no such file or folder"):
        evaluate(folders / "no.nii.gz", one)


def test_names_come_from_the_header(folders):
    prediction, reference = shifted()
    like = Volume(prediction[None], AFFINE)
    names = {0: "background", 1: "liver", 7: "spleen"}
    for case in "abc":
        write_labels(folders / "predictions" / f"{case}.nii.gz", prediction, like, names)
    found = of(folders)
    assert [(each.label, each.name) for each in found.structures] == [
        ("1", "liver"),
        ("7", "spleen"),
    ]
    assert found.statistics("dice", found.structures[1]).undefined == 3
    write_labels(folders / "references" / "b.nii.gz", reference, like, {1: "lung"})
    with pytest.raises(InputError, match=r"b\.nii\.gz: label names: 1 is 'lung', but 'liver' in"):
        of(folders)


def test_names_and_regions_from_a_labels_toml(tmp_path):
    prediction, reference = shifted()
    prediction[7:9, 2:6, 2:6] = 2
    reference[6:8, 2:6, 2:6] = 2
    write_pair(tmp_path, "a", prediction, reference)
    table = tmp_path / "labels.toml"
    table.write_text(
        'regions_class_order = [1, 2]\n[labels]\ncore = 1\nrim = 2\n'
        '[regions]\n"whole tumour" = [1, 2]\nrim = [2]\n'
    )  # fmt: skip
    found = of(tmp_path, labels=table)
    assert [(e.label, e.name) for e in found.structures] == [("1+2", "whole tumour"), ("2", "rim")]
    # The whole is 6 x 4 x 4, moved by one; the rim 2 x 4 x 4, moved by one.
    assert found.scores["a"]["whole tumour"]["dice"] == pytest.approx(5 / 6)
    assert found.scores["a"]["rim"]["dice"] == 0.5


def test_an_unknown_label_is_refused(folders):
    table = folders / "labels.toml"
    table.write_text("[labels]\nliver = 1\n")
    save(folders / "predictions" / "b.nii.gz", box((0, 2), (0, 2), (0, 2), 9))
    found = of(folders, labels=table)
    assert found.cases == ("a", "c")
    assert "b.nii.gz: label values: 9 is not in the label table" in found.failures["b"]


@pytest.mark.parametrize(
    ("affine", "shape", "said"),
    [
        (np.diag([1.0, 1.0, 2.5, 1.0]), SHAPE, "spacing 1 x 1 x 2.5 mm instead of 1 x 1 x 2 mm"),
        (AFFINE + np.eye(4, k=3) * 3, SHAPE, "affine: voxels lie up to 3 mm apart"),
        (AFFINE, (12, 10, 9), "shape 12 x 10 x 9 instead of 12 x 10 x 8"),
    ],
)
def test_another_grid_is_refused_with_how_far_it_is_off(folders, affine, shape, said):
    labels = box((2, 6), (2, 6), (2, 6), shape=shape)
    save(folders / "predictions" / "b.nii.gz", labels, affine)
    found = of(folders)
    assert found.cases == ("a", "c")
    assert said in found.failures["b"]
    assert "b.nii.gz" in found.failures["b"]
    assert "--resample" in found.failures["b"]


def test_resampling_brings_labels_and_not_mixtures_onto_the_references_grid(tmp_path):
    """The same boxes at half the voxel size: the reference's grid wins, no label is invented."""
    _, reference = shifted(label=3)
    box((8, 11), (2, 6), (2, 6), 9, into=reference)
    fine = reference.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    affine = np.diag([0.5, 0.5, 1.0, 1.0])
    affine[:3, 3] = (-0.25, -0.25, -0.5)
    write_pair(tmp_path, "a", fine, reference, affine)
    with pytest.raises(InputError, match=r"shape 24 x 20 x 16 instead of 12 x 10 x 8"):
        of(tmp_path)
    found = of(tmp_path, resample=True)
    assert found.resampled == ("a",)
    assert [each.label for each in found.structures] == ["3", "9"]
    assert (found.values("dice") == 1.0).all()
    affine[:3, 3] = 500
    write_pair(tmp_path, "a", fine, reference, affine)
    with pytest.raises(InputError, match=r"nothing of it lies on that of"):
        of(tmp_path, resample=True)


def test_what_has_no_partner_is_named(folders):
    save(folders / "predictions" / "extra.nii.gz", shifted()[0])
    save(folders / "references" / "more.nii", shifted()[1])
    found = of(folders)
    assert found.cases == ("a", "b", "c")
    assert found.unmatched_predictions == ("extra.nii.gz",)
    assert found.unmatched_references == ("more",)


def test_fractions_are_no_labels(folders):
    save(folders / "predictions" / "b.nii.gz", np.full(SHAPE, 0.5, np.float32))
    assert "b.nii.gz: label values: not all are integers" in of(folders).failures["b"]


def test_an_image_of_integers_is_no_label_image(folders):
    save(folders / "references" / "b.nii.gz", np.arange(1200, dtype=np.int16).reshape(12, 10, 10))
    save(folders / "predictions" / "b.nii.gz", np.zeros((12, 10, 10), np.uint8))
    assert "1200 different ones; is this the image" in of(folders).failures["b"]


def test_without_any_label_there_is_nothing_to_score(tmp_path):
    empty = np.zeros(SHAPE, np.uint8)
    write_pair(tmp_path, "a", empty, empty)
    with pytest.raises(InputError, match=r"no file has a label, so .* in a labels.toml"):
        of(tmp_path)
    (tmp_path / "labels.toml").write_text("[labels]\n1 = 'lesion'\n")
    found = of(tmp_path, labels=tmp_path / "labels.toml")
    assert found.scores["a"]["lesion"]["dice"] is None


def test_where_every_case_fails_it_is_an_error(folders):
    for case in "abc":
        save(folders / "predictions" / f"{case}.nii.gz", np.full(SHAPE, 0.5, np.float32))
    with pytest.raises(InputError, match=r"a\.nii\.gz: .* \(and 2 more cases fail\)"):
        of(folders)


@pytest.mark.parametrize(
    ("options", "said"),
    [({"tolerance_mm": -1.0}, "tolerance -1 mm"), ({"workers": 0}, "workers 0")],
)
def test_options_out_of_range(folders, options, said):
    with pytest.raises(InputError, match=said):
        of(folders, **options)


def test_lesions_are_counted_where_asked_for(tmp_path):
    reference = box((1, 3), (1, 3), (1, 3), into=box((7, 9), (6, 8), (4, 6)))
    prediction = box((1, 3), (1, 3), (1, 3), into=box((9, 11), (1, 3), (1, 3)))
    write_pair(tmp_path, "a", prediction, reference)
    write_pair(tmp_path, "b", *[np.zeros(SHAPE, np.uint8)] * 2)
    found = of(tmp_path, lesions=True)
    a, b = (found.scores[case]["label 1"] for case in "ab")
    counts = ("lesion_true_positives", "lesion_false_positives", "lesion_missed")
    assert [a[name] for name in counts] == [1, 1, 1]
    assert (a["lesion_sensitivity"], a["lesion_precision"], a["lesion_f1"]) == (0.5, 0.5, 0.5)
    assert [b[name] for name in counts] == [0, 0, 0]
    assert b["lesion_f1"] is None
    assert "lesion_f1" not in of(tmp_path).metrics


def test_order_and_values_do_not_depend_on_threads(folders):
    told = []
    one = of(folders, workers=1, on_case=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert of(folders, workers=3) == one


def test_an_interrupt_waits_for_no_case_that_has_not_begun(tmp_path, monkeypatch):
    for number in range(12):
        write_pair(tmp_path, f"case{number}", *shifted())
    begun = []
    original = scoring._score

    def slow(pair, *rest):
        begun.append(pair.case)
        time.sleep(0.1)
        return original(pair, *rest)

    def interrupt(done, total):
        raise KeyboardInterrupt

    monkeypatch.setattr(scoring, "_score", slow)
    with pytest.raises(KeyboardInterrupt):
        of(tmp_path, workers=1, on_case=interrupt)
    assert len(begun) < 12
