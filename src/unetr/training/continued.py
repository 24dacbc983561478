"""What a run decided when it began, and what may change when it is continued."""

from collections.abc import Sequence
from pathlib import Path

from unetr.errors import InputError
from unetr.training.folder import read_manifest, read_recipe
from unetr.training.order import Order, Prepared, ended, open_for_training
from unetr.training.recipe_toml import file_digest, load_recipe

# Of what a recipe says, this is as it was when the run began, but for what may change.
_FIXED = ("data", "network", "sampling", "augmentation", "loss", "training")
_MAY_CHANGE = ("max_steps", "max_minutes", "log_steps", "save_steps", "save_minutes")


def continued(order: Order) -> Prepared:
    """What a run decided when it began, with another end if the order gives one.

    Raises:
        InputError: the order differs in what cannot be changed on the way.
    """
    manifest = read_manifest(order.run)
    before = read_recipe(order.run, [])
    # What it began with was resolved then, `auto` to what it stood for; it is no change now.
    began, given = _values(manifest.settings), _values(order.all_settings)
    settings = [
        f"{key}={value}"
        for key, value in given.items()
        if began.get(key) != value or not _is_fixed(key)
    ]
    recipe = ended(read_recipe(order.run, settings), order)
    named = [f"name={given['name']}"] if "name" in given else []
    if order.recipe and load_recipe(order.recipe, named).name != before.name:
        raise InputError(f"--recipe {order.recipe}: the run goes by {before.name}; leave it out")
    if order.recipe and manifest.recipe_file not in ("", file_digest(order.recipe)):
        raise InputError(
            f"--recipe {order.recipe}: was changed since the run began, which goes on by what it "
            "was then; leave it out, or start another run"
        )
    if order.init is not None and not _same_file(order.init, manifest.init):
        raise InputError(
            f"--init {order.init}: the run began with {manifest.init or 'new weights'}; leave it "
            "out, or start another run"
        )
    if order.fold is not None and order.fold != (manifest.fold or 0):
        raise InputError(f"--fold {order.fold}: the run is of fold {manifest.fold or 0}")
    for section in _FIXED:
        then, now_ = (getattr(each, section).model_dump() for each in (before, recipe))
        for key, value in now_.items():
            if _is_fixed(f"{section}.{key}") and then[key] != value:
                raise InputError(
                    f"--set {section}.{key}: the run has {then[key]}, which cannot be changed on "
                    "the way; leave it out or start another run"
                )
    dataset = open_for_training(order)
    missing = {*manifest.train, *manifest.validation} - {case.name for case in dataset.cases}
    if missing:
        raise InputError(
            f"{dataset.root}: cases {', '.join(sorted(missing)[:5])} of the run are not there; "
            "give the data set that it began with"
        )
    return Prepared(manifest, recipe, extended=recipe.training != before.training)


def _same_file(given: Path, begun: str | None) -> bool:
    return begun is not None and given.resolve() == Path(begun).resolve()


def _values(settings: Sequence[str]) -> dict[str, str]:
    """By field; of those given more than once the last one counts."""
    pairs = (setting.partition("=") for setting in settings)
    return {key.strip(): value.strip() for key, _, value in pairs}


def _is_fixed(key: str) -> bool:
    """Whether the field may not change when a run is continued."""
    section, _, field = key.partition(".")
    return section in _FIXED and field not in _MAY_CHANGE
