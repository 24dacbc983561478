"""The summary of all folds: every case is scored once, by a model that never saw it."""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from unetr.errors import InputError
from unetr.evaluation.records import read_evaluation
from unetr.evaluation.result import Evaluation
from unetr.evaluation.statistics import mean_defined
from unetr.files import written_whole
from unetr.training.fixed import fixed_digest
from unetr.training.folder import Manifest, read_manifest, read_recipe
from unetr.training.recipe import Recipe, Training

FILE = "cross_validation.json"


def fold_runs(run: Path) -> list[Path]:
    """What `run` holds of folds: fold_0, fold_1, and so on, and nothing that is named alike."""
    return sorted(path for path in run.glob("fold_*") if path.is_dir() and path.name[5:].isdigit())


def write_cross_validation(run: Path, folds: int) -> float | None:
    """Writes cross_validation.json into `run`, from its finished folds.

    Returns:
        The mean Dice over all cases, each the mean of its labels; None where none is defined.

    Raises:
        InputError: a fold is not finished, or as `check_together`, or was trained for other labels
            or regions.
    """
    scores, evaluations = [], []
    first = run / "fold_0"
    for fold in range(folds):
        manifest = read_manifest(run / f"fold_{fold}")
        if manifest.status != "finished":
            raise InputError(f"{run / f'fold_{fold}'}: not finished; continue it with --resume")
        recipe = read_recipe(run / f"fold_{fold}", [])
        check_together(run / f"fold_{fold}", manifest, recipe, first)
        check_end(run / f"fold_{fold}", recipe.training, read_recipe(first, []).training)
        scores.append(manifest.scores)
        # Not what somebody may have evaluated into the fold's own folder.
        evaluations.append(read_evaluation(run / f"fold_{fold}" / "validation"))
        if scores[0]["labels"].keys() != manifest.scores["labels"].keys():
            raise InputError(
                f"{run / f'fold_{fold}'}: scored by {', '.join(manifest.scores['labels'])}, but "
                f"fold 0 by {', '.join(scores[0]['labels'])}; train them with the same data.regions"
            )
    cases = {name: value for one in scores for name, value in one["cases"].items()}
    defined = [value for value in cases.values() if value is not None]
    dice = mean(defined) if defined else None
    of_folds = [one["dice"] for one in scores if one["dice"] is not None]
    content: dict[str, Any] = {
        "folds": [{"dice": one["dice"], "labels": one["labels"]} for one in scores],
        "dice_of_cases": dice,
        "dice_of_folds": mean(of_folds) if of_folds else None,
        "deviation_of_folds": stdev(of_folds) if len(of_folds) > 1 else None,
        "labels": {name: _over_cases(evaluations, name) for name in scores[0]["labels"]},
        "cases": cases,
    }
    with written_whole(run / FILE) as part:
        part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return dice


def check_together(run: Path, manifest: Manifest, recipe: Recipe, fold_0: Path) -> None:
    """Refuses folds of which one summary would say something that is not so.

    Args:
        run: A fold's, of this manifest and this recipe with all its fields filled in.
        fold_0: The run of the first fold.

    Raises:
        InputError: `run` is not trained as fold 0 was: on other data, from other weights, or by
            another recipe.
    """
    first, anew = read_manifest(fold_0), "or train all folds anew with --overwrite"
    if manifest.fingerprint != first.fingerprint:
        raise InputError(
            f"{run}: the data set is not what it was for fold 0, so that some cases would be "
            f"scored twice or never; restore it, {anew}"
        )
    if _differ(manifest.label_digest, first.label_digest):
        raise InputError(
            f"{run}: the data set's labels, or where they lie, are not what they were for fold 0, "
            f"by which it was scored; restore them, {anew}"
        )
    if _differ(manifest.init_header, first.init_header) or bool(manifest.init) != bool(first.init):
        ways = [each.init or "new weights" for each in (manifest, first)]
        raise InputError(
            f"{run}: begins with {ways[0]}, but fold 0 began with {ways[1]}, as it was then; give "
            f"the same --init, {anew}"
        )
    # Folds on other machines are given the recipe that fold 0 came to.
    same = fixed_digest(recipe) == fixed_digest(read_recipe(fold_0, []))
    if _differ(manifest.recipe_digest, first.recipe_digest) and not same:
        raise InputError(
            f"{run}: goes by another recipe or other settings than fold 0; give the same --recipe "
            f"and --set, {anew}"
        )


def _differ(one: str | None, other: str | None) -> bool:
    """Where both are known."""
    return one is not None and other is not None and one != other


def check_end(run: Path, training: Training, first: Training) -> None:
    """Raises InputError where a fold has another end than fold 0."""
    for field in ("max_steps", "max_minutes"):
        there, here = getattr(first, field), getattr(training, field)
        if there != here:
            raise InputError(
                f"{run}: training.{field} is {here}, but {there} in fold 0; give all folds one end "
                "with --resume, or train them anew with --overwrite"
            )


def _over_cases(evaluations: Sequence[Evaluation], label: str) -> float | None:
    """The label's mean over the cases of all folds that it is defined in."""
    cases = [scores[label]["dice"] for each in evaluations for scores in each.scores.values()]
    return mean_defined([value for value in cases if value is not None])
