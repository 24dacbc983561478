"""The end of a run: post-processing chosen, validation scored in full, the model completed."""

import csv
import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from unetr.checkpoint.model import load_model, save_model
from unetr.data.cases import Case, Dataset
from unetr.data.plan import Postprocessing
from unetr.files import written_whole
from unetr.image import read_labels, write_labels
from unetr.inference.postprocess import postprocess
from unetr.training.folder import Manifest, now, write_manifest
from unetr.training.history import draw_curves, read_history
from unetr.training.loop import predictions_folder
from unetr.training.postprocessing import Labels, choose_rules
from unetr.training.progress import Watcher
from unetr.training.validation import Validator, dice_scores, read_ahead, scored_names, summarised

# For the model, the curves and the report.
_FIXED_S = 10.0


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
    rules: tuple[Postprocessing, ...] = ()
    gains: dict[str, float] = {}
    if not manifest.plan.regions:
        done = 0

        def tell() -> None:
            nonlocal done
            done += 1
            watcher.preparing("choosing post-processing", done, len(cases))

        labels = manifest.plan.labels[1:]
        rules, gains = choose_rules(labels, _pairs(dataset, cases, raw), tell)
    for name, gain in gains.items():
        watcher.say(f"{name}: keeping the largest component alone adds {gain:.4f} Dice, so it is")
    labelled = run / "validation" / "predictions"
    _write_processed(dataset, cases, raw, labelled, rules)
    scores = _score(dataset, cases, labelled)
    _write_scores(run / "validation", scores, gains)
    best.plan = best.plan.model_copy(update={"postprocessing": rules})
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
    watcher.say(f"validation Dice {scores['dice']:.4f}: {_listed(scores['labels'])}")
    return finished


def _listed(scores: Mapping[str, float | None]) -> str:
    return ", ".join(
        f"{name} {'undefined' if value is None else f'{value:.4f}'}"
        for name, value in scores.items()
    )


def _pairs(
    dataset: Dataset, cases: Sequence[Case], folder: Path
) -> Iterator[tuple[Labels, Labels, Sequence[float]]]:
    for case, volume, reference in read_ahead(dataset, cases):
        found = read_labels(folder / f"{case.name}.nii.gz")
        yield found.array[0], reference.array[0], volume.spacing_mm


def _write_scores(folder: Path, scores: dict[str, Any], gains: dict[str, float]) -> None:
    """summary.json with the means, cases.csv with a row per case."""
    with written_whole(folder / "summary.json") as part:
        content = scores | {"definition": "Dice on the scan's own grid", "postprocessing": gains}
        part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    with written_whole(folder / "cases.csv") as part, part.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["case", "dice"])
        table.writerows(scores["cases"].items())


def _score(dataset: Dataset, cases: Sequence[Case], folder: Path) -> dict[str, Any]:
    scores = {}
    for case, (found, reference, _) in zip(cases, _pairs(dataset, cases, folder), strict=True):
        scores[case.name] = dice_scores(dataset, found, reference)
    return asdict(summarised(scores, scored_names(dataset), 0.0))


def _write_processed(
    dataset: Dataset, cases: Sequence[Case], raw: Path, to: Path, rules: Sequence[Postprocessing]
) -> None:
    names = {label.id: label.name for label in dataset.labels}
    for case in cases:
        found = read_labels(raw / f"{case.name}.nii.gz")
        labels = postprocess(found.array[0], found.spacing_mm, rules)
        write_labels(to / f"{case.name}.nii.gz", labels, found, names)


def finish_estimate_s(dataset: Dataset, cases: Sequence[Case]) -> float:
    """Seconds that `finish` will take, from its work on the reference of one case."""
    began = time.monotonic()
    for _case, volume, reference in read_ahead(dataset, cases[:1]):
        labels = reference.array[0]
        choose_rules(dataset.labels[1:], [(labels, labels, volume.spacing_mm)])
        dice_scores(dataset, labels, labels)
    return _FIXED_S + 3 * len(cases) * (time.monotonic() - began)
