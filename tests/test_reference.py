"""The documentation holds together: recipes are described as they are, and links lead somewhere."""

import re
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import yaml

from unetr.training.recipe import Recipe
from unetr.training.recipe_toml import known_keys, recipe_names

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]


@pytest.fixture(scope="module")
def generator():
    """docs/make_recipes.py, which is a script and in no package."""
    spec = spec_from_file_location("make_recipes", DOCS / "make_recipes.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_recipes_is_what_its_generator_gives(generator):
    page = (DOCS / "recipes.md").read_text(encoding="utf-8")
    assert page == generator.page(), "run docs/make_recipes.py"


def test_the_page_of_recipes_has_every_field_with_a_meaning(generator):
    page = generator.page()
    for key in known_keys()[1:]:
        section, _, field = key.partition(".")
        model = Recipe.model_fields[section].annotation
        assert generator.meaning(model, field), key
        part = page.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
        assert len(re.findall(rf"^\| `{field}` \|", part, re.MULTILINE)) == 1, key
    assert "| `lr` | number, above 0 | *open* | The highest learning rate; " in page
    assert "| `noise_p` | number, at least 0, at most 1 | `0.0` | Probability per patch. |" in page
    for name in recipe_names():
        assert f"\n- `{name}`: " in page


def test_every_page_is_in_the_navigation_once():
    listed = []
    for entry in yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]:
        (under,) = entry.values()
        listed += (
            [under] if isinstance(under, str) else [page for one in under for page in one.values()]
        )
    assert sorted(listed) == [str(path.relative_to(DOCS)) for path in sorted(DOCS.rglob("*.md"))]
    # What has a page is told of where people begin to read.
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    assert set(listed) - {"index.md"} == set(re.findall(r"\]\(([\w-]+\.md)\)", index))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_to_files(page):
    # Code may hold brackets that are none of Markdown's.
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    for target in targets:
        if not re.match(r"https?:|#", target):
            path = page.parent / target.partition("#")[0]
            assert path.is_file(), f"{page.name}: {target}"


def test_the_site_builds_and_needs_no_network(tmp_path):
    """Strict: links and their anchors hold. Scripts, styles and fonts are the site's own."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pages = list(tmp_path.glob("*.html"))
    assert {f"{path.stem}.html" for path in DOCS.glob("*.md")} <= {page.name for page in pages}
    for page in pages:
        html = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=\"([^\"]+)\"", html)
        assert not [target for target in loaded if re.match(r"(?:https?:)?//", target)], page.name
    for style in tmp_path.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        assert not re.search(r"url\(['\"]?(?:https?:)?//", text), style.name
