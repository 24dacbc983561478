"""The page as a browser shows it, on a screen and on a phone."""

import numpy as np
import pytest
from matplotlib.image import imread

from unetr import evaluate
from unetr.report import write_report

from ..evaluation.cubes import AFFINE, box, save
from .browser import CHROMIUM, browser

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")

SHAPE = (60, 50, 40)
CASES = 12


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Cubes in noise, each case moved a little further; names as long as they come."""
    root = tmp_path_factory.mktemp("report")
    rng = np.random.default_rng(0)
    for number in range(CASES):
        name = f"a_rather_long_name_of_a_case_with_its_date_2024-03-{number:02d}"
        reference = box((20, 34), (14, 30), (10, 24), shape=SHAPE)
        box((38, 46), (14, 30), (10, 24), 200, into=reference)
        image = rng.normal(0, 20, SHAPE) + 100 * (reference > 0)
        save(root / "images" / f"{name}.nii.gz", image.astype(np.float32))
        save(root / "references" / f"{name}.nii.gz", reference)
        moved = np.roll(reference, number // 2, axis=number % 2)
        save(root / "predictions" / f"{name}.nii.gz", np.where(moved == number, 0, moved), AFFINE)
    found = evaluate(root / "predictions", root / "references", images=root / "images")
    write_report(root / "report.html", found)
    return root / "report.html"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits_is_painted_and_asks_for_nothing(report, page, tmp_path, width):
    page.requests.clear()
    page.open(report, width)
    assert page.run("document.documentElement.scrollWidth") <= width
    assert page.run("innerWidth") == width
    images = page.run("""Promise.all([...document.querySelectorAll('image')].map(async (each) => {
        const image = new Image();
        image.src = each.getAttribute('href');
        await image.decode();
        const box = each.getBoundingClientRect();
        return [image.naturalWidth, box.width, box.height, box.left, box.top + scrollY];
    }))""")
    assert len(images) == 18  # 2 structures, 3 cases, 3 slices
    assert all(natural >= 10 and w > 40 and h > 40 for natural, w, h, _, _ in images)
    page.screenshot(tmp_path / "page.png")
    pixels = imread(tmp_path / "page.png")[..., :3]
    assert pixels.shape[1] == width
    for _, w, h, left, top in images:
        seen = pixels[int(top) : int(top + h), int(left) : int(left + w)]
        # Noise of a scan, and coloured lines over it.
        assert len(np.unique(seen.round(3))) > 50
        assert (np.ptp(seen, axis=2) > 0.3).sum() > 50
    assert {url for url in page.requests if not url.startswith("data:")} == {report.as_uri()}
    assert page.complaints == []


def test_text_is_large_enough_on_a_phone(report, page):
    """Letters of drawings shrink with them."""
    page.open(report, 390)
    heights = page.run(
        "[...document.querySelectorAll('.plot text')].map((e) => e.getBoundingClientRect().height)"
    )
    assert len(heights) > 20
    assert min(heights) >= 11


def test_cases_sort_by_any_column_and_undefined_ones_stay_last(report, page):
    page.open(report, 1280)
    cells = (
        "[...document.querySelectorAll('.sortable tbody tr')].map((r) => r.cells[3].textContent)"
    )
    click = "document.querySelectorAll('.sortable th button')[3].click()"
    order = f"(() => {{ {click}; return {cells}; }})()"
    up, down = page.run(order), page.run(order)
    assert len(up) == 2 * CASES
    assert up[-1] == down[-1] == "–"
    numbers = [float(each) for each in up if each != "–"]
    assert numbers == sorted(numbers)
    assert numbers[0] < numbers[-1]
    assert [float(each) for each in down if each != "–"] == sorted(numbers, reverse=True)


def test_the_filter_leaves_what_it_names(report, page):
    page.open(report, 1280)
    left = page.run("""(() => {
        const input = document.querySelector('.filter input');
        input.value = 'label 200';
        input.dispatchEvent(new Event('input'));
        return [...document.querySelectorAll('.sortable tbody tr')]
            .filter((row) => !row.hidden).map((row) => row.cells[1].textContent);
    })()""")
    assert left == ["label 200"] * CASES


def test_on_paper_nothing_is_cut_off(report, page, tmp_path):
    page.open(report, 1280)
    page.call("Emulation.setEmulatedMedia", media="print")
    try:
        assert page.run("getComputedStyle(document.querySelector('.filter')).display") == "none"
        assert (
            page.run("getComputedStyle(document.querySelector('.scroll')).overflowX") == "visible"
        )
    finally:
        page.call("Emulation.setEmulatedMedia", media="")
    pdf = page.call("Page.printToPDF")["data"]
    assert len(pdf) > 50_000
