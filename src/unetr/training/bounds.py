"""What the values of a recipe may be, and which one is not, in words."""

import re
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, Field, ValidationError

T = TypeVar("T")

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
NotNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Voxels = Count
Seed = Annotated[int, Field(ge=0, le=10**9)]
Axis = Literal[0, 1, 2]


def _rising(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError(f"{pair[0]:g} is above {pair[1]:g}; the smaller one comes first")
    return pair


def _below(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] >= pair[1]:
        raise ValueError(f"{pair[0]:g} is not below {pair[1]:g}")
    return pair


def _distinct(axes: tuple[T, ...]) -> tuple[T, ...]:
    if len(set(axes)) < len(axes):
        raise ValueError("an axis is named twice")
    return axes


def _directions(orientation: str) -> str:
    # Spacing, patch and mirror axes are planned along x, y and z of the patient.
    if not re.fullmatch("[LR][AP][IS]", orientation):
        raise ValueError(
            f"{orientation} is not L or R, then A or P, then I or S: axes may be turned round, "
            "but keep their order"
        )
    return orientation


Window = Annotated[
    tuple[
        Annotated[float, Field(allow_inf_nan=False)], Annotated[float, Field(allow_inf_nan=False)]
    ],
    AfterValidator(_below),
]
PositiveRange = Annotated[tuple[Positive, Positive], AfterValidator(_rising)]
Axes = Annotated[tuple[Axis, ...], AfterValidator(_distinct)]
Orientation = Annotated[str, AfterValidator(_directions)]


def first_fault(error: ValidationError) -> tuple[str, str]:
    """The field of the first value that does not fit, and why; no field where several together do
    not. Where a field takes several kinds of values, why it is none of them."""
    faults = error.errors()
    key = _field(faults[0]["loc"])
    why = [
        each["msg"].removeprefix("Value error, ") for each in faults if _field(each["loc"]) == key
    ]
    return key, " or ".join(dict.fromkeys(why))


def _field(place: tuple[int | str, ...]) -> str:
    """Without the kind of value that was tried, such as `constrained-float`, which is no field."""
    return ".".join(str(part) for part in place if isinstance(part, int) or part.isidentifier())
