"""Recipes as TOML files: read, with single fields overruled, and written."""

import difflib
import tomllib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from unetr.errors import InputError
from unetr.training import bounds
from unetr.training.recipe import Recipe


def recipe_names() -> list[str]:
    """The recipes in the package."""
    files = resources.files("unetr.training.recipes").iterdir()
    return sorted(file.name[:-5] for file in files if file.name.endswith(".toml"))


def load_recipe(name: str | Path, settings: Sequence[str] = ()) -> Recipe:
    """A recipe of the package by its name, or a TOML file, with single fields overruled.

    Args:
        name: Such as `btcv`, or a path that ends in .toml.
        settings: Such as `training.lr=3e-4`; values as in TOML, bare words are strings.

    Raises:
        InputError: no such recipe, or a field that recipes do not have (near ones are named), or
            a value that does not fit.
    """
    content = _read(name)
    for setting in settings:
        _overrule(content, setting)
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        key, reason = bounds.first_fault(error)
        if error.errors()[0]["type"] == "extra_forbidden":
            raise InputError(f"recipe {name}: {_unknown(key)}") from None
        raise InputError(f"recipe {name}: {key}: {reason}; correct its value") from None


def _read(name: str | Path) -> dict[str, Any]:
    if str(name) in recipe_names():
        text = resources.files("unetr.training.recipes").joinpath(f"{name}.toml").read_text()
    elif str(name).endswith(".toml"):
        try:
            text = Path(name).read_text(encoding="utf-8-sig")
        except UnicodeDecodeError:
            raise InputError(f"{name}: is not UTF-8; save it in that encoding") from None
        except OSError as error:
            raise InputError(f"{name}: cannot be read ({error.strerror or error})") from None
    else:
        raise InputError(
            f"recipe {name!r} is not known; known are {', '.join(recipe_names())}, "
            "or give a .toml file"
        )
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{name}: not TOML: {error}") from None


def _overrule(content: dict[str, Any], setting: str) -> None:
    key, equals, text = setting.partition("=")
    key = key.strip()
    if not equals:
        raise InputError(f"--set {setting}: give it as section.key=value")
    if key not in known_keys():
        raise InputError(f"--set {setting}: {_unknown(key)}")
    try:
        value = tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    section, _, field = key.rpartition(".")
    table = content.setdefault(section, {}) if section else content
    if isinstance(table, dict):  # What is none is refused as a whole.
        table[field] = value


def known_keys() -> list[str]:
    """All fields of a recipe as `section.key`."""
    keys = ["name"]
    for section, info in Recipe.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            keys += [f"{section}.{field}" for field in kind.model_fields]
    return keys


def _unknown(key: str) -> str:
    """Names the fields that look most like `key`, by its last part or as a whole."""
    known = known_keys()
    last = key.rpartition(".")[2]
    ends = {name.rpartition(".")[2]: name for name in known}
    near = [ends[end] for end in difflib.get_close_matches(last, ends, n=2, cutoff=0.6)]
    near += [name for name in difflib.get_close_matches(key, known, n=3) if name not in near]
    cure = f"near are {', '.join(near[:3])}" if near else f"fields are {', '.join(known)}"
    return f"there is no field {key!r}; {cure}"


def to_toml(recipe: Recipe) -> str:
    """The recipe as TOML; fields that are left open are left out, as TOML has no null."""
    lines: list[str] = [f"name = {_toml(recipe.name)}"]
    for section, content in recipe.model_dump(mode="json", exclude_none=True).items():
        if isinstance(content, dict):
            lines += ["", f"[{section}]"]
            lines += [f"{key} = {_toml(value)}" for key, value in content.items()]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, list):
        return "[" + ", ".join(_toml(each) for each in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {_toml(v)}" for k, v in value.items()) + "}"
    return repr(value)
