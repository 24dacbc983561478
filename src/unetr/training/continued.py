"""What a run decided when it began, and what may change when it is continued."""

from unetr.errors import InputError
from unetr.training.folder import read_manifest, read_recipe
from unetr.training.order import Order, Prepared, ended, open_for_training
from unetr.training.recipe_toml import load_recipe

# Of what a recipe says, these may be changed when a run is continued.
_MAY_CHANGE = ("max_steps", "max_minutes", "log_steps", "save_steps", "save_minutes")


def continued(order: Order) -> Prepared:
    """What a run decided when it began, with another end if the order gives one.

    Raises:
        InputError: the order differs in what cannot be changed on the way.
    """
    manifest = read_manifest(order.run)
    before = read_recipe(order.run, [])
    # What it began with was resolved then, `auto` to what it stood for; it is no change now.
    settings = [
        setting
        for setting in order.all_settings
        if setting not in manifest.settings or _field(setting) in _MAY_CHANGE
    ]
    recipe = ended(read_recipe(order.run, settings), order)
    if order.recipe and load_recipe(order.recipe).name != before.name:
        raise InputError(f"--recipe {order.recipe}: the run goes by {before.name}; leave it out")
    if order.fold is not None and order.fold != (manifest.fold or 0):
        raise InputError(f"--fold {order.fold}: the run is of fold {manifest.fold or 0}")
    for section in ("data", "network", "sampling", "augmentation", "loss", "training"):
        then, now_ = (getattr(each, section).model_dump() for each in (before, recipe))
        for key, value in now_.items():
            if key not in _MAY_CHANGE and then[key] != value:
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


def _field(setting: str) -> str:
    """`lr` of `training.lr=1e-3`."""
    return setting.partition("=")[0].strip().rpartition(".")[2]
