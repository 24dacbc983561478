"""The record of a prediction run, beside its outputs: what computed them, and how."""

import json
import resource
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from unetr.checkpoint.model import Model
from unetr.checkpoint.provenance import now, versions
from unetr.files import written_whole
from unetr.image import image_suffix
from unetr.inference.cases import Job, Outcome, image_states
from unetr.inference.engine import Engine
from unetr.inference.exported import Exported
from unetr.inference.outputs import output_paths
from unetr.inference.predictor import Predictor
from unetr.inference.ranks import rank_and_count

# What a case's entry says of what its files were made of, and by what.
_MADE_BY = (
    "images",
    "image_states",
    "outputs",
    "models",
    "engine",
    "precision",
    "mirrorings",
    "overlap",
    "blend",
    "maps",
)


def manifest_path(out: Path, part: str | None) -> Path:
    """`manifest.json` in the folder of outputs; beside a single file, and for a part of the cases,
    a name of its own, so that runs side by side do not overwrite each other's."""
    if image_suffix(out):
        return out.with_name(out.name.removesuffix(image_suffix(out)) + ".manifest.json")
    rank, count = rank_and_count()
    parts = [part] if part else []
    parts += [f"{rank + 1}/{count}"] if count > 1 else []
    return out / ("-".join(["manifest", *(one.replace("/", "-of-") for one in parts)]) + ".json")


def write_manifest(path: Path, predictor: Predictor, outcomes: Iterable[Outcome]) -> None:
    """Writes the record. Cases of an earlier run that this one skipped keep their entry.

    Each case names what computed it, which may be another model than that of this run.
    `peak_memory_gb` is the most this process ever held.
    """
    cases = _earlier(path)
    for outcome in outcomes:
        name = outcome.job.case.name
        if outcome.only_maps:
            # Who made the labels is still said; nobody knows where no record was.
            makers = _makers(cases, path, name)
            maps: dict[str, Any] = {"maps": _computed_by(predictor)}
            if "outputs" in makers:
                maps["outputs"] = sorted({*makers["outputs"], *outcome.made})
            cases[name] = {**_case(outcome), **makers, **maps}
        elif outcome.status == "failed":
            # What an earlier run wrote is still there, and still that run's.
            cases[name] = {**_case(outcome), **_makers(cases, path, name)}
        elif outcome.status == "done":
            # Whatever was in the same file before is no longer there.
            output = str(outcome.job.output.absolute())
            cases = {key: one for key, one in cases.items() if one.get("output") != output}
            made = {"outputs": sorted(outcome.made), "image_states": [*outcome.states]}
            cases[name] = {**_case(outcome), **made, **_computed_by(predictor)}
        elif name not in cases:
            cases[name] = _case(outcome)
    content = {**_run(predictor), "cases": cases}
    with written_whole(path) as part:
        part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _makers(cases: dict[str, Any], path: Path, name: str) -> dict[str, Any]:
    """What is known of who made a case's files, which may have been another part of the scans."""
    entry = cases[name] if name in cases else _known(path).get(name, {})
    return {key: value for key, value in entry.items() if key in _MADE_BY}


def made_of_others(path: Path, jobs: Iterable[Job]) -> str:
    """One line where labels that are there were made of other scans of the same names, or of what
    these files held before, else nothing."""
    cases = _known(path)
    by_output = {Path(entry.get("output", "")).resolve(): entry for entry in cases.values()}
    others: dict[str, str] = {}
    for job in jobs:
        entry = cases.get(job.case.name) or by_output.get(job.output.resolve(), {})
        there = [Path(one).resolve() for one in entry.get("images", ())]
        here = [one.resolve() for one in job.case.images]
        if not job.output.exists() or not there:
            continue
        if there != here:
            others[job.case.name] = f"of {there[0]}, not of {here[0]}"
        elif entry.get("image_states", states := [*image_states(here)]) != states:
            others[job.case.name] = f"of what {here[0]} was before"
    return _already([*others], next(iter(others.values()))) if others else ""


def maps_of_others(path: Path, jobs: Iterable[Job]) -> str:
    """One line where a map that is asked for lies there from before its labels, else nothing."""
    cases, others = _known(path), []
    for job in jobs:
        made = cases.get(job.case.name, {}).get("outputs")
        there = [name for name in job.maps if getattr(output_paths(job.output), name).exists()]
        if job.output.exists() and made is not None and {*there} - {*made}:
            others.append(job.case.name)
    return _already(others, "before its labels were, by another prediction") if others else ""


def made_by_others(path: Path, jobs: Iterable[Job], models: Sequence[Model | Exported]) -> str:
    """One line where labels that are there were computed by other models than these, or by what
    these files held before, else nothing."""
    cases = _known(path)
    now = [_identity(model) for model in models]
    others: dict[str, list[str]] = {}
    for job in jobs:
        entry = cases.get(job.case.name)
        if entry and job.output.exists() and not _same(entry["models"], now):
            others[job.case.name] = _model_files(entry)
    if not others:
        return ""
    there, here = next(iter(others.values())), [one["file"] for one in now]
    maker = f"{', '.join(there)}, not by {', '.join(here)}"
    if [str(Path(one).resolve()) for one in there] == here:
        maker = f"what {', '.join(here)} was before"
    return _already([*others], f"by {maker}")


def _already(names: Sequence[str], made: str) -> str:
    """What is there of these cases, made by or of something else, and what may be done."""
    many = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return (
        f"{names[0]}{many}: already there, made {made}; --overwrite predicts anew, another -o "
        "keeps both"
    )


def _known(path: Path) -> dict[str, Any]:
    """Cases by name, of all the records in a folder: other parts, or another number of them, may
    have made what is there; the newest record counts."""
    records = [path]
    if path.name.startswith("manifest"):
        records = sorted(path.parent.glob("manifest*.json"), key=lambda one: one.stat().st_mtime)
    found = [_earlier(record).items() for record in records]
    return {name: case for cases in found for name, case in cases if _model_files(case)}


def peak_memory_gb() -> float:
    """The most memory this process ever held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e9 if sys.platform == "darwin" else peak * 1024 / 1e9


def _run(predictor: Predictor) -> dict[str, Any]:
    return {
        "written": now(),
        **_computed_by(predictor),
        "device": str(predictor.device),
        "threads": torch.get_num_threads(),
        "peak_memory_gb": round(peak_memory_gb(), 3),
        "versions": versions(),
    }


def _computed_by(predictor: Predictor) -> dict[str, Any]:
    return {
        "models": [_identity(engine) for engine in predictor.engines],
        "engine": predictor.engine_names,
        "precision": predictor.precisions,
        "mirrorings": len(predictor.mirrors),
        "overlap": predictor.overlap,
        "blend": predictor.blend,
    }


def _identity(model: Model | Exported | Engine) -> dict[str, str]:
    """Of a file that may be trained anew under its name: its header tells of the training."""
    header = model.header
    return {
        "file": str(Path(model.source).resolve()),
        "network": header.network.name,
        "header": header.digest,
    }


def _same(made_by: list[dict[str, str]], now: list[dict[str, str]]) -> bool:
    """Whether they are the same models; what a record does not say of them counts as the same."""
    return len(made_by) == len(now) and all(
        str(Path(one["file"]).resolve()) == other["file"]
        and one.get("header", other["header"]) == other["header"]
        for one, other in zip(made_by, now, strict=True)
    )


def _case(outcome: Outcome) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "images": [str(path.absolute()) for path in outcome.job.case.images],
        "output": str(outcome.job.output.absolute()),
        "status": outcome.status,
    }
    if outcome.seconds:
        entry["seconds"] = {step: round(value, 3) for step, value in outcome.seconds.items()}
    if outcome.error:
        entry["error"] = outcome.error
    return entry


def _model_files(entry: Any) -> list[str]:
    """What a recorded case was computed by; nothing where that is not said."""
    try:
        return [str(one["file"]) for one in entry["models"]]
    except (KeyError, TypeError):
        return []


def _earlier(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["cases"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: entry for name, entry in found.items() if isinstance(entry, dict)}
