"""summary.json and cases.csv: an evaluation on disk, and back."""

import csv
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from unetr.errors import InputError
from unetr.evaluation.matching import Pair
from unetr.evaluation.result import (
    DEFINITIONS,
    LESION_DEFINITION,
    LESION_METRICS,
    METRICS,
    UNDEFINED_DEFINITION,
    Evaluation,
    Scores,
)
from unetr.evaluation.statistics import RESAMPLES
from unetr.evaluation.structures import Structure
from unetr.files import written_whole

SUMMARY, CASES = "summary.json", "cases.csv"
_FORMAT = 1
_WORST = 3


def write_evaluation(
    folder: str | Path, evaluation: Evaluation, extra: Mapping[str, Any] | None = None
) -> None:
    """Writes summary.json, which has `extra` too, and cases.csv, a row per case and structure.

    Raises:
        InputError: the folder cannot be written to, or the disk is full.
    """
    folder = Path(folder)
    content = {**summary(evaluation), **(extra or {})}
    # Both are written before one is renamed, so that none is left beside another evaluation's; the
    # summary is renamed last: where it is, the scores are.
    with written_whole(folder / SUMMARY) as summary_part, written_whole(folder / CASES) as part:
        summary_part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        with part.open("w", newline="", encoding="utf-8") as file:
            _write_cases(csv.writer(file), evaluation)


def _write_cases(table: Any, evaluation: Evaluation) -> None:
    table.writerow(["case", "label", "name", *evaluation.metrics])
    for case in evaluation.cases:
        for each in evaluation.structures:
            scores = evaluation.scores[case][each.name]
            values = ["" if scores[m] is None else scores[m] for m in evaluation.metrics]
            table.writerow([case, each.label, each.name, *values])


def summary(evaluation: Evaluation) -> dict[str, Any]:
    """What summary.json holds: means with intervals, worst cases, definitions, what was scored."""
    definitions = {**DEFINITIONS, "undefined": UNDEFINED_DEFINITION}
    if evaluation.lesions:
        definitions["lesions"] = LESION_DEFINITION
    definitions["interval"] = (
        f"95 % percentile bootstrap of the mean, {RESAMPLES} resamples of whole cases, "
        f"seed {evaluation.seed}"
    )
    return {
        "format": _FORMAT,
        "dice": evaluation.statistics("dice").mean,
        "cases": len(evaluation.cases),
        "tolerance_mm": evaluation.tolerance_mm,
        "all": {metric: asdict(evaluation.statistics(metric)) for metric in evaluation.metrics},
        "structures": [_structure(evaluation, each) for each in evaluation.structures],
        "failed": dict(evaluation.failures),
        "unmatched": {
            "predictions": list(evaluation.unmatched_predictions),
            "references": list(evaluation.unmatched_references),
        },
        "resampled": list(evaluation.resampled),
        "seed": evaluation.seed,
        "definitions": definitions,
        "predictions": evaluation.predictions,
        "references": evaluation.references,
        "files": {
            pair.case: {
                "prediction": str(pair.prediction.absolute()),
                "reference": str(pair.reference.absolute()),
                "images": [str(path.absolute()) for path in pair.images],
            }
            for pair in evaluation.pairs
        },
    }


def _structure(evaluation: Evaluation, structure: Structure) -> dict[str, Any]:
    worst = evaluation.ranked(structure)[:_WORST]
    return {
        "label": structure.label,
        "name": structure.name,
        "members": list(structure.members),
        **{m: asdict(evaluation.statistics(m, structure)) for m in evaluation.metrics},
        "worst": [{"case": case, "dice": dice} for case, dice in worst],
    }


def read_evaluation(folder: Path) -> Evaluation:
    """Reads what `write_evaluation` wrote, into the folder, or as a training run's validation.

    Raises:
        InputError: not there, or not of this version.
    """
    if not (folder / SUMMARY).exists() and (folder / "validation" / SUMMARY).exists():
        folder = folder / "validation"
    path = folder / SUMMARY
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != _FORMAT:
            raise InputError(
                f"{path}: format {content['format']}, which this version does not know; evaluate "
                "again"
            )
        return _evaluation(content, *_read_cases(folder / CASES))
    except OSError as error:
        raise InputError(
            f"{error.filename or path}: cannot be read ({error.strerror or error}); give the "
            "folder that `unetr evaluate` wrote"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path}: no summary of an evaluation ({type(error).__name__}: {error}); evaluate again"
        ) from None


def _read_cases(path: Path) -> tuple[dict[str, dict[str, Scores]], bool]:
    """Scores by case and name, and whether there are lesions."""
    found: dict[str, dict[str, Scores]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        lesions = LESION_METRICS[0] in (rows.fieldnames or ())
        metrics = METRICS + LESION_METRICS if lesions else METRICS
        for row in rows:
            scores = {metric: float(row[metric]) if row[metric] else None for metric in metrics}
            found.setdefault(row["case"], {})[row["name"]] = scores
    return found, lesions


def _evaluation(
    content: dict[str, Any], scores: dict[str, dict[str, Scores]], lesions: bool
) -> Evaluation:
    structures = tuple(
        Structure(each["name"], tuple(each["members"])) for each in content["structures"]
    )
    pairs = tuple(
        Pair(
            case,
            Path(files["prediction"]),
            Path(files["reference"]),
            tuple(map(Path, files["images"])),
        )
        for case, files in content["files"].items()
    )
    for pair in pairs:
        for each in structures:
            scores[pair.case][each.name]  # KeyError: the two files are not of one evaluation
    return Evaluation(
        content["predictions"],
        content["references"],
        structures,
        pairs,
        scores,
        tolerance_mm=float(content["tolerance_mm"]),
        seed=int(content["seed"]),
        lesions=lesions,
        failures=content["failed"],
        unmatched_predictions=tuple(content["unmatched"]["predictions"]),
        unmatched_references=tuple(content["unmatched"]["references"]),
        resampled=tuple(content["resampled"]),
    )
