"""Label images against references: every case and structure scored on the reference's grid."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from unetr.data.facts import count_values
from unetr.errors import InputError
from unetr.evaluation.matching import Pair, Pairs, match
from unetr.evaluation.result import LESION_METRICS, Evaluation, Scores
from unetr.evaluation.statistics import check_seed
from unetr.evaluation.structures import LabelTable, Structure, find_table
from unetr.image import Volume, read_grid, read_labels, resample_labels, same_grid
from unetr.machine import GB, cores, free_gb
from unetr.metrics import StructureScores, score_lesions, score_structures

OnCase = Callable[[int, int], None]

# Two label images, their masks and distances: of each voxel, at the worst.
_BYTES_PER_VOXEL = 64
# More threads than this wait for the disk and for each other.
_MOST_WORKERS = 8
_ABSENT = asdict(StructureScores(None, None, None, None, None, None, 0.0, 0.0, 0.0, None))
_NO_LESIONS = dict(zip(LESION_METRICS, (0, 0, 0, None, None, None), strict=True))


@dataclass(frozen=True)
class Options:
    """How to score.

    Attributes:
        resample: Bring a prediction on another grid onto the reference's, instead of refusing it.
        lesions: Also count connected components found, missed and invented.
        tolerance_mm: Of the normalised surface Dice.
        seed: Of the bootstrap.
        workers: Threads; by default as many as cores, and as memory allows.
    """

    resample: bool = False
    lesions: bool = False
    tolerance_mm: float = 1.0
    seed: int = 0
    workers: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance_mm < np.inf:
            raise InputError(f"tolerance {self.tolerance_mm:g} mm: give a distance from 0 up")
        if self.workers is not None and self.workers < 1:
            raise InputError(f"workers {self.workers}: give 1 or more")
        check_seed(self.seed)


def evaluate(
    predictions: Path | str,
    references: Path | str,
    *,
    labels: Path | str | None = None,
    images: Path | str | None = None,
    resample: bool = False,
    lesions: bool = False,
    tolerance_mm: float = 1.0,
    seed: int = 0,
    workers: int | None = None,
    on_case: OnCase | None = None,
) -> Evaluation:
    """Scores label images against references of the same name, on the references' grids.

    Args:
        predictions: A label file or a folder of them.
        references: A label file, a folder of them, or a data set, which brings names, regions and
            images along.
        labels: A labels.toml that names labels and regions; by default the data set's names, else
            those in the headers of the files.
        images: The scans, for pictures in a report; by default those of the data set.
        resample, lesions, tolerance_mm, seed, workers: See `Options`.
        on_case: Told how many cases are done, of how many.

    Returns:
        Scores of every case and structure. Cases that cannot be scored are in `failures`, files
        without a partner in `unmatched_predictions` and `unmatched_references`.

    Raises:
        InputError: nothing to score: paths that are wrong, no names in common, or all cases fail.
    """
    options = Options(resample, lesions, tolerance_mm, seed, workers)
    table = Path(labels) if labels else None
    pairs = match(Path(predictions), Path(references), table, Path(images) if images else None)
    files = [path for pair in pairs.pairs for path in (pair.prediction, pair.reference)]
    known = find_table(pairs.dataset, table, files)
    where = (str(predictions), str(references))
    return evaluate_pairs(pairs, known, where, options, on_case)


def evaluate_pairs(
    pairs: Pairs,
    table: LabelTable,
    where: tuple[str, str],
    options: Options,
    on_case: OnCase | None = None,
) -> Evaluation:
    """Scores what is matched already.

    Args:
        where: What to call predictions and references.

    Raises:
        InputError: all cases fail.
    """
    found: dict[str, dict[Structure, Scores]] = {}
    failures: dict[str, str] = {}
    moved: list[str] = []
    pool = ThreadPoolExecutor(options.workers or _workers(pairs.pairs))
    try:
        running = {pool.submit(_score, pair, table, options): pair for pair in pairs.pairs}
        for done, future in enumerate(as_completed(running), 1):
            case = running[future].case
            try:
                found[case], resampled = future.result()
                moved += [case] if resampled else []
            except InputError as error:
                failures[case] = str(error)
            if on_case is not None:
                on_case(done, len(running))
    finally:
        # Whoever interrupts waits for the cases under way, not for those still to come.
        pool.shutdown(cancel_futures=True)
    if not found:
        first, *others = [failures[pair.case] for pair in pairs.pairs]
        raise InputError(first + (f" (and {len(others)} more cases fail)" if others else ""))
    structures = _all_structures(table, found.values())
    if not structures:
        raise InputError(
            f"{where[0]} and {where[1]}: no file has a label, so there is nothing to score; name "
            "what could be there in a labels.toml, with --labels"
        )
    absent: Scores = _ABSENT | (_NO_LESIONS if options.lesions else {})
    scored = tuple(pair for pair in pairs.pairs if pair.case in found)
    return Evaluation(
        *where,
        structures,
        scored,
        {p.case: {s.name: found[p.case].get(s, absent) for s in structures} for p in scored},
        tolerance_mm=options.tolerance_mm,
        seed=options.seed,
        lesions=options.lesions,
        failures=dict(sorted(failures.items())),
        unmatched_predictions=pairs.predictions,
        unmatched_references=pairs.references,
        resampled=tuple(sorted(moved)),
    )


def _score(pair: Pair, table: LabelTable, options: Options) -> tuple[dict[Structure, Scores], bool]:
    """Scores of one case, and whether its prediction was resampled."""
    prediction, reference = read_labels(pair.prediction), read_labels(pair.reference)
    difference = same_grid(reference, prediction)
    # Values are checked as they stand in the file.
    structures = {*_structures(pair.prediction, prediction, table)}
    structures |= {*_structures(pair.reference, reference, table)}
    if difference:
        prediction = _on_grid(pair, prediction, reference, difference, options.resample)
    p, r, spacing = prediction.array[0], reference.array[0], reference.spacing_mm
    members = {each.name: each.members for each in structures}
    surfaces = score_structures(p, r, members, spacing, options.tolerance_mm)
    scores: dict[Structure, Scores] = {}
    for each in structures:
        scores[each] = asdict(surfaces[each.name])
        if options.lesions:
            found = score_lesions(np.isin(p, each.members), np.isin(r, each.members), spacing)
            named = zip(LESION_METRICS, asdict(found).values(), strict=True)
            scores[each] = {**scores[each], **dict(named)}
    return scores, bool(difference)


def _structures(path: Path, volume: Volume, table: LabelTable) -> tuple[Structure, ...]:
    return table.of_case(path, set(count_values(volume.array)))


def _on_grid(
    pair: Pair, prediction: Volume, reference: Volume, difference: str, resample: bool
) -> Volume:
    """The prediction on the reference's grid.

    Raises:
        InputError: that is not asked for, or nothing of it lies there.
    """
    if not resample:
        raise InputError(
            f"{pair.prediction}: grid: {difference} ({pair.reference}); bring it onto the "
            "reference's grid, or let --resample do so"
        )
    moved = resample_labels(prediction, reference.affine, reference.shape)
    if prediction.array.any() and not moved.array.any():
        raise InputError(
            f"{pair.prediction}: grid: nothing of it lies on that of {pair.reference}; correct the "
            "affine in one of the headers"
        )
    return moved


def _all_structures(
    table: LabelTable, found: Iterable[dict[Structure, Scores]]
) -> tuple[Structure, ...]:
    """Those of the table, then by rising id those that only the files have."""
    others = {each for one in found for each in one} - set(table.structures)
    return (*table.structures, *sorted(others, key=lambda each: each.members))


def _workers(pairs: Sequence[Pair]) -> int:
    """As many threads as cores, unless the largest cases would not fit into half the memory."""
    voxels = [0.0]
    for pair in pairs:
        try:
            voxels.append(float(np.prod(read_grid(pair.reference).shape)))
        except InputError:
            continue  # reading it will fail, which costs nothing
    needed = _BYTES_PER_VOXEL * max(voxels)
    fitting = int(free_gb() * GB / 2 / max(needed, 1.0))
    return max(1, min(_MOST_WORKERS, cores(), fitting))
