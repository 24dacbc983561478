"""The summary of all folds: every case is scored once, by a model that never saw it."""

import json
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from unetr.errors import InputError
from unetr.files import written_whole
from unetr.training.fixed import fixed_digest
from unetr.training.folder import Manifest, read_manifest, read_recipe
from unetr.training.recipe import Recipe

FILE = "cross_validation.json"


def fold_runs(run: Path) -> list[Path]:
    """What `run` holds of folds: fold_0, fold_1, and so on, and nothing that is named alike."""
    return sorted(path for path in run.glob("fold_*") if path.is_dir() and path.name[5:].isdigit())


def write_cross_validation(run: Path, folds: int) -> float:
    """Writes cross_validation.json into `run`, from its finished folds.

    Returns:
        The mean Dice over all cases, each the mean of its labels.

    Raises:
        InputError: a fold is not finished, or as `check_together`, or was trained for other labels
            or regions.
    """
    scores = []
    first = run / "fold_0"
    for fold in range(folds):
        manifest = read_manifest(run / f"fold_{fold}")
        if manifest.status != "finished":
            raise InputError(f"{run / f'fold_{fold}'}: not finished; continue it with --resume")
        check_together(run / f"fold_{fold}", manifest, read_recipe(run / f"fold_{fold}", []), first)
        scores.append(manifest.scores)
        if scores[0]["labels"].keys() != manifest.scores["labels"].keys():
            raise InputError(
                f"{run / f'fold_{fold}'}: scored by {', '.join(manifest.scores['labels'])}, but "
                f"fold 0 by {', '.join(scores[0]['labels'])}; train them with the same data.regions"
            )
    cases = {name: value for one in scores for name, value in one["cases"].items()}
    defined = [value for value in cases.values() if value is not None]
    dice = mean(defined) if defined else 0.0
    content: dict[str, Any] = {
        "folds": [{"dice": one["dice"], "labels": one["labels"]} for one in scores],
        "dice_of_cases": dice,
        "dice_of_folds": mean(one["dice"] for one in scores),
        "deviation_of_folds": stdev(one["dice"] for one in scores) if folds > 1 else None,
        "labels": {name: _over(scores, name) for name in scores[0]["labels"]},
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


def _over(scores: list[dict[str, Any]], label: str) -> float | None:
    found = [one["labels"][label] for one in scores if one["labels"].get(label) is not None]
    return mean(found) if found else None
