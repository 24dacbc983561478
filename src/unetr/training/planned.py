"""The plan of a run: the data set's, with what the recipe sets."""

from dataclasses import replace
from typing import Any, Literal

from pydantic import ValidationError

from unetr.checkpoint.model import Model
from unetr.data.cases import Dataset
from unetr.data.fingerprint import Fingerprint
from unetr.data.plan import Normalisation, Plan
from unetr.data.planning import make_plan
from unetr.data.regions import brain_tumour_regions, with_recognised_regions
from unetr.data.resolution import choose_tokens
from unetr.errors import InputError
from unetr.training.bounds import first_fault
from unetr.training.recipe import Data, Recipe
from unetr.training.sizes import fit_plan, patch_limit

PLANNED = (
    "spacing_mm",
    "patch_voxels",
    "token_voxels",
    "orientation",
    "crop",
    "image_order",
    "overlap",
    "blend",
    "mirror_axes",
)
# Chosen on three cases of an abdominal MR data set: 0.2 cost them nothing that could be told from
# chance, 0.5 did.
_STRUCTURE_P = 0.2
# Not measured: a boundary between data sets of a dozen scans and of hundreds.
_FEW_CASES = 50


def with_regions(dataset: Dataset, recipe: Recipe, model: Model | None) -> tuple[Dataset, str]:
    """The data set with the regions that the recipe finds in it, and why `auto` finds them.

    Args:
        model: That training begins with; where it learnt labels, `auto` goes on with them.

    Raises:
        InputError: the recipe asks for regions that the labels' names do not tell.
    """
    wanted = recipe.data.regions
    if dataset.regions or wanted == "data-set":
        return dataset, ""
    if wanted == "brain-tumour":
        return replace(dataset, regions=brain_tumour_regions(dataset.labels)), ""
    if model is not None and not model.plan.regions:
        return dataset, ""
    return with_recognised_regions(dataset)


def plan_run(
    dataset: Dataset,
    fingerprint: Fingerprint,
    recipe: Recipe,
    device_type: str,
    memory_gb: float,
) -> Plan:
    """Plans from the fingerprint, then lets the recipe overrule.

    Args:
        fingerprint: Of all labelled cases, whatever the fold: models of an ensemble must share
            their plan.
        memory_gb: For a training step.

    Raises:
        InputError: what the recipe sets does not go together, or not with the data set.
    """
    data = recipe.data
    plan = make_plan(
        dataset,
        fingerprint,
        memory_gb=memory_gb,
        batch=recipe.training.batch or 2,
        patch_limit_voxels=patch_limit(data.patch_limit_voxels, device_type),
        spacing_mm=data.spacing_mm,
    )
    changes: dict[str, Any] = {
        name: value for name in PLANNED if (value := getattr(data, name)) is not None
    }
    if data.normalisation != "plan":
        changes["normalisation"] = normalisations(data, fingerprint)
    told = dict.fromkeys(changes, f"the recipe {recipe.name} says so")
    if data.patch_voxels is not None and data.token_voxels is None:
        changes["token_voxels"] = tuple(choose_tokens(data.patch_voxels, plan.spacing_mm))
        told["token_voxels"] = "as many as the recipe's patch has room for"
    changed = plan.model_dump() | changes | {"reasons": plan.reasons | told}
    try:
        overruled = Plan.model_validate(changed)
    except ValidationError as error:
        field, reason = first_fault(error)
        raise InputError(
            f"recipe {recipe.name}: data{f'.{field}' if field else ''}: {reason}; correct its value"
        ) from None
    return fit_plan(overruled, recipe.network)


def structure_probability(asked: float | Literal["plan"], plan: Plan, cases: int) -> float:
    """How often a patch shows structures darker or brighter than they are.

    Among few cases there may be none with the disease that the next one has, and a network learns
    to know an organ by its brightness. Tissues and lesions, which come in many pieces, are known by
    little else.

    Args:
        cases: That the plan is of.
    """
    if asked != "plan":
        return asked
    whole = {rule.label for rule in plan.postprocessing if rule.largest_component}
    organs = not plan.regions and whole >= {label.id for label in plan.labels if label.id}
    return _STRUCTURE_P if organs and cases < _FEW_CASES and not plan.calibrated else 0.0


def normalisations(data: Data, fingerprint: Fingerprint) -> tuple[Normalisation, ...]:
    """What the recipe's word for the normalisation means on this data set, per channel.

    Raises:
        InputError: the foreground of a channel has nothing to normalise by.
    """
    found = []
    for channel in fingerprint.channels:
        if data.normalisation == "window":
            low, high = data.window_hu
            found.append(Normalisation(kind="range", low=low, high=high))
        elif data.normalisation == "foreground":
            low, high = channel.percentile_05, channel.percentile_95
            if low >= high:
                raise InputError(
                    f"data.normalisation foreground: channel {channel.name} is {low:g} from the "
                    "5th to the 95th percentile of the foreground; take plan or zscore"
                )
            found.append(Normalisation(kind="range", low=low, high=high))
        else:
            over: Any = "nonzero" if data.normalisation == "zscore-nonzero" else "all"
            found.append(Normalisation(kind="zscore", over=over))
    return tuple(found)
