"""The page: everything computed here, laid out in templates/."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from unetr.evaluation import Evaluation, Structure, summary
from unetr.evaluation.statistics import Statistics
from unetr.files import written_whole
from unetr.report import plots
from unetr.report.pictures import pictures

# Name, heading, digits, whether it is worth its place on a phone.
_COLUMNS = (
    ("dice", "Dice", 3, True),
    ("hd95_mm", "HD95, mm", 2, True),
    ("nsd", "NSD", 3, True),
    ("assd_mm", "ASSD, mm", 2, False),
    ("volume_ml", "volume, ml", 2, False),
    ("reference_volume_ml", "reference, ml", 2, False),
)
_SUMMARISED = (
    ("dice", "Dice", 3),
    ("hd95_mm", "HD95, mm", 2),
    ("nsd", "NSD", 3),
    ("assd_mm", "ASSD, mm", 2),
    ("relative_volume_error", "relative volume error", 3),
)
_LESIONS = (
    ("lesion_sensitivity", "lesion sensitivity", 3),
    ("lesion_precision", "lesion precision", 3),
    ("lesion_f1", "lesion F1", 3),
)


_MOST_NAMES = 10


@dataclass(frozen=True)
class Summarised:
    """One structure's line in the summary, or that of all."""

    name: str
    label: str
    cells: Sequence[tuple[str, Statistics, int]]
    worst: Sequence[tuple[str, float]]


@dataclass(frozen=True)
class CaseRow:
    """One case and structure."""

    case: str
    structure: str
    cells: Sequence[tuple[float | None, int, bool]]


def write_report(
    path: str | Path,
    evaluation: Evaluation,
    title: str = "Segmentation report",
    notes: Sequence[str] = (),
) -> None:
    """Writes one HTML file that needs nothing else.

    Args:
        notes: What a reader of the figures must know, a line each.

    Raises:
        InputError: the folder cannot be written to, or the disk is full.
    """
    environment = Environment(
        loader=PackageLoader("unetr.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["number"] = _number
    boxes = [plots.box_plot(evaluation, metric, heading) for metric, heading, _ in _SUMMARISED[:3]]
    text = environment.get_template("report.html.jinja").render(
        title=title,
        notes=[*notes, *_notes(evaluation)],
        evaluation=evaluation,
        summarised=list(_summarised(evaluation)),
        boxes=[each for each in boxes if each],
        scatters=[s for e in evaluation.structures if (s := plots.volume_scatter(evaluation, e))],
        pictures=pictures(evaluation),
        columns=_COLUMNS,
        rows=list(_rows(evaluation)),
        definitions=summary(evaluation)["definitions"],
        plots=plots,
        version=version("unetr"),
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )
    with written_whole(Path(path)) as part:
        # Folders may have names that are not UTF-8.
        part.write_text(text, encoding="utf-8", errors="replace")


def _number(value: float | None, digits: int) -> str:
    """With a true minus sign; a dash where undefined."""
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


def _summarised(evaluation: Evaluation) -> Iterator[Summarised]:
    metrics = _SUMMARISED + (_LESIONS if evaluation.lesions else ())

    def line(structure: Structure | None) -> Summarised:
        cells = [(h, evaluation.statistics(m, structure), digits) for m, h, digits in metrics]
        if structure is None:
            return Summarised("all", "", cells, ())
        worst = evaluation.ranked(structure)[:3]
        return Summarised(structure.name, structure.label, cells, worst)

    yield from map(line, evaluation.structures)
    if len(evaluation.structures) > 1:
        yield line(None)


def _rows(evaluation: Evaluation) -> Iterator[CaseRow]:
    for case in evaluation.cases:
        for structure in evaluation.structures:
            scores = evaluation.scores[case][structure.name]
            cells = [(scores[metric], digits, phone) for metric, _, digits, phone in _COLUMNS]
            yield CaseRow(case, structure.name, cells)


def _notes(evaluation: Evaluation) -> Iterator[str]:
    for case, message in evaluation.failures.items():
        yield f"{case} could not be scored: {message}"
    for what, names in (
        ("Predictions without a reference", evaluation.unmatched_predictions),
        ("References without a prediction", evaluation.unmatched_references),
        ("Resampled onto the reference's grid", evaluation.resampled),
    ):
        if names:
            rest = len(names) - _MOST_NAMES
            told = ", ".join(names[:_MOST_NAMES]) + (f" and {rest} more" if rest > 0 else "")
            yield f"{what} ({len(names)}): {told}"
