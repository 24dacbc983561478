"""Inspection: every case of a data set read and checked, every defect one line with its cure."""

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np

from unetr.data.cases import Case, Dataset, Defect
from unetr.data.facts import READERS, CaseFacts, count_values, measure
from unetr.data.names import unnamed
from unetr.errors import InputError
from unetr.image import Volume, read_image, read_labels, same_grid

_ODD_FACTOR = 1.5
_WRONG_FACTOR = 10.0
_ODD_DEVIATIONS = 5.0
_LEAST_CASES = 4


@dataclass(frozen=True)
class CaseReport:
    """What reading one case showed; `facts` is None where it could not be measured."""

    case: Case
    defects: tuple[Defect, ...]
    facts: CaseFacts | None


def inspect(dataset: Dataset) -> Iterator[CaseReport]:
    """Reads and checks the labelled cases, one report each, in the data set's order.

    Checked are: readable and finite, every channel there, image and label on one grid, label values
    known, some label there, some contrast there. What only several cases together show is found by
    `compare_cases`; what opening the folder showed is in `dataset.defects`.
    """
    pool = ThreadPoolExecutor(READERS)
    try:
        yield from pool.map(lambda case: _inspect_case(dataset, case), dataset.cases)
    finally:
        pool.shutdown(cancel_futures=True)


def compare_cases(dataset: Dataset, reports: Sequence[CaseReport]) -> list[Defect]:
    """Duplicate images, exchanged channels, and (as notes) unusual orientations and spacings."""
    measured = [(r.case, r.facts) for r in reports if r.facts is not None]
    return [
        *_absent_labels(dataset, measured),
        *_duplicates(measured),
        *_swapped_channels(dataset, measured),
        *_orientations(measured),
        *_spacings(measured),
    ]


def _inspect_case(dataset: Dataset, case: Case) -> CaseReport:
    defects: list[Defect] = []
    image = label = None
    try:
        image = read_image(case.images if len(case.images) > 1 else case.images[0])
        defects += _check_image(dataset, case, image)
    except InputError as error:
        defects.append(_as_defect(case.images, "image", error))
    try:
        if case.label is not None:
            label = read_labels(case.label)
            defects += _check_label(dataset, case.label, label)
    except InputError as error:
        defects.append(_as_defect([case.label or case.images[0]], "label", error))
    if image is None or label is None or case.label is None:
        return CaseReport(case, tuple(defects), None)
    if difference := same_grid(image, label):
        cure = "resample the labels onto the image, or correct the header that is wrong"
        problem = f"differs from {case.images[0].name}: {difference}"
        defects.append(Defect(case.label, "grid", problem, cure))
    whole = image.shape == label.shape and image.array.shape[0] == len(dataset.channels)
    facts = measure(case.name, image, label) if whole else None
    return CaseReport(case, tuple(defects), facts)


def _check_image(dataset: Dataset, case: Case, image: Volume) -> Iterator[Defect]:
    found, wanted = image.array.shape[0], len(dataset.channels)
    if found != wanted:
        problem = f"{found}, but the data set has {wanted} ({', '.join(dataset.channels)})"
        cure = "complete the case or correct the channel names"
        yield Defect(case.images[0], "channels", problem, cure)
    for k, channel in enumerate(image.array):
        if channel.min() == channel.max():
            file = case.images[k] if len(case.images) == found else case.images[0]
            problem = f"every voxel of channel {k} is {channel.flat[0]:g}"
            yield Defect(file, "voxels", problem, "export the scan again or leave the case out")


def _check_label(dataset: Dataset, file: Path, label: Volume) -> Iterator[Defect]:
    values = set(count_values(label.array))
    known = {each.id for each in dataset.labels}
    if strange := unnamed(values, known):
        cure = "name it in the label table or correct the voxels"
        yield Defect(file, "label values", strange, cure)
    if values <= {0}:
        cure = "label the structures, or leave the case out if none is to be learnt from it"
        yield Defect(file, "label values", "empty: every voxel is background", cure)


def _as_defect(files: Sequence[Path], field: str, error: InputError) -> Defect:
    """An error of the image room names its file and cure itself."""
    text = str(error)
    file = next((file for file in files if text.startswith(f"{file}: ")), files[0])
    return Defect(file, field, text.removeprefix(f"{file}: "), "")


_Measured = list[tuple[Case, CaseFacts]]


def _absent_labels(dataset: Dataset, measured: _Measured) -> Iterator[Defect]:
    present = {value for _, facts in measured for value in facts.labels}
    for label in dataset.labels[1:]:
        if measured and label.id not in present:
            problem = f"label {label.id} ({label.name}) occurs in no case"
            cure = "remove it from the label table or add cases that have it"
            yield Defect(dataset.root, "labels", problem, cure, severity="note")


def _duplicates(measured: _Measured) -> Iterator[Defect]:
    first: dict[str, Case] = {}
    for case, facts in measured:
        if twin := first.get(facts.digest):
            problem = f"the same voxels as {twin.images[0].name}"
            cure = "remove one: else it may stand in training and validation at once"
            yield Defect(case.images[0], "image", problem, cure)
        first.setdefault(facts.digest, case)


def _swapped_channels(dataset: Dataset, measured: _Measured) -> Iterator[Defect]:
    """Cases whose channels fit the other cases' far better in another order.

    A channel is described by its foreground's mean and its extremes; distances are in robust
    deviations (median and MAD over the cases), with a floor so that alike channels say nothing.
    """
    count = len(dataset.channels)
    if not 2 <= count <= 5 or len(measured) < _LEAST_CASES:
        return
    table = np.array(
        [
            [
                (c.sample.mean() if c.sample.size else c.minimum, c.minimum, c.maximum)
                for c in facts.channels
            ]
            for _, facts in measured
        ]
    )
    middle = np.median(table, axis=0)
    deviation = 1.4826 * np.median(np.abs(table - middle), axis=0)
    scale = np.maximum(deviation, 0.1 * np.ptp(middle, axis=0)) + 1e-9
    for (case, _), row in zip(measured, table, strict=True):
        distance = {
            order: float(np.mean(np.abs(row[list(order)] - middle) / scale))
            for order in permutations(range(count))
        }
        as_is = distance[tuple(range(count))]
        best = min(distance, key=lambda order: distance[order])
        if as_is > _ODD_DEVIATIONS and distance[best] < 0.25 * as_is:
            names = ", ".join(dataset.channels[best.index(k)] for k in range(count))
            problem = f"intensities look as if the files held {names} in this order"
            yield Defect(case.images[0], "channels", problem, "put the channels in the right order")


def _orientations(measured: _Measured) -> Iterator[Defect]:
    counts = Counter(facts.orientation for _, facts in measured)
    if len(counts) < 2 or len(measured) < _LEAST_CASES:
        return
    common, number = counts.most_common(1)[0]
    if number < 0.75 * len(measured):
        return
    for case, facts in measured:
        if facts.orientation != common:
            problem = f"{facts.orientation}, where {number} of {len(measured)} cases are {common}"
            cure = "harmless if the header is true: see that left is left in a viewer"
            yield Defect(case.images[0], "orientation", problem, cure, severity="note")


def _spacings(measured: _Measured) -> Iterator[Defect]:
    """Spacings far from the median: 5 robust deviations and a factor 1.5 (10: a defect)."""
    if len(measured) < _LEAST_CASES:
        return
    logs = np.log([facts.spacing_mm for _, facts in measured])
    middle = np.median(logs, axis=0)
    deviation = 1.4826 * np.median(np.abs(logs - middle), axis=0)
    for (case, facts), row in zip(measured, logs, strict=True):
        off = np.abs(row - middle)
        odd = (off > np.log(_ODD_FACTOR)) & (off > _ODD_DEVIATIONS * deviation)
        if not odd.any():
            continue
        wrong = bool((off[odd] > np.log(_WRONG_FACTOR)).any())
        problem = (
            f"{_mm(facts.spacing_mm)} mm, where the median is {_mm(np.exp(middle).tolist())} mm"
        )
        cure = (
            "correct the header: the unit looks wrong"
            if wrong
            else "see that the header is true, or leave the case out"
        )
        yield Defect(case.images[0], "spacing", problem, cure, "defect" if wrong else "note")


def _mm(spacing: Sequence[float]) -> str:
    return " x ".join(f"{value:.3g}" for value in spacing)
