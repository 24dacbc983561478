"""What is kept of a training: its scores and where they come from.

A few kilobytes a run, in benchmarks/scores beside the code: tables are made again without training
again, and the folds of one table may be trained on several machines, one after another.
"""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict

from unetr.evaluation.comparison import wilcoxon_p
from unetr.evaluation.statistics import bootstrap_interval
from unetr.files import written_whole

FOLDER = Path(__file__).parent / "scores"


class Scores(BaseModel):
    """Of one report: by structure, a value per case, None where it is not defined."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cases: list[str]
    dice: dict[str, list[float | None]]
    hd95_mm: dict[str, list[float | None]]


class Kept(BaseModel):
    """Of one training.

    Attributes:
        began: The day.
        code: The revision that trained it.
        threads: Of its process.
        settings: What `unetr train` was told of this network.
        alike: What the runs of one table must have in common: the data, and parts of the plan.
        mirrored: The same model's, with test-time mirroring, where that was asked for.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    began: str
    code: str
    machine: str
    threads: int
    steps: int
    settings: list[str]
    alike: dict[str, str]
    plain: Scores
    mirrored: Scores | None = None


def keep(path: Path, kept: Kept) -> None:
    """Writes the file."""
    with written_whole(path) as part:
        part.write_text(kept.model_dump_json() + "\n", encoding="utf-8")


def read_kept(path: Path) -> Kept:
    """Reads what `keep` wrote."""
    return Kept.model_validate_json(path.read_text(encoding="utf-8"))


def read_scores(folder: Path) -> Scores:
    """Of what `unetr evaluate` wrote into the folder, cases in the order of their names."""
    with (folder / "cases.csv").open(newline="", encoding="utf-8") as text:
        lines = sorted(csv.DictReader(text), key=lambda line: line["case"])
    values: dict[str, dict[str, list[float | None]]] = {"dice": {}, "hd95_mm": {}}
    for line in lines:
        for metric, structures in values.items():
            value = float(line[metric]) if line[metric] else None
            structures.setdefault(line["name"], []).append(value)
    return Scores(cases=list(dict.fromkeys(line["case"] for line in lines)), **values)


def table(
    scores: Sequence[Scores], metric: str
) -> tuple[Float[np.ndarray, "cases structures"], list[str]]:
    """Values of several folds in the order of the cases' names, nan where undefined; and the
    structures' names."""
    folds = [(fold.cases, getattr(fold, metric)) for fold in scores]
    names = list(dict.fromkeys(name for _, values in folds for name in values))
    rows = {
        case: [values[name][number] if name in values else None for name in names]
        for cases, values in folds
        for number, case in enumerate(cases)
    }
    return np.array([rows[case] for case in sorted(rows)], float), names


def summary(scores: Sequence[Scores]) -> str:
    """Cells: cases, Dice with its interval, HD95, undefined ones, and the means by structure."""
    (dice, names), (hd95, _) = table(scores, "dice"), table(scores, "hd95_mm")
    found = bootstrap_interval(dice)
    interval = f" [{found[0]:.4f}, {found[1]:.4f}]" if found else ""
    means = zip(names, np.nanmean(dice, axis=0), np.nanmean(hd95, axis=0), strict=True)
    parts = ", ".join(f"{name} {mean:.3f} ({mm:.2f})" for name, mean, mm in means)
    return (f"{len(dice)} | {np.nanmean(dice):.4f}{interval} "
            f"| {np.nanmean(hd95):.2f} | {np.isnan(hd95).sum()} | {parts}")  # fmt: skip


def difference(scores: Sequence[Scores], first: Sequence[Scores]) -> str:
    """Cells: the mean paired difference of Dice to the first row, its interval, and p."""
    change = np.nanmean(table(scores, "dice")[0] - table(first, "dice")[0], axis=1)
    change = change[~np.isnan(change)]
    low, high = bootstrap_interval(change[:, None]) or (np.nan, np.nan)
    return f"{change.mean():+.4f} [{low:+.4f}, {high:+.4f}] | {wilcoxon_p(change):.2g}"


def differing(one: Kept, other: Kept) -> str:
    """What keeps two runs of one fold from being compared, or nothing."""
    if one.plain.cases != other.plain.cases:
        return "validation cases"
    if one.threads != other.threads:
        return "number of threads"
    return ", ".join(key for key in one.alike if one.alike[key] != other.alike.get(key))


def described(runs: Iterable[Kept]) -> str:
    """When, where and by which code they were trained: a line for each that differs."""
    days: dict[str, list[str]] = {}
    for run in runs:
        days.setdefault(f"code {run.code} on {run.machine}", []).append(run.began)
    return "\n".join(
        f"trained {' to '.join(dict.fromkeys((min(found), max(found))))}, {how}"
        for how, found in days.items()
    )
