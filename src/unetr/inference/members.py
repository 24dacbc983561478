"""Whether the members of an ensemble belong together."""

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
    """The plan of the first member, which the others agree with in all that prediction uses."""
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
    return first.header.plan


def _brief(value: object) -> str:
    if isinstance(value, tuple) and value and hasattr(value[0], "name"):
        value = [one.name for one in value]
    return str(value)[:80]
