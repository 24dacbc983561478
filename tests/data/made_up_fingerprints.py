"""Fingerprints of data sets that are not there, one property at a time."""

from pathlib import Path
from typing import Any

from unetr.data.dataset import Case, Dataset
from unetr.data.fingerprint import (
    ChannelStatistics,
    CropStatistics,
    Fingerprint,
    LabelStatistics,
    Spread,
)
from unetr.data.plan import Label, Plan, Region
from unetr.data.planning import make_plan

Triple = tuple[float, float, float]


def spread(values: Triple) -> Spread:
    return Spread(minimum=values, median=values, maximum=values)


def channel(**changes: Any) -> ChannelStatistics:
    usual: dict[str, Any] = {
        "name": "T1",
        "modality": "MR",
        "modality_reason": "by the channel's name",
        "minimum": 0.0,
        "maximum": 900.0,
        "mean": 300.0,
        "std": 50.0,
        "percentile_00_5": 20.0,
        "percentile_05": 90.0,
        "percentile_95": 500.0,
        "percentile_99_5": 600.0,
        "zero_fraction": 0.01,
    }
    return ChannelStatistics(**{**usual, **changes})


def crop(kind: str = "nonzero", **changes: Any) -> CropStatistics:
    usual: dict[str, Any] = {
        "kind": kind,
        "threshold": None,
        "kept": 0.4,
        "extent_mm": (100.0, 110.0, 120.0),
        "holds_labels": True,
    }
    return CropStatistics(**{**usual, **changes})


def label(
    id: int = 1,
    name: str = "organ",
    median_ml: float = 100.0,
    cases: int = 9,
    least_largest_part: float = 0.5,
) -> LabelStatistics:
    return LabelStatistics(
        id=id,
        name=name,
        cases=cases,
        voxel_fraction=0.01,
        median_ml=median_ml,
        least_largest_part=least_largest_part,
    )


def prints(
    spacing: Triple = (1.0, 1.0, 1.0), extent: Triple = (90.0, 90.0, 90.0), **changes: Any
) -> Fingerprint:
    size = tuple(e / s for e, s in zip(extent, spacing, strict=True))
    usual: dict[str, Any] = {
        "cases": 9,
        "digest": "0",
        "orientations": {"RAS": 9},
        "size_voxels": spread((size[0], size[1], size[2])),
        "spacing_mm": spread(spacing),
        "spacing_10th_mm": spacing,
        "extent_mm": spread(extent),
        "foreground_mm": spread((50.0, 50.0, 50.0)),
        "channels": (channel(),),
        "labels": (label(),),
        "mirror_twins": (),
        "crops": (),
    }
    return Fingerprint(**{**usual, **changes})


def planned(found: Fingerprint, regions: tuple[Region, ...] = (), **options: Any) -> Plan:
    labels = (Label(id=0, name="background"), *(Label(id=x.id, name=x.name) for x in found.labels))
    names = tuple(each.name for each in found.channels)
    dataset = Dataset(Path("set"), "folders", names, labels, regions, (Case("a", (Path("a"),)),))
    return make_plan(dataset, found, **options)
