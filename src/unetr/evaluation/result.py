"""What an evaluation found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

import numpy as np
from jaxtyping import Float64

from unetr.evaluation.matching import Pair
from unetr.evaluation.statistics import Statistics, statistics
from unetr.evaluation.structures import Structure
from unetr.metrics import LesionScores, StructureScores

# By metric; None where undefined. With lesions, theirs are there too, as `lesion_...`.
Scores = Mapping[str, float | None]

METRICS = tuple(each.name for each in fields(StructureScores))
LESION_METRICS = tuple(f"lesion_{each.name}" for each in fields(LesionScores))

DEFINITIONS = {
    "dice": "2 |P and R| / (|P| + |R|), of prediction P and reference R, on the reference's grid",
    "iou": "|P and R| / |P or R|",
    "hd95_mm": "the distance within which 95 % of the surface lies from the other one; the greater "
    "of both directions; surface elements weighted by their area",
    "hd_mm": "the same for the whole surface: the greatest distance",
    "assd_mm": "mean distance over both surfaces, weighted by area",
    "nsd": "share of both surfaces that lies within the tolerance of the other one (normalised "
    "surface Dice), weighted by area",
    "volume_ml": "of the prediction",
    "reference_volume_ml": "of the reference",
    "volume_error_ml": "prediction less reference",
    "relative_volume_error": "that error over the reference's volume",
}
LESION_DEFINITION = (
    "connected components (26 neighbours), matched one to one where their IoU is at least 0.1"
)
UNDEFINED_DEFINITION = (
    "Neither has the structure: everything but the volumes is undefined. Only one has it: Dice, "
    "IoU and NSD are 0, distances are undefined. What is undefined is counted and left out."
)


@dataclass(frozen=True)
class Evaluation:
    """Scores of every case and structure, and what could not be scored.

    Attributes:
        predictions, references: Where they were.
        pairs: The scored cases, sorted by name.
        scores: By case name, then by structure name.
        failures: By case name: one line that says why it has no scores.
        unmatched_predictions, unmatched_references: What had no partner.
        resampled: Cases whose prediction was brought onto the reference's grid.
        seed: Of the bootstrap.
    """

    predictions: str
    references: str
    structures: tuple[Structure, ...]
    pairs: tuple[Pair, ...]
    scores: Mapping[str, Mapping[str, Scores]]
    tolerance_mm: float
    seed: int = 0
    lesions: bool = False
    failures: Mapping[str, str] = field(default_factory=dict)
    unmatched_predictions: tuple[str, ...] = ()
    unmatched_references: tuple[str, ...] = ()
    resampled: tuple[str, ...] = ()
    # Bootstrap takes a while, and several ask for the same.
    _known: dict[tuple[str, Structure | None], Statistics] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def cases(self) -> tuple[str, ...]:
        """The scored cases."""
        return tuple(pair.case for pair in self.pairs)

    @property
    def metrics(self) -> tuple[str, ...]:
        """What every case and structure has a value of."""
        return METRICS + LESION_METRICS if self.lesions else METRICS

    def values(
        self, metric: str, structures: Sequence[Structure] | None = None
    ) -> Float64[np.ndarray, "cases structures"]:
        """One metric of all structures or of some; nan where undefined."""
        chosen = self.structures if structures is None else structures
        rows = [[self.scores[case][each.name][metric] for each in chosen] for case in self.cases]
        return np.array(rows, dtype=np.float64).reshape(len(self.cases), len(chosen))

    def statistics(self, metric: str, structure: Structure | None = None) -> Statistics:
        """Of one structure, or of all values of all structures."""
        if (metric, structure) not in self._known:
            values = self.values(metric, [structure] if structure else None)
            self._known[metric, structure] = statistics(values, self.seed)
        return self._known[metric, structure]

    def ranked(self, structure: Structure) -> list[tuple[str, float]]:
        """Cases from the worst Dice to the best, each with it; of equal ones by name."""
        dice = self.values("dice", [structure])[:, 0]
        found = [(c, float(d)) for c, d in zip(self.cases, dice, strict=True) if not np.isnan(d)]
        return sorted(found, key=lambda one: one[1])
