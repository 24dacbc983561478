"""Names that belong together, and folders that hold nothing to match."""

import numpy as np
import pytest

from unetr.errors import InputError
from unetr.evaluation.matching import match

from .cubes import SHAPE, save

LABELS = np.zeros(SHAPE, np.uint8)


def folder(root, *names):
    for name in names:
        save(root / name, LABELS)
    return root


def matched(found):
    return {pair.case: pair.reference.name for pair in found.pairs}


def test_suffixes_may_differ(tmp_path):
    one = folder(tmp_path / "p", "a.nii.gz", "b.nii")
    other = folder(tmp_path / "r", "a.nii", "b.nii.gz")
    assert matched(match(one, other)) == {"a": "a.nii", "b": "b.nii.gz"}


def test_words_for_the_kind_are_passed_over_where_nothing_fits_else(tmp_path):
    one = folder(tmp_path / "p", "img0001.nii.gz", "img0002.nii.gz")
    other = folder(tmp_path / "r", "label0001.nii.gz", "label0002.nii.gz")
    expected = {"label0001": "label0001.nii.gz", "label0002": "label0002.nii.gz"}
    assert matched(match(one, other)) == expected


def test_plain_folders_name_predictions_after_images(tmp_path):
    one = folder(tmp_path / "p", "img0001.nii.gz")
    folder(tmp_path / "data" / "images", "img0001.nii.gz", "img0002.nii.gz")
    folder(tmp_path / "data" / "labels", "label0001.nii.gz")
    save(tmp_path / "data" / "labels" / "label0002.nii.gz", LABELS + 1)
    found = match(one, tmp_path / "data")
    assert matched(found) == {"label0001": "label0001.nii.gz"}
    assert found.references == ("label0002",)
    assert found.pairs[0].images[0].name == "img0001.nii.gz"


def test_a_file_finds_its_partner_in_a_folder(tmp_path):
    one = folder(tmp_path / "p", "b.nii.gz") / "b.nii.gz"
    found = match(one, folder(tmp_path / "r", "a.nii.gz", "b.nii.gz"))
    assert (matched(found), found.references) == ({"b": "b.nii.gz"}, ("a",))


def test_images_are_found_by_name(tmp_path):
    one, other = folder(tmp_path / "p", "a.nii.gz", "b.nii.gz"), tmp_path / "r"
    folder(other, "a.nii.gz", "b.nii.gz")
    scans = folder(tmp_path / "scans", "a_0000.nii.gz", "a_0001.nii.gz", "c.nii.gz")
    found = match(one, other, images=scans)
    names = [[path.name for path in pair.images] for pair in found.pairs]
    assert names == [["a_0000.nii.gz", "a_0001.nii.gz"], []]
    with pytest.raises(InputError, match=r"no image has the name of a prediction"):
        match(one, other, images=folder(tmp_path / "others", "z.nii.gz"))
    single = match(one / "a.nii.gz", other / "b.nii.gz", images=scans / "c.nii.gz")
    assert single.pairs[0].images == (scans / "c.nii.gz",)


def test_nothing_to_match_is_told(tmp_path):
    one, other = folder(tmp_path / "p", "a.nii.gz"), folder(tmp_path / "r", "b.nii.gz")
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("")
    wrong = {
        r"no file has the name of one in .*the first is a\.nii\.gz here, b there": (one, other),
        r"empty: no image in it": (tmp_path / "empty", other),
        r"empty: no label file in it, and no data set": (one, tmp_path / "empty"),
        r"notes\.txt: not a supported image": (tmp_path / "notes.txt", other),
        r"none: no such file or folder; give the references": (one, tmp_path / "none"),
        r"none: no such file or folder; give the predictions": (tmp_path / "none", one),
    }
    for said, (predictions, references) in wrong.items():
        with pytest.raises(InputError, match=said):
            match(predictions, references)


def test_two_predictions_of_one_case_are_refused(tmp_path):
    folder(tmp_path / "data" / "images", "img1.nii.gz")
    folder(tmp_path / "data" / "labels")
    save(tmp_path / "data" / "labels" / "label1.nii.gz", LABELS + 1)
    one = folder(tmp_path / "p", "img1.nii.gz", "label1.nii.gz")
    with pytest.raises(InputError, match=r"label1\.nii\.gz: belongs to label1, as img1\.nii\.gz"):
        match(one, tmp_path / "data")
    with pytest.raises(InputError, match=r"has the same name"):
        match(folder(tmp_path / "twice", "a.nii", "a.nii.gz"), one)


def test_two_references_of_one_bare_name_cannot_be_told_apart(tmp_path):
    one = folder(tmp_path / "p", "case1.nii.gz")
    other = folder(tmp_path / "r", "case1_label.nii.gz", "case1_mask.nii.gz")
    with pytest.raises(InputError, match=r"belongs to case1_label or case1_mask cannot be told"):
        match(one, other)


def test_scans_of_a_data_set_are_those_with_labels_too(tmp_path):
    one, other = (folder(tmp_path / name, "a.nii.gz") for name in ("p", "r"))
    folder(tmp_path / "data" / "images", "a.nii.gz")
    folder(tmp_path / "data" / "labels")
    save(tmp_path / "data" / "labels" / "a.nii.gz", LABELS + 1)
    folder(tmp_path / "data" / "imagesTs", "t.nii.gz")
    found = match(one, other, images=tmp_path / "data")
    assert found.pairs[0].images[0].name == "a.nii.gz"


def test_a_name_that_cannot_be_written_down_is_refused_before_scoring(tmp_path):
    name = b"\xfcbung.nii.gz".decode(errors="surrogateescape")
    try:
        one, other = (folder(tmp_path / part, name) for part in ("p", "r"))
    except OSError:
        pytest.skip("this file system has no such names")
    with pytest.raises(InputError, match=r"\?bung\.nii\.gz: a name that is not UTF-8; rename"):
        match(one, other)


def test_a_name_is_one_whatever_its_characters_are_made_of(tmp_path):
    """A letter with marks is one character on some systems and two on others."""
    one = folder(tmp_path / "p", "M\u00fcller.nii.gz", "b.nii.gz")
    other = folder(tmp_path / "r", "Mu\u0308ller.nii.gz", "b.nii.gz")
    found = match(one, other)
    assert len(found.pairs) == 2
    assert (found.predictions, found.references) == ((), ())


def test_scans_numbered_from_0_on_are_no_channels(tmp_path):
    names = [f"scan_{number:04d}.nii.gz" for number in range(3)]
    one, other, scans = (folder(tmp_path / name, *names) for name in ("p", "r", "scans"))
    found = match(one, other, images=scans)
    assert [[path.name for path in pair.images] for pair in found.pairs] == [[n] for n in names]


def test_an_image_may_have_the_references_name(tmp_path):
    one = folder(tmp_path / "p", "out.nii.gz") / "out.nii.gz"
    other = folder(tmp_path / "r", "case1.nii.gz") / "case1.nii.gz"
    scans = folder(tmp_path / "scans", "case1.nii.gz", "case2.nii.gz")
    (pair,) = match(one, other, images=scans).pairs
    assert pair.images == (scans / "case1.nii.gz",)
