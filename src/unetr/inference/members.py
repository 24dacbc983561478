"""Whether the members of an ensemble belong together."""

import warnings
from collections.abc import Sequence

from unetr.checkpoint.model import Model
from unetr.data.plan import Plan
from unetr.errors import InputError
from unetr.inference.exported import Exported

# What decides the network's grid and what its outputs mean.
_SHARED = (
    "channels",
    "labels",
    "regions",
    "orientation",
    "spacing_mm",
    "patch_voxels",
    "crop",
    "normalisation",
    "image_order",
)


def shared_plan(members: Sequence[Model | Exported]) -> Plan:
    """The plan of the members, in whatever order: they agree on what their outputs mean.

    Mirrored along axes and post-processed by rules that all of them allow; windows overlap as the
    one asks for that wants most.

    Raises:
        InputError: no member, or members that do not belong together.
    """
    if not members:
        raise InputError("no model is given; name at least one")
    first = members[0]
    for other in members[1:]:
        for name in _SHARED:
            here = getattr(first.header.plan, name)
            there = getattr(other.header.plan, name)
            if here != there:
                raise InputError(
                    f"{other.source}: {name} {_brief(there)} differs from {_brief(here)} of "
                    f"{first.source}; models of an ensemble must share it"
                )
    plans = [member.header.plan for member in members]
    axes = set.intersection(*(set(plan.mirror_axes) for plan in plans))
    first_rules = plans[0].postprocessing
    rules = tuple(r for r in first_rules if all(r in plan.postprocessing for plan in plans))
    if any(set(plan.postprocessing) != set(rules) for plan in plans):
        warnings.warn(
            f"the models were validated with different post-processing; applied is what all have "
            f"in common, {len(rules)} of their rules",
            UserWarning,
            stacklevel=2,
        )
    return plans[0].model_copy(
        update={
            "mirror_axes": tuple(axis for axis in plans[0].mirror_axes if axis in axes),
            "postprocessing": rules,
            "overlap": max(plan.overlap for plan in plans),
        }
    )


def _brief(value: object) -> str:
    if isinstance(value, tuple) and value and hasattr(value[0], "name"):
        value = [one.name for one in value]
    return str(value)[:80]
