"""Validation: every case through the sliding window that users get, on its own grid."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from jaxtyping import Integer

from unetr.checkpoint.model import Model
from unetr.data.cases import Case, Dataset
from unetr.data.dataset import read_case
from unetr.data.plan import HIGHEST_LABEL
from unetr.errors import TooLittleMemoryError
from unetr.evaluation.statistics import mean_defined
from unetr.evaluation.structures import structures_of
from unetr.image import Volume, write_labels
from unetr.inference.predictor import Predictor
from unetr.metrics.overlap import dice_of_counts
from unetr.training.distributed import Processes
from unetr.training.precision import Precision
from unetr.training.progress import Validated

Scores = dict[str, float]
OnCase = Callable[[int, int], None]


class Validator:
    """Predicts and scores the validation cases, shared among the processes.

    Args:
        model: Its network is the one in training; each call sees its present weights.
        on_case: Told the cases that this process has done, and how many it has.
    """

    def __init__(
        self,
        dataset: Dataset,
        cases: Sequence[Case],
        model: Model,
        device: torch.device,
        precision: Precision,
        processes: Processes,
        on_case: OnCase | None = None,
    ) -> None:
        self.dataset, self.cases, self.processes = dataset, list(cases), processes
        self.model = model
        self._on_case = on_case
        # Rules of post-processing are chosen at the end, on what they change here.
        self.predictor = Predictor(
            model,
            engine="torch",
            precision="auto" if precision == "fp16" else precision,
            device=str(device),
            postprocessing=False,
        )

    def __call__(self, folder: Path) -> Validated:
        """Segmentations go to `folder` as `<case>.nii.gz`, on each scan's own grid."""
        began = time.monotonic()
        own = self.cases[self.processes.rank :: self.processes.world]
        scores: dict[str, Scores] = {}

        def score_own() -> None:
            for name, found in self._scored(own, folder):
                scores[name] = found
                if self._on_case is not None:
                    self._on_case(len(scores), len(own))

        self.processes.each(score_own)
        gathered: dict[str, Scores] = {}
        for part in self.processes.gather(scores):
            gathered |= part
        return summarised(
            {case.name: gathered[case.name] for case in self.cases},
            scored_names(self.dataset),
            time.monotonic() - began,
        )

    def _scored(self, cases: Sequence[Case], folder: Path) -> Iterator[tuple[str, Scores]]:
        """By name; those that memory is too short for at the end, each alone."""
        later: list[Case] = []
        for case, volume, reference in read_ahead(self.dataset, cases):
            try:
                yield case.name, self._score(case, volume, reference, folder)
            except TooLittleMemoryError:
                later.append(case)
        # Without the next scan in memory, and perhaps without what another program took.
        for case in later:
            ((_, volume, reference),) = read_ahead(self.dataset, [case])
            yield case.name, self._score(case, volume, reference, folder)

    def _score(self, case: Case, volume: Volume, reference: Volume, folder: Path) -> Scores:
        found = self.predictor(volume).labels
        names = {label.id: label.name for label in self.dataset.labels}
        write_labels(folder / f"{case.name}.nii.gz", found.array[0], found, names)
        return dice_scores(self.dataset, found.array[0], reference.array[0])

    def complete(self, folder: Path) -> None:
        """Predicts those cases whose segmentation is not in `folder`."""
        missing = [c for c in self.cases if not (folder / f"{c.name}.nii.gz").exists()]
        self.model.network.eval()
        for _ in self._scored(missing, folder):
            pass

    def estimate_s(self) -> float:
        """Seconds of a whole validation, by that of the case of median size."""
        sized = sorted(self.cases, key=lambda case: sum(p.stat().st_size for p in case.images))
        began = time.monotonic()
        with TemporaryDirectory() as folder:
            for case, volume, reference in read_ahead(self.dataset, [sized[len(sized) // 2]]):
                self._score(case, volume, reference, Path(folder))
        seconds = time.monotonic() - began
        return seconds * -(-len(self.cases) // self.processes.world)


def read_ahead(dataset: Dataset, cases: Sequence[Case]) -> Iterator[tuple[Case, Volume, Volume]]:
    """Labelled cases with their images and labels; the next is read while one is used."""
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(read_case, dataset, cases[0]) if cases else None
        for number, case in enumerate(cases):
            assert coming is not None
            volume, reference = coming.result()
            assert reference is not None, "validation cases are labelled"
            if number + 1 < len(cases):
                coming = reader.submit(read_case, dataset, cases[number + 1])
            yield case, volume, reference


def scored_names(dataset: Dataset) -> list[str]:
    """Of the structures that are scored."""
    return [each.name for each in structures_of(dataset.labels, dataset.regions)]


def dice_scores(dataset: Dataset, found: np.ndarray, reference: np.ndarray) -> Scores:
    """Dice per structure; nan where neither has it. One pass over the voxels serves them all."""
    ids = [label.id for label in dataset.labels]
    together = _pair_counts(found, reference, ids)
    scores = {}
    for each in structures_of(dataset.labels, dataset.regions):
        inside = np.isin(ids, each.members)
        score = dice_of_counts(
            int(together[inside].sum()),
            int(together[:, inside].sum()),
            int(together[np.ix_(inside, inside)].sum()),
        )
        scores[each.name] = float("nan") if score is None else score
    return scores


def _pair_counts(
    found: np.ndarray, reference: np.ndarray, ids: Sequence[int]
) -> Integer[np.ndarray, "k k"]:
    """Voxels by the label found (rows) and the reference's (columns), both by their place in `ids`;
    plane by plane, in bounded memory."""
    place = np.zeros(HIGHEST_LABEL + 1, np.intp)
    place[list(ids)] = np.arange(len(ids))
    total = np.zeros(len(ids) ** 2, np.int64)
    for one, other in zip(np.moveaxis(found, -1, 0), np.moveaxis(reference, -1, 0), strict=True):
        total += np.bincount(
            (place[one] * len(ids) + place[other]).ravel(order="K"), minlength=len(total)
        )
    return total.reshape(len(ids), len(ids))


def summarised(cases: dict[str, Scores], names: Sequence[str], seconds: float) -> Validated:
    """The means that a run goes by."""
    everything = [value for scores in cases.values() for value in scores.values()]
    return Validated(
        dice=mean_defined(everything),
        labels={name: mean_defined([scores[name] for scores in cases.values()]) for name in names},
        cases={name: mean_defined(list(scores.values())) for name, scores in cases.items()},
        seconds=seconds,
    )
