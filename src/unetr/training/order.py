"""What was asked of a training, and what it came to."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unetr.data.cases import Dataset
from unetr.data.dataset import open_dataset
from unetr.errors import InputError
from unetr.files import check_text
from unetr.training.folder import Manifest
from unetr.training.recipe import Recipe, changed
from unetr.training.recipe_toml import load_recipe


@dataclass(frozen=True)
class Order:
    """What was asked for.

    Attributes:
        recipe: None is `auto`, or the recipe of the run that is resumed.
        settings: As `--set` takes them.
        fold: None is fold 0, called the fixed validation fifth.
        max_steps, max_minutes: Either one given replaces both of the recipe.
        began: When, by time.monotonic, the minutes began to count; None is when training is called.
        together: The run of fold 0, where this is another fold that one summary will tell of.
        cache: Where preprocessed cases are kept; None is within the run, until it is finished.
    """

    dataset: Path
    run: Path
    recipe: str | None = None
    settings: tuple[str, ...] = ()
    labels: Path | None = None
    fold: int | None = None
    network: str | None = None
    init: Path | None = None
    max_steps: int | None = None
    max_minutes: float | None = None
    seed: int | None = None
    device: str = "auto"
    resume: bool = False
    overwrite: bool = False
    began: float | None = None
    tensorboard: bool = False
    cache: Path | None = None
    together: Path | None = None

    @property
    def origin(self) -> str | None:
        """The model to begin with: a file, wherever the run is continued from, or a name."""
        if self.init is None:
            return None
        # A folder without a model may have the name of one that comes with the package.
        file = self.init / "model.safetensors" if self.init.is_dir() else self.init
        return str(self.init.resolve() if file.exists() else self.init)

    @property
    def all_settings(self) -> list[str]:
        """`settings` and the options that stand for some."""
        options: dict[str, object] = {"network.name": self.network, "training.seed": self.seed}
        options |= {
            "training.max_steps": self.max_steps,
            "training.max_minutes": self.max_minutes,
        }
        given = [f"{key}={value}" for key, value in options.items() if value is not None]
        return [*self.settings, *given]


@dataclass(frozen=True)
class Prepared:
    """A run that can begin or continue.

    Attributes:
        extended: It was given another end than it had.
    """

    manifest: Manifest
    recipe: Recipe
    extended: bool = False

    def provenance(self) -> dict[str, Any]:
        """What the model file says of where the model comes from."""
        manifest = self.manifest
        return {
            "dataset": Path(manifest.dataset).name,
            "licence": manifest.licence,
            "fingerprint": manifest.fingerprint,
            "fold": manifest.fold,
            "train": manifest.train,
            "validation": manifest.validation,
            "recipe": self.recipe.model_dump(mode="json", exclude_none=True),
            "precision": manifest.precision,
            "seed": self.recipe.training.seed,
            "init": manifest.init,
            "notes": manifest.notes,
            "versions": manifest.versions,
        }


def resolve(order: Order) -> Recipe:
    """The recipe with the order's changes.

    Raises:
        InputError: a recipe, field or value that is not known, or no end to the run.
    """
    recipe = ended(load_recipe(order.recipe or "auto", order.all_settings), order)
    if recipe.training.max_steps is None and recipe.training.max_minutes is None:
        raise InputError(f"recipe {recipe.name}: has no end; give --max-steps or --max-minutes")
    return recipe


def ended(recipe: Recipe, order: Order) -> Recipe:
    """An end given by the order replaces the recipe's, in steps and in minutes."""
    given = {setting.partition("=")[0].strip() for setting in order.all_settings}
    changes: dict[str, Any] = {}
    if "training.max_minutes" in given and "training.max_steps" not in given:
        changes["max_steps"] = None
    if "training.max_steps" in given and "training.max_minutes" not in given:
        changes["max_minutes"] = None
    return changed(recipe, "training", changes)


def open_for_training(order: Order) -> Dataset:
    """Opens the data set.

    Raises:
        InputError: it is none, or its names cannot be written down.
    """
    dataset = open_dataset(order.dataset, order.labels)
    for name in (str(dataset.root.resolve()), *(case.name for case in dataset.cases)):
        check_text(name)
    return dataset
