"""What the page says, and what it leaves out."""

from dataclasses import replace

import numpy as np
import pytest

from unetr import evaluate
from unetr.evaluation import Evaluation, Structure
from unetr.evaluation.matching import Pair
from unetr.evaluation.result import METRICS
from unetr.report import write_report
from unetr.report.pictures import chosen, pictures
from unetr.report.plots import LEFT, RIGHT, WIDTH, box_plot, volume_scatter

from ..evaluation.cubes import SHAPE, save, shifted

LIVER = Structure("liver", (3,))


def evaluation(dice, root):
    """Cases with these Dice values; their files are not there."""
    names = [f"case{number}" for number in range(len(dice))]
    empty = dict.fromkeys(METRICS) | {"volume_ml": 0.0, "reference_volume_ml": 0.0}
    scores = {n: {"liver": empty | {"dice": d}} for n, d in zip(names, dice, strict=True)}
    pairs = tuple(Pair(name, root / name, root / name) for name in names)
    return Evaluation("p", "r", (LIVER,), pairs, scores, 1.0)


@pytest.mark.parametrize(
    ("dice", "expected"),
    [
        ([0.5, 0.9, None, 0.1, 0.7, 0.8], {"worst": 0.1, "median": 0.7, "best": 0.9}),
        ([0.5, 0.9, 0.1, 0.7], {"worst": 0.1, "median": 0.5, "best": 0.9}),
        ([0.5, 0.9], {"worst": 0.5, "best": 0.9}),
        ([0.5], {"only": 0.5}),
        ([None], {}),
    ],
)
def test_which_cases_are_shown(tmp_path, dice, expected):
    found = chosen(evaluation(dice, tmp_path), LIVER)
    assert {rank: value for rank, _, value in found} == expected


def test_a_scan_that_is_gone_leaves_a_line(tmp_path):
    found = evaluation([0.5, 0.9], tmp_path)
    assert [one.rank for one in pictures(found)["liver"]] == ["worst", "best"]
    write_report(tmp_path / "report.html", found)
    assert (tmp_path / "report.html").read_text().count("case1: no such file") == 1


def test_boxes_lie_where_the_quartiles_do(tmp_path):
    plot = box_plot(evaluation([0.0, 0.25, 0.5, 0.75, 1.0, None], tmp_path), "dice", "Dice")
    (row,) = plot.rows
    places = [LEFT + share * (WIDTH - RIGHT - LEFT) for share in (0, 0.25, 0.5, 0.75, 1)]
    assert row.box == pytest.approx(places, abs=0.01)
    assert [point.x for point in row.points] == pytest.approx(places, abs=0.01)
    assert row.told == "n 5, 1 undefined"
    assert row.points[1].title == "case1: 0.25"
    assert box_plot(evaluation([0.5], tmp_path), "hd95_mm", "HD95") is None


def test_whiskers_end_before_outliers(tmp_path):
    plot = box_plot(evaluation([0.1, 0.8, 0.82, 0.84, 0.86], tmp_path), "dice", "Dice")
    low = plot.rows[0].box[0]
    assert low == plot.rows[0].points[1].x
    assert plot.rows[0].points[0].x < low


@pytest.fixture
def cubes(tmp_path):
    for name, by in (("a", 1), ("b", 0)):
        prediction, reference = shifted(by)
        save(tmp_path / "p" / f"{name}.nii.gz", prediction)
        save(tmp_path / "r" / f"{name}.nii.gz", reference)
    save(tmp_path / "p" / "b.nii.gz", np.zeros(SHAPE, np.uint8))
    return tmp_path


def test_volumes_lie_on_the_line_where_they_agree(cubes):
    found = evaluate(cubes / "p", cubes / "r")
    plot = volume_scatter(found, found.structures[0])
    same, empty = plot.points
    assert same.x + same.y == pytest.approx(250.0)
    assert (empty.x, empty.y > same.y) == (same.x, True)


def test_volumes_of_micrometres_have_marks_of_their_own(tmp_path):
    for folder, labels in zip("pr", shifted(), strict=True):
        save(tmp_path / folder / "a.nii.gz", labels, np.diag([1e-5, 1e-5, 1e-5, 1.0]))
    found = evaluate(tmp_path / "p", tmp_path / "r")
    plot = volume_scatter(found, found.structures[0])
    assert len({tick.text for tick in plot.ticks}) == len(plot.ticks) > 2


def test_volumes_of_litres_are_whole_millilitres(tmp_path):
    for folder, labels in zip("pr", shifted(), strict=True):
        save(tmp_path / folder / "a.nii.gz", labels, np.diag([60.0, 60.0, 60.0, 1.0]))
    found = evaluate(tmp_path / "p", tmp_path / "r")
    plot = volume_scatter(found, found.structures[0])
    assert plot.points[0].title == "a: 13824 ml predicted, 13824 ml"
    assert not [tick.text for tick in plot.ticks if "e" in tick.text]


def test_folders_whose_names_are_not_utf8_are_written_with_a_mark(cubes):
    found = replace(evaluate(cubes / "p", cubes / "r"), predictions="caf\udce9")
    write_report(cubes / "report.html", found)
    assert "caf?" in (cubes / "report.html").read_text()


def test_names_are_text_and_never_markup(cubes):
    table = cubes / "labels.toml"
    table.write_text("[labels]\n'<script>alert(1)</script>' = 1\n")
    write_report(cubes / "report.html", evaluate(cubes / "p", cubes / "r", labels=table))
    text = (cubes / "report.html").read_text()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_the_page_says_its_figures_definitions_and_what_is_undefined(cubes):
    save(cubes / "p" / "c.nii.gz", np.full(SHAPE, 0.5, np.float32))
    save(cubes / "r" / "c.nii.gz", shifted()[1])
    save(cubes / "p" / "extra.nii.gz", shifted()[0])
    found = evaluate(cubes / "p", cubes / "r", tolerance_mm=0.5, lesions=True)
    write_report(cubes / "report.html", found, title="Validation", notes=["of fold 0"])
    text = (cubes / "report.html").read_text()
    for said in (
        "<title>Validation</title>",
        "<b>0.375</b>",  # of 0.75 and 0
        "0.000 to 0.750",
        "<li>of fold 0</li>",
        "c could not be scored: ",
        "Predictions without a reference (1): extra.nii.gz",
        "Dice in 0, HD95 in 1",
        "tolerance 0.5 mm",
        "weighted by their area",
        "lesion sensitivity",
        "10000 resamples of whole cases, seed 0",
    ):
        assert said in text, said


def test_nothing_comes_from_elsewhere(cubes):
    write_report(cubes / "report.html", evaluate(cubes / "p", cubes / "r"))
    text = (cubes / "report.html").read_text()
    assert "http://" not in text
    assert "https://" not in text
    assert "default-src 'none'" in text
