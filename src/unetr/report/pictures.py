"""Which cases are shown of each structure: the worst, the median and the best."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from unetr.errors import InputError
from unetr.evaluation import Evaluation, Structure
from unetr.evaluation.matching import Pair
from unetr.report.slices import Slice, read_shown, slices


@dataclass(frozen=True)
class Picture:
    """One case of one structure.

    Attributes:
        problem: Why there are no slices, in a line.
    """

    rank: str
    case: str
    dice: float
    slices: Sequence[Slice]
    problem: str = ""


def chosen(evaluation: Evaluation, structure: Structure) -> list[tuple[str, str, float]]:
    """(rank, case, Dice) of the worst, the median and the best case; fewer of fewer cases."""
    ranked = evaluation.ranked(structure)
    if not ranked:
        return []
    last = len(ranked) - 1
    places = {0: "worst", last // 2: "median", last: "best"}
    if last < 2:
        places = {0: "worst", last: "best"} if last else {0: "only"}
    return [(rank, *ranked[place]) for place, rank in places.items()]


def pictures(evaluation: Evaluation) -> dict[str, list[Picture]]:
    """Pictures by structure name, worst first. A case is read once; two are in memory at most."""
    wanted: dict[str, list[tuple[Structure, str, float]]] = {}
    for structure in evaluation.structures:
        for rank, case, dice in chosen(evaluation, structure):
            wanted.setdefault(case, []).append((structure, rank, dice))
    pairs = [pair for pair in evaluation.pairs if pair.case in wanted]
    found: dict[str, list[Picture]] = {each.name: [] for each in evaluation.structures}
    with ThreadPoolExecutor(2) as pool:
        drawn = pool.map(lambda pair: _of_case(pair, wanted[pair.case]), pairs)
        for several in drawn:
            for structure, picture in several:
                found[structure.name].append(picture)
    order = ("only", "worst", "median", "best")
    return {
        name: sorted(several, key=lambda one: order.index(one.rank))
        for name, several in found.items()
    }


def _of_case(
    pair: Pair, wanted: Sequence[tuple[Structure, str, float]]
) -> list[tuple[Structure, Picture]]:
    try:
        shown = read_shown(pair)
    except InputError as error:
        # The scores stand; a scan that has gone since should not take them along.
        return [(s, Picture(rank, pair.case, dice, (), str(error))) for s, rank, dice in wanted]
    return [
        (structure, Picture(rank, pair.case, dice, slices(shown, structure.members)))
        for structure, rank, dice in wanted
    ]
