"""Writes docs/recipes.md from the recipes and their models: run it where a field has changed."""

import fnmatch
import inspect
import json
import re
import textwrap
import tomllib
import types
import typing
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from unetr.training.recipe import Recipe
from unetr.training.recipe_toml import recipe_names

PAGE = Path(__file__).with_name("recipes.md")
HEAD = """\
# Recipes

<!-- Written by docs/make_recipes.py: change the models or that script, and run it. -->

A recipe is a TOML file with the numbers of a training. `--recipe` names one of the package or a
file, and `--set section.field=value` overrules a field:

```sh
unetr train Task04_Hippocampus -o run --recipe btcv --set training.lr=3e-4 --max-minutes 60
```

What a recipe leaves out has the default of this page. What is *open* is chosen when the run begins:
fields of `data` by [the plan](plan.md#how-it-is-planned), the network's sizes and the batch by the
machine, the learning rate by the network's width. The end must be given, in steps or in minutes.

A file of your own begins with these defaults, not with what `auto` says. `recipe.toml` in a run
folder is a whole recipe, with all that was chosen, and a good beginning for one.
"""
SIGNS = {Ge: "at least", Gt: "above", Le: "at most", Lt: "below"}


def page() -> str:
    """The whole page."""
    sections = {
        name: info.annotation
        for name, info in Recipe.model_fields.items()
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel)
    }
    top = [info for name, info in Recipe.model_fields.items() if name not in sections]
    parts = [HEAD, f"The only field outside of a section is `name`: {top[0].description}\n"]
    parts += [_section(name, model) for name, model in sections.items()]
    return "\n".join([*parts, _shipped()])


def _section(name: str, model: type[BaseModel]) -> str:
    told = inspect.getdoc(model) or ""
    head = " ".join(told.partition("\n\n")[0].split())
    rows = [
        f"| `{field}` | {_kind(info.annotation)}{_bounds(info)} | {_default(info)} "
        f"| {meaning(model, field)} |"
        for field, info in model.model_fields.items()
    ]
    table = ["| field | type | default | meaning |", "|---|---|---|---|", *rows]
    return f"## {name}\n\n{head}\n\n" + "\n".join(table) + "\n"


def meaning(model: type[BaseModel], field: str) -> str:
    """Its description, else what the docstring's attributes say of it or of a pattern like it."""
    if told := model.model_fields[field].description:
        return told
    attributes = dict(_attributes(inspect.getdoc(model) or ""))
    near = [names for names in attributes if fnmatch.fnmatch(field, names)]
    return attributes.get(field) or (attributes[near[0]] if near else "")


def _attributes(told: str) -> Iterator[tuple[str, str]]:
    """(name, text) of a docstring's attributes; a line may name several."""
    listed = told.partition("Attributes:\n")[2]
    for names, text in re.findall(r"^ {4}([\w*, ]+): (.*(?:\n {5,}.*)*)", listed, re.MULTILINE):
        for name in names.split(", "):
            yield name, " ".join(text.split())


def _kind(annotation: Any) -> str:
    """A type in the words of TOML."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _kind(inner[0])
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_kind(each) for each in inner if each is not types.NoneType)
    if origin is typing.Literal:
        return ", ".join(f"`{each}`" for each in inner)
    if origin is tuple and inner[-1] is ...:
        return f"list of {_several(inner[0])}"
    if origin is tuple:
        return f"{len(inner)} {'of ' * ('`' in _several(inner[0]))}{_several(inner[0])}"
    names = {bool: "true or false", int: "integer", float: "number", str: "word"}
    return names.get(annotation, "table")


def _several(annotation: Any) -> str:
    kind = _kind(annotation)
    return kind if "`" in kind else f"{kind}s"


def _bounds(info: FieldInfo) -> str:
    told = [
        f"{words} {getattr(bound, kind.__name__.lower()):g}"
        for bound in info.metadata
        for kind, words in SIGNS.items()
        if isinstance(bound, kind)
    ]
    return f", {', '.join(told)}" if told else ""


def _default(info: FieldInfo) -> str:
    return "*open*" if info.default is None else _value(info.default)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        inside = ", ".join(f"{key} = {json.dumps(each)}" for key, each in value.items())
        return f"`{{ {inside} }}`"
    return f"`{json.dumps(value)}`"


def _shipped() -> str:
    """What each recipe in the package says, and in its first lines what it is."""
    folder = resources.files("unetr.training.recipes")
    texts = {name: folder.joinpath(f"{name}.toml").read_text() for name in recipe_names()}
    said = {name: tomllib.loads(text) for name, text in texts.items()}
    told = []
    for name, text in texts.items():
        comment = re.match(r"(# .*\n)*", text)
        assert comment is not None
        line = f"- `{name}`: {comment[0].replace('# ', '')}"
        told.append(textwrap.fill(line, 100, subsequent_indent="  "))
    fields = [
        (section, field)
        for section, info in Recipe.model_fields.items()
        for field in getattr(info.annotation, "model_fields", ())
        if any(field in content.get(section, {}) for content in said.values())
    ]
    rows = [
        f"| `{section}.{field}` | "
        + " | ".join(
            _value(content[section][field]) if field in content.get(section, {}) else ""
            for content in said.values()
        )
        + " |"
        for section, field in fields
    ]
    head = "| field | " + " | ".join(f"`{name}`" for name in said) + " |"
    lines = ["## The recipes in the package", "", *told, ""]
    lines += ["What they say; where a cell is empty, the default holds.", ""]
    return "\n".join([*lines, head, "|---" * (len(said) + 1) + "|", *rows]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
