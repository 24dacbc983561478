"""What a run decided when it began, and what may change when it is continued."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch

from unetr.checkpoint.header import read_header
from unetr.checkpoint.networks import build_network
from unetr.errors import InputError
from unetr.training.fixed import SECTIONS, fixed_digest, is_fixed
from unetr.training.folder import Manifest, read_manifest, read_recipe
from unetr.training.history import read_history
from unetr.training.order import Order, Prepared, ended, open_for_training
from unetr.training.precision import check_precision
from unetr.training.recipe import Recipe
from unetr.training.recipe_toml import load_recipe, recipe_names


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
        if began.get(key) != value or not is_fixed(key)
    ]
    recipe = ended(read_recipe(order.run, settings), order)
    named = [f"name={given['name']}"] if "name" in given else []
    if order.recipe and load_recipe(order.recipe, named).name != before.name:
        raise InputError(f"--recipe {order.recipe}: the run goes by {before.name}; leave it out")
    _check_origin(order, manifest)
    if order.init is not None:
        # The same model, wherever it lies by now.
        manifest = manifest.model_copy(update={"init": order.origin})
    if order.fold is not None and order.fold != (manifest.fold or 0):
        raise InputError(f"--fold {order.fold}: the run is of fold {manifest.fold or 0}")
    for section in SECTIONS:
        then, now_ = (getattr(each, section).model_dump() for each in (before, recipe))
        for key, value in now_.items():
            if is_fixed(f"{section}.{key}") and then[key] != value:
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
    minutes = recipe.training.max_minutes
    if minutes is not None and minutes != before.training.max_minutes:
        _check_minutes_left(order.run, minutes)
    _tell_of_ends(order, recipe)
    extended = any(
        getattr(recipe.training, end) != getattr(before.training, end)
        for end in ("max_steps", "max_minutes")
    )
    return Prepared(manifest, recipe, extended)


def _tell_of_ends(order: Order, recipe: Recipe) -> None:
    """Warns where a recipe file has another end than the run: on the way only options change it."""
    if not order.recipe or order.recipe in recipe_names():
        return
    if _values(order.all_settings).keys() & {"training.max_steps", "training.max_minutes"}:
        return
    file = load_recipe(order.recipe, []).training
    for end, option in (("max_steps", "--max-steps"), ("max_minutes", "--max-minutes")):
        there, here = getattr(file, end), getattr(recipe.training, end)
        if there is not None and here is not None and there != here:
            warnings.warn(
                f"{order.recipe} has training.{end} = {there}, but the run goes on with {here}; "
                f"{option} changes that",
                UserWarning,
                stacklevel=2,
            )


def _check_minutes_left(run: Path, minutes: float) -> None:
    """Raises InputError where the new end lies behind: it would stop the run in its middle."""
    spent = max((line["seconds"] for line in read_history(run) if "seconds" in line), default=0)
    if spent >= 60 * minutes:
        raise InputError(
            f"--max-minutes {minutes:g}: counts from the run's beginning, and {run} has taken "
            f"{spent / 60:.1f} minutes already; give more than that, or --max-steps"
        )


def check_device(manifest: Manifest, device: torch.device) -> None:
    """Whether what began on one device can go on upon another.

    Raises:
        InputError: that one cannot train in the run's precision.
    """
    elsewhere = manifest.device.partition(":")[0] != device.type
    cure = f"resume the run on {manifest.device}" if elsewhere else "start another run"
    network = build_network(manifest.network, manifest.config)
    check_precision(manifest.precision, network, manifest.plan, device, cure)


def _check_origin(order: Order, manifest: Manifest) -> None:
    """Raises InputError for another recipe file or initial model than the run began with."""
    if order.recipe and order.recipe not in recipe_names():
        own = Path(order.recipe).resolve() == (order.run / "recipe.toml").resolve()
        given = fixed_digest(load_recipe(order.recipe, manifest.settings))
        if not own and manifest.recipe_digest not in (None, given):
            raise InputError(
                f"--recipe {order.recipe}: was changed since the run began, which goes on by what "
                "it was then; restore it, or start another run"
            )
    if order.init is None:
        return
    begun = manifest.init or "new weights"
    if manifest.init is None or manifest.init_header not in (None, read_header(order.init).digest):
        raise InputError(
            f"--init {order.init}: the run began with {begun}, as it was then; leave --init out, "
            "or start another run"
        )


def _values(settings: Sequence[str]) -> dict[str, str]:
    """By field; of those given more than once the last one counts."""
    pairs = (setting.partition("=") for setting in settings)
    return {key.strip(): value.strip() for key, _, value in pairs}
