"""A recipe as a TOML file."""

from typing import Any

from unetr.training.recipe import Recipe


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
