"""The run folder: what a run is, written once, so that it can be continued and understood."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from unetr.data.plan import Plan
from unetr.errors import InputError
from unetr.files import written_whole
from unetr.training.precision import Precision
from unetr.training.recipe import Recipe
from unetr.training.recipe_toml import load_recipe, to_toml

# What a run writes into its folder.
_OURS = (
    "cache",
    "curves.png",
    "history.jsonl",
    "last",
    "manifest.json",
    "model.safetensors",
    "recipe.toml",
    "tensorboard",
    "validation",
)
# What it leaves where it ends before there is a manifest.
_BEFORE_MANIFEST = ("cache", "recipe.toml")
# How names begin under which it writes before it renames.
_PART = ".part-"


class Manifest(BaseModel):
    """manifest.json: where the run comes from, and what was decided for it.

    Attributes:
        settings: As `--set` and the options that stand for some gave them when it began.
        fingerprint: Names the content of all labelled images, of whatever fold.
        label_digest: Names the content of all labels, and where they lie; None where it is not
            recorded.
        init: The model whose weights it began with.
        init_header: Names the content of that model; None where it is not recorded.
        recipe_digest: Names what may not change of the recipe; None where it is not recorded.
        licence: Of the data set, where it states one.
        notes: What a reader of the scores must know.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: Literal["started", "finished"]
    command: list[str]
    settings: list[str] = []
    dataset: str
    fold: int | None
    train: list[str]
    validation: list[str]
    plan: Plan
    network: str
    config: dict[str, Any]
    precision: Precision
    precision_reason: str
    device: str
    processes: int
    threads: int
    fingerprint: str
    label_digest: str | None = None
    init: str | None
    init_header: str | None = None
    recipe_digest: str | None = None
    notes: list[str]
    versions: dict[str, str]
    started: str
    finished: str | None = None
    scores: dict[str, Any] = {}
    licence: str = ""


def claim(run: Path, *, resume: bool, overwrite: bool) -> bool:
    """Makes sure that the folder may be written to: empty, or of a run to continue or replace.

    Removes nothing: `clear` does, once it is certain that a new run can begin.

    Args:
        overwrite: A whole run, or a model or scores that are there without one, may be lost.

    Returns:
        Whether there is a run to continue.

    Raises:
        InputError: it holds a run and neither is asked for, or something else.
    """
    if run.exists() and not run.is_dir():
        raise InputError(f"{run}: is a file; give another name with -o")
    held = _held(run)
    continues = resume and "manifest.json" in held
    if not continues:
        _refuse(run, held, overwrite)
    return continues


def clear(run: Path) -> None:
    """Empties the folder, which `claim` allowed."""
    for name in _held(run):
        remove(run / name)
    clear_parts(run)


def _held(run: Path) -> set[str]:
    """What lies in the folder, but for what is hidden: killed writers leave it half written, file
    managers such as .DS_Store."""
    names = {path.name for path in run.iterdir()} if run.exists() else set()
    return {name for name in names if not name.startswith(".")}


def clear_parts(run: Path) -> None:
    """Removes what killed writers left half written in the folder itself."""
    for part in run.glob(f"{_PART}*"):
        remove(part)


def _refuse(run: Path, held: set[str], overwrite: bool) -> None:
    """Raises InputError where something would be lost that nobody asked to lose."""
    if foreign := held - set(_OURS):
        raise InputError(
            f"{run}: holds {min(foreign)}, which no run wrote; give another name with -o"
        )
    if overwrite:
        return
    if "manifest.json" in held:
        raise InputError(
            f"{run}: holds a run; continue it with --resume or replace it with --overwrite"
        )
    if kept := held - set(_BEFORE_MANIFEST):
        raise InputError(
            f"{run}: holds {min(kept)}, but no run that could be continued; give another name "
            "with -o or replace it with --overwrite"
        )


def forget(run: Path) -> None:
    """Takes a run that has not trained yet out of its folder, so that it may be given again."""
    for name in ("manifest.json", *_BEFORE_MANIFEST):
        remove(run / name)


def remove(path: Path) -> None:
    """A file, a folder with all that is in it, or nothing."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def is_finished(run: Path) -> bool:
    """Whether a run was brought to its end there."""
    return (run / "manifest.json").exists() and read_manifest(run).status == "finished"


def write_manifest(run: Path, manifest: Manifest) -> None:
    """Writes manifest.json."""
    with written_whole(run / "manifest.json") as part:
        part.write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_manifest(run: Path) -> Manifest:
    """Reads manifest.json.

    Raises:
        InputError: not there, or not of this version.
    """
    path = run / "manifest.json"
    try:
        return Manifest.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, ValidationError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: not a manifest of this version ({reason})") from None


def write_recipe(run: Path, recipe: Recipe) -> None:
    """Writes recipe.toml, as resolved."""
    with written_whole(run / "recipe.toml") as part:
        part.write_text(to_toml(recipe), encoding="utf-8")


def read_recipe(run: Path, settings: list[str]) -> Recipe:
    """Reads recipe.toml; `settings` overrule single fields."""
    return load_recipe(run / "recipe.toml", settings)


def command() -> list[str]:
    """As typed."""
    return [Path(sys.argv[0]).name, *sys.argv[1:]]
