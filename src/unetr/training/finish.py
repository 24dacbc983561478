"""The end of a run: post-processing chosen, validation scored in full, the model completed."""

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from unetr.checkpoint.model import load_model, save_model
from unetr.checkpoint.provenance import now
from unetr.checkpoint.words import CHOSEN_BY_VALIDATION
from unetr.data.cases import Case, Dataset
from unetr.data.plan import Postprocessing
from unetr.evaluation.matching import Pair, Pairs
from unetr.evaluation.records import write_evaluation
from unetr.evaluation.result import Evaluation
from unetr.evaluation.scoring import Options, evaluate_pairs
from unetr.evaluation.structures import LabelTable, structures_of
from unetr.image import read_labels, write_labels
from unetr.inference.postprocess import postprocess
from unetr.metrics import score_structures
from unetr.training.folder import Manifest, write_manifest
from unetr.training.history import draw_curves, read_history
from unetr.training.loop import predictions_folder
from unetr.training.postprocessing import Labels, choose_rules
from unetr.training.progress import Watcher
from unetr.training.validation import Validator, read_ahead, scored_names, summarised

# For the model, the curves and the report's page.
_FIXED_S = 10.0
# Cases that a report shows of each structure.
_SHOWN = 3


def finish(run: Path, manifest: Manifest, validator: Validator, watcher: Watcher) -> Manifest:
    """Completes the run folder: validation/, the model with its rules and scores, curves.png.

    It starts from the kept model and its segmentations each time, so that it may be interrupted
    anywhere and done again.
    """
    best = load_model(run)
    dataset, cases = validator.dataset, validator.cases
    raw = predictions_folder(run, int(best.provenance["step"]))
    validator.model.network.load_state_dict(best.network.state_dict())
    validator.complete(raw)
    rules, gains = _rules(manifest, dataset, cases, raw, watcher)
    labelled = run / "validation" / "predictions"
    _write_processed(dataset, cases, raw, labelled, rules)
    evaluation = _evaluated(dataset, cases, labelled, watcher)
    write_evaluation(run / "validation", evaluation, {"postprocessing": gains})
    scores = _scores(dataset, evaluation)
    if rules != best.plan.postprocessing:
        told = {"postprocessing": CHOSEN_BY_VALIDATION}
        changes = {"postprocessing": rules, "reasons": best.plan.reasons | told}
        best.plan = best.plan.model_copy(update=changes)
    best.provenance |= {
        "dice": scores["dice"],
        "dice_per_label": scores["labels"],
        "history": [line for line in read_history(run) if "dice" in line],
    }
    save_model(run / "model.safetensors", best)
    draw_curves(run)
    finished = manifest.model_copy(
        update={"status": "finished", "finished": now(), "scores": scores}
    )
    write_manifest(run, finished)
    shutil.rmtree(raw)
    watcher.say(f"validation Dice {_number(scores['dice'], 4)}: {_listed(scores)}")
    return finished


def _rules(
    manifest: Manifest, dataset: Dataset, cases: Sequence[Case], raw: Path, watcher: Watcher
) -> tuple[tuple[Postprocessing, ...], dict[str, float]]:
    """Rules of post-processing, and what each adds to its label's mean Dice."""
    if manifest.plan.regions:
        return (), {}
    done = 0

    def tell() -> None:
        nonlocal done
        done += 1
        watcher.preparing("choosing post-processing", done, len(cases))

    rules, gains = choose_rules(
        manifest.plan.labels[1:],
        _pairs(dataset, cases, raw),
        tell,
        manifest.plan.postprocessing,
    )
    names = {label.id: label.name for label in manifest.plan.labels}
    for rule in rules:
        name = names[rule.label]
        if rule not in manifest.plan.postprocessing:
            watcher.say(f"{name}: {_done(rule)} adds {gains[name]:.4f} Dice, so it is done")
    return rules, gains


def _done(rule: Postprocessing) -> str:
    """The rule in words."""
    return " and ".join(
        [
            *(["keeping the largest component alone"] if rule.largest_component else []),
            *([f"dropping pieces below {rule.minimum_mm3:g} mm3"] if rule.minimum_mm3 else []),
            *(["filling holes"] if rule.fill_holes else []),
        ]
    )


def _listed(scores: dict[str, Any]) -> str:
    """Dice and HD95 per label."""
    return ", ".join(
        f"{name} {_number(dice, 4)} (HD95 {_number(scores['hd95_mm'][name], 2)} mm)"
        for name, dice in scores["labels"].items()
    )


def _number(value: float | None, digits: int) -> str:
    return "undefined" if value is None else f"{value:.{digits}f}"


def _pairs(
    dataset: Dataset, cases: Sequence[Case], folder: Path
) -> Iterator[tuple[Labels, Labels, Sequence[float]]]:
    for case, volume, reference in read_ahead(dataset, cases):
        found = read_labels(folder / f"{case.name}.nii.gz")
        yield found.array[0], reference.array[0], volume.spacing_mm


def _evaluated(
    dataset: Dataset, cases: Sequence[Case], folder: Path, watcher: Watcher
) -> Evaluation:
    pairs = tuple(
        Pair(case.name, folder / f"{case.name}.nii.gz", case.label, case.images)
        for case in cases
        if case.label is not None
    )
    # Values without a name were refused before the run began; a file that has changed since does
    # not fail it at its end.
    table = LabelTable(structures_of(dataset.labels, dataset.regions), frozenset(range(1 << 16)))
    return evaluate_pairs(
        Pairs(pairs),
        table,
        (str(folder), str(dataset.root)),
        Options(),
        lambda done, total: watcher.preparing("scoring", done, total),
    )


def _scores(dataset: Dataset, evaluation: Evaluation) -> dict[str, Any]:
    """What the manifest keeps: means over all, per label and per case."""
    names = scored_names(dataset)
    dice = {
        case: {name: _or_nan(scores[name]["dice"]) for name in names}
        for case, scores in evaluation.scores.items()
    }
    surfaces = {
        metric: {one.name: evaluation.statistics(metric, one).mean for one in evaluation.structures}
        for metric in ("hd95_mm", "nsd")
    }
    return asdict(summarised(dice, names, 0.0)) | surfaces


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


def _write_processed(
    dataset: Dataset, cases: Sequence[Case], raw: Path, to: Path, rules: Sequence[Postprocessing]
) -> None:
    names = {label.id: label.name for label in dataset.labels}
    for case in cases:
        found = read_labels(raw / f"{case.name}.nii.gz")
        labels = postprocess(found.array[0], found.spacing_mm, rules)
        write_labels(to / f"{case.name}.nii.gz", labels, found, names)


def finish_estimate_s(dataset: Dataset, cases: Sequence[Case]) -> float:
    """Seconds of `finish` and of the report's pictures, from the work on one case's reference."""
    structures = structures_of(dataset.labels, dataset.regions)
    members = {each.name: each.members for each in structures}
    seconds = 0.0
    # The first one also loads libraries, which is done once and not for every case.
    for _ in range(2):
        began = time.monotonic()
        for _case, volume, reference in read_ahead(dataset, cases[:1]):
            labels = reference.array[0]
            if not dataset.regions:
                choose_rules(dataset.labels[1:], [(labels, labels, volume.spacing_mm)])
            score_structures(labels, labels, members, volume.spacing_mm)
        seconds = time.monotonic() - began
    shown = min(len(cases), _SHOWN * len(structures))
    return _FIXED_S + (3 * len(cases) + shown) * seconds
