"""The fingerprint: a data set's sizes, spacings, intensities and structures in a few numbers."""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from unetr.data.cases import Case, Dataset
from unetr.data.dataset import read_case
from unetr.data.facts import AIR_HU, READERS, Box, CaseFacts, Triple, measure
from unetr.data.mirror import mirror_twins
from unetr.data.names import refuse_unnamed
from unetr.errors import InputError

Modality = Literal["CT", "MR"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Spread(_Strict):
    """Per patient axis (x, y, z), over the cases."""

    minimum: Triple
    median: Triple
    maximum: Triple


class ChannelStatistics(_Strict):
    """One channel's intensities.

    Attributes:
        modality: CT where intensities are Hounsfield units, MR for everything else.
        modality_reason: How that was decided.
        minimum, maximum: Over whole scans.
        mean, std, percentile_*: Inside the labelled foreground.
        zero_fraction: Median share of voxels that are exactly 0.
    """

    name: str
    modality: Modality
    modality_reason: str
    minimum: float
    maximum: float
    mean: float
    std: float
    percentile_00_5: float
    percentile_05: float
    percentile_95: float
    percentile_99_5: float
    zero_fraction: float


class LabelStatistics(_Strict):
    """One structure: cases that have it, share of all voxels, median volume where present.

    Attributes:
        least_largest_part: Lowest share of its voxels, over the cases, that lie in one piece.
    """

    id: int
    name: str
    cases: int
    voxel_fraction: float
    median_ml: float
    least_largest_part: float


class CropStatistics(_Strict):
    """A crop rule that could be used: what it keeps, and whether it cuts no label anywhere."""

    kind: Literal["nonzero", "above"]
    threshold: float | None
    kept: float
    extent_mm: Triple
    holds_labels: bool


class Fingerprint(_Strict):
    """See the module.

    Attributes:
        spacing_10th_mm: 10th percentile of the spacing per axis (fine cases of a mixed set).
        extent_mm: Size of the scans; `foreground_mm` that of the box around all labels.
        mirror_twins: Pairs of label ids that a left-right flip would exchange.
        digest: Names the content of all images.
        label_digest: Names the content of all labels, and where they lie.
    """

    cases: int
    digest: str
    label_digest: str = ""
    orientations: dict[str, int]
    size_voxels: Spread
    spacing_mm: Spread
    spacing_10th_mm: Triple
    extent_mm: Spread
    foreground_mm: Spread
    channels: tuple[ChannelStatistics, ...]
    labels: tuple[LabelStatistics, ...]
    mirror_twins: tuple[tuple[int, int], ...]
    crops: tuple[CropStatistics, ...]


def fingerprint(dataset: Dataset, on_case: Callable[[str], None] | None = None) -> Fingerprint:
    """Reads every labelled case once and takes the data set's fingerprint.

    Args:
        dataset: A sound data set; `unetr inspect` says whether it is.
        on_case: Called with the name of each case when it is done.

    Raises:
        InputError: a case cannot be read, or image and labels do not fit.
    """

    def facts_of(case: Case) -> CaseFacts:
        image, label = read_case(dataset, case)
        if label is None:
            raise InputError(f"{case.images[0]}: no label; a fingerprint needs labelled cases")
        found = measure(case.name, image, label)
        # In a validation case they would be taken for background.
        refuse_unnamed(label.source, {*found.labels}, {each.id for each in dataset.labels})
        return found

    facts = []
    pool = ThreadPoolExecutor(READERS)
    try:
        for found in pool.map(facts_of, dataset.cases):
            facts.append(found)
            if on_case:
                on_case(found.name)
    finally:
        pool.shutdown(cancel_futures=True)
    return combine(dataset, facts)


def combine(dataset: Dataset, facts: Sequence[CaseFacts]) -> Fingerprint:
    """The fingerprint of measured cases.

    Raises:
        InputError: there is no case.
    """
    if not facts:
        raise InputError(f"{dataset.root}: no case could be measured; correct the defects first")
    spacings = np.array([case.spacing_mm for case in facts])
    by_name = sorted(facts, key=lambda case: case.name)
    return Fingerprint(
        cases=len(facts),
        digest=_together([case.digest for case in by_name]),
        label_digest=_together([case.label_digest for case in by_name]),
        orientations=dict(Counter(case.orientation for case in facts).most_common()),
        size_voxels=_spread([case.size_voxels for case in facts]),
        spacing_mm=_spread([case.spacing_mm for case in facts]),
        spacing_10th_mm=_triple(np.percentile(spacings, 10, axis=0)),
        extent_mm=_spread([case.extent_mm for case in facts]),
        foreground_mm=_spread([case.foreground_mm for case in facts]),
        channels=tuple(_channel(name, k, facts) for k, name in enumerate(dataset.channels)),
        labels=_labels(dataset, facts),
        mirror_twins=mirror_twins(dataset.labels, facts),
        crops=_crops(facts),
    )


def _together(digests: Sequence[str]) -> str:
    return hashlib.blake2b("".join(digests).encode(), digest_size=16).hexdigest()


def _triple(values: NDArray[np.float64]) -> Triple:
    x, y, z = (round(float(value), 6) for value in values)
    return x, y, z


def _spread(rows: Sequence[tuple[float | int, ...]]) -> Spread:
    table = np.array(rows, dtype=np.float64)
    return Spread(
        minimum=_triple(table.min(axis=0)),
        median=_triple(np.median(table, axis=0)),
        maximum=_triple(table.max(axis=0)),
    )


def _channel(name: str, index: int, facts: Sequence[CaseFacts]) -> ChannelStatistics:
    channels = [case.channels[index] for case in facts]
    samples = [channel.sample for channel in channels if channel.sample.size]
    sample = np.concatenate(samples).astype(np.float64) if samples else np.zeros(1)
    percentiles = [float(p) for p in np.percentile(sample, [0.5, 5, 95, 99.5])]
    modality, reason = _modality(name, index, facts)
    return ChannelStatistics(
        name=name,
        modality=modality,
        modality_reason=reason,
        minimum=min(channel.minimum for channel in channels),
        maximum=max(channel.maximum for channel in channels),
        mean=float(sample.mean()),
        std=float(sample.std()),
        percentile_00_5=percentiles[0],
        percentile_05=percentiles[1],
        percentile_95=percentiles[2],
        percentile_99_5=percentiles[3],
        zero_fraction=float(np.median([channel.zero_fraction for channel in channels])),
    )


def _modality(name: str, index: int, facts: Sequence[CaseFacts]) -> tuple[Modality, str]:
    """By the channel's name, else by intensities that reach the air of a CT in every case."""
    is_ct = re.search(r"(?i)(?<![a-z])ct(?![a-z])", name)
    is_other = re.search(r"(?i)(?<![a-z])(mri?|t1|t2|flair|dwi|adc|pet)", name)
    # `CT or MR` says nothing: the intensities do.
    if bool(is_ct) != bool(is_other):
        return "CT" if is_ct else "MR", "by the channel's name"
    found = [case.channels[index] for case in facts]
    like_ct = sum(c.minimum <= AIR_HU and c.maximum >= 100 for c in found)
    if like_ct == len(found):
        return "CT", "every scan reaches from air, below -500, to tissue: Hounsfield units"
    if like_ct:
        return "MR", f"only {like_ct} of {len(found)} scans look like CT, so no common unit"
    return "MR", "no scan reaches below -500, so no Hounsfield units"


def _labels(dataset: Dataset, facts: Sequence[CaseFacts]) -> tuple[LabelStatistics, ...]:
    voxels = sum(int(np.prod(case.size_voxels)) for case in facts)
    rows = []
    for label in dataset.labels[1:]:
        present = [case.labels[label.id] for case in facts if label.id in case.labels]
        rows.append(
            LabelStatistics(
                id=label.id,
                name=label.name,
                cases=len(present),
                voxel_fraction=sum(found.voxels for found in present) / voxels,
                median_ml=float(np.median([f.volume_ml for f in present])) if present else 0.0,
                least_largest_part=min((f.largest_part for f in present), default=0.0),
            )
        )
    return tuple(rows)


def _crops(facts: Sequence[CaseFacts]) -> tuple[CropStatistics, ...]:
    crops = [_crop("nonzero", None, [case.nonzero for case in facts])]
    crops.append(_crop("above", AIR_HU, [case.above_air for case in facts]))
    first = [case.channels[0] for case in facts]
    backgrounds = [channel.background for channel in first if channel.background is not None]
    if len(backgrounds) == len(first) and any(backgrounds):
        # A constant background that is not 0 and differs from scan to scan, as after a z-score of
        # a skull-stripped head: one threshold can still lie between background and content.
        highest, content = max(backgrounds), min(channel.content_low for channel in first)
        if highest < content:
            threshold = highest + 0.05 * (content - highest)
            crops.append(_crop("above", threshold, [case.off_background for case in facts]))
    return tuple(crops)


def _crop(
    kind: Literal["nonzero", "above"], threshold: float | None, boxes: Sequence[Box]
) -> CropStatistics:
    return CropStatistics(
        kind=kind,
        threshold=threshold,
        kept=float(np.median([box.kept for box in boxes])),
        extent_mm=_triple(np.median([box.extent_mm for box in boxes], axis=0)),
        holds_labels=all(box.holds_labels for box in boxes),
    )
