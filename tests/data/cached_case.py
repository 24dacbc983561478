"""A plan to preprocess by, and how often it is done."""

from typing import Any

import pytest

from unetr.data import cache as cache_module
from unetr.data.placement import Placement
from unetr.data.plan import Label, Normalisation, Plan
from unetr.image import Volume

PLAN = Plan(
    channels=("CT",),
    labels=(Label(id=0, name="background"), Label(id=2, name="liver"), Label(id=7, name="spleen")),
    spacing_mm=(2.0, 2.0, 2.0),
    patch_voxels=(8, 8, 8),
    normalisation=(Normalisation(kind="zscore"),),
)


def count_made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    made: list[str] = []
    real = cache_module.preprocess

    def counting(plan: Plan, volume: Volume, placement: Placement) -> Any:
        made.append(volume.source)
        return real(plan, volume, placement)

    monkeypatch.setattr(cache_module, "preprocess", counting)
    return made
