"""What is decided before the first step: split, plan, network, batch and precision."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from unetr.checkpoint.model import Model, load_model
from unetr.checkpoint.networks import build_network
from unetr.checkpoint.provenance import now, versions
from unetr.data.cases import Dataset
from unetr.data.fingerprint import Fingerprint, fingerprint
from unetr.data.plan import Plan
from unetr.data.resolution import COARSENED
from unetr.errors import InputError
from unetr.files import check_writable
from unetr.machine import GB, available_gb
from unetr.training.crossvalidation import check_end, check_together
from unetr.training.fixed import fixed_digest
from unetr.training.folder import Manifest, command, read_manifest, read_recipe
from unetr.training.folds import split_cases
from unetr.training.history import check_tensorboard
from unetr.training.initialise import inherited_network, inherited_plan
from unetr.training.order import Order, Prepared, open_for_training, resolve
from unetr.training.planned import PLANNED, plan_run, structure_probability, with_regions
from unetr.training.precision import choose_precision
from unetr.training.progress import Watcher
from unetr.training.ready import prepare
from unetr.training.recipe import Recipe, changed
from unetr.training.sizes import batch_size, learning_rate, network_config

_MEMORY_SHARE = 0.6


def decide(order: Order, device: torch.device, world: int, watcher: Watcher) -> Prepared:
    """Decides everything for a new run.

    The plan is of all labelled cases, as nnU-Net's is, so that the folds of a data set share it and
    their models can be averaged. Weights are learnt from the training cases alone.

    Raises:
        InputError: too few cases, a case that cannot be read, a recipe that does not fit.
    """
    recipe = resolve(order)
    dataset = open_for_training(order)
    if order.cache is not None:
        check_writable(order.cache, "--cache")
    if order.tensorboard:
        check_tensorboard()
    model = load_model(order.init) if order.init else None
    dataset, why_regions = with_regions(dataset, recipe, model)
    if why_regions:
        watcher.say(f"note: {why_regions}; --set data.regions=data-set learns the labels instead")
    for defect in dataset.defects:
        watcher.say(f"warning: {defect}")
    split = split_cases([case.name for case in dataset.cases], order.fold or 0)
    if split.note:
        watcher.say(f"note: {split.note}")
    plan, found = _planned(order, recipe, dataset, device, watcher)
    if why_regions:
        plan = plan.model_copy(update={"reasons": plan.reasons | {"regions": why_regions}})
    if model is not None:
        plan = inherited_plan(plan, model)
    why = plan.reasons.get("spacing_mm", "")
    if COARSENED in why and order.together is None:
        watcher.say(f"note: the spacing is {why}; --set data.spacing_mm=... takes another one")
    network, name, config, left = new_network(recipe, plan, device, model)
    for line in left:
        watcher.say(f"note: {line}")
    prepare(network.to(device), compiled=False).train()
    precision, reason = choose_precision(recipe.training.precision, network, plan, device)
    manifest = Manifest(
        status="started",
        command=command(),
        settings=order.all_settings,
        dataset=str(dataset.root.resolve()),
        fold=order.fold,
        train=[dataset.cases[i].name for i in split.train],
        validation=[dataset.cases[i].name for i in split.validation],
        plan=plan,
        network=name,
        config=config,
        precision=precision,
        precision_reason=reason,
        device=str(device),
        processes=world,
        threads=torch.get_num_threads(),
        fingerprint=found.digest,
        label_digest=found.label_digest,
        init=order.origin,
        init_header=model.header.digest if model is not None else None,
        recipe_digest=fixed_digest(recipe),
        notes=[split.note] * bool(split.note),
        versions=versions(),
        started=now(),
        licence=dataset.licence,
    )
    resolved = _resolved(recipe, manifest, batch_size(recipe.training.batch, world), watcher)
    if order.together is not None:
        check_together(order.run, manifest, resolved, order.together)
        check_end(order.run, resolved.training, read_recipe(order.together, []).training)
    return Prepared(manifest, resolved)


def _planned(
    order: Order, recipe: Recipe, dataset: Dataset, device: torch.device, watcher: Watcher
) -> tuple[Plan, Fingerprint]:
    """The plan, and the fingerprint that it comes from."""
    done = 0

    def on_case(_name: str) -> None:
        nonlocal done
        done += 1
        watcher.preparing("taking the fingerprint", done, len(dataset.cases))

    found = fingerprint(dataset, on_case)
    plan = plan_run(dataset, found, recipe, device.type, step_memory_gb(device))
    if order.together is not None:
        # Whatever memory is free by now: models of one plan can be averaged.
        plan = read_manifest(order.together).plan
    return plan, found


def _resolved(recipe: Recipe, manifest: Manifest, batch: int, watcher: Watcher) -> Recipe:
    """The recipe with all that was chosen, for recipe.toml and for the loop."""
    asked = recipe.augmentation.structure_p
    cases = len({*manifest.train, *manifest.validation})
    often = structure_probability(asked, manifest.plan, cases)
    if often and asked == "plan":
        watcher.say(
            f"note: few cases, structures in one piece: augmentation.structure_p is {often:g}; "
            "--set augmentation.structure_p=0 leaves them as bright as they are"
        )
    rate = learning_rate(recipe.training.lr, manifest.config)
    chosen = {"lr": rate, "batch": batch, "precision": manifest.precision}
    resolved = changed(recipe, "training", chosen)
    resolved = changed(resolved, "augmentation", {"structure_p": often})
    return _filled(resolved, manifest.plan, manifest.network, manifest.config)


def new_network(
    recipe: Recipe, plan: Plan, device: torch.device, model: Model | None
) -> tuple[nn.Module, str, dict[str, Any], Sequence[str]]:
    """A network, its name and arguments, and what of `model`'s weights it did not take over."""
    if model is not None:
        modern = model.header.network.config.get("block") == "modern"
        if recipe.network.name not in ("unetr", model.name, *(["unetr-modern"] * modern)):
            raise InputError(
                f"network.name {recipe.network.name}: {model.source} is a {model.name}; leave "
                "--network or the recipe's field out"
            )
        network, config, left = inherited_network(model, plan)
        return network, model.name, config, left
    name, config = network_config(recipe.network, plan, device.type)
    return build_network(name, config), name, config, ()


def initial_network(manifest: Manifest, seed: int, resumed: bool) -> nn.Module:
    """The run's network with the weights of its first step, drawn from the seed or taken from the
    model that it begins with; a resumed run will put its own in their place."""
    torch.manual_seed(seed)
    if manifest.init and not resumed:
        model = load_model(manifest.init)
        if manifest.init_header not in (None, model.header.digest):
            raise InputError(
                f"{manifest.init}: is not what it was when the run began with it; restore it, or "
                "start another run"
            )
        return inherited_network(model, manifest.plan)[0]
    return build_network(manifest.network, manifest.config)


def step_memory_gb(device: torch.device) -> float:
    """Memory that a training step may take, beside cases and cache."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0]) / GB * 0.9
    return available_gb() * _MEMORY_SHARE


def _filled(recipe: Recipe, plan: Plan, name: str, config: dict[str, Any]) -> Recipe:
    """The recipe with what was left open, so that recipe.toml is the resolved whole."""
    data = {field: getattr(plan, field) for field in PLANNED}
    if recipe.data.regions == "auto":
        data["regions"] = "brain-tumour" if "regions" in plan.reasons else "data-set"
    network = {key: config[key] for key in type(recipe.network).model_fields if key in config}
    network["name"] = "unetr-modern" if config.get("block") == "modern" else name
    return changed(changed(recipe, "data", data), "network", network)
