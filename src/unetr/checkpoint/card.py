"""A model card in Markdown, after Mitchell et al., Model Cards for Model Reporting (FAT* 2019)."""

from collections.abc import Iterator, Sequence

from unetr.checkpoint.header import Header
from unetr.checkpoint.words import (
    Scores,
    counted,
    dice_words,
    listed,
    network_words,
    plan_words,
    scores_of,
    training_words,
)

# Names that are listed of many.
_MOST_NAMES = 8
_USE = """\
For research. This is no medical device: it is not cleared for diagnosis or treatment anywhere, and
nobody has shown that it is safe for them.

- It knows scans like those it was trained on: the same channels, a like scanner and protocol, like
  patients. On others it may fail without a sign of it; look at its results.
- It gives every scan labels, also one of another body part.
- Whatever was wrong or one-sided in the training labels, it has learnt."""

_CHOSEN = (
    "The best model of the run was chosen on these cases, so that on new scans somewhat less is to "
    "be expected; measure it on cases of your own with `unetr evaluate`."
)
_NOT_CHOSEN = (
    "It is the only model of its run that was validated: no other was compared with it on these "
    "cases. Measure it on cases of your own with `unetr evaluate`."
)
_RULES_CHOSEN = (
    "It is the only model of its run that was validated, but its post-processing was chosen on "
    "these cases; measure it on cases of your own with `unetr evaluate`."
)


def model_card(header: Header, name: str) -> str:
    """The card of the model called `name`: all of it read from the header, nothing asked anew.

    What the header does not know is said to be unknown.
    """
    plan = header.plan
    structures = [region.name for region in plan.regions] or [one.name for one in plan.labels[1:]]
    few = ", ".join(structures) if len(structures) <= 4 else counted(len(structures), "structure")
    sections = (
        f"# {name}: {few} from {' + '.join(plan.channels)}",
        "## What it segments\n\n" + "\n".join(_segments(header)),
        "## How well\n\n" + _how_well(scores_of(header)),
        "## Trained on\n\n" + _bullets(_trained_on(header)),
        "## Network and training\n\n" + _bullets(_network(header)),
        "## From a scan to its labels\n\n" + _bullets(plan_words(plan)),
        "## Intended use and limits\n\n" + _USE,
        "## Versions\n\n" + _bullets(_versions(header)),
    )
    return "\n\n".join(sections) + "\n"


def _segments(header: Header) -> Iterator[str]:
    plan = header.plan
    yield f"From {counted(len(plan.channels), 'channel')}: {', '.join(map(_cell, plan.channels))}."
    yield ""
    yield "| value in the label file | structure |"
    yield "|---|---|"
    for label in plan.labels:
        yield f"| {label.id} | {_cell(label.name)} |"
    if plan.regions:
        yield ""
        yield "It predicts regions, which may overlap, and paints them in this order:"
        yield ""
        for region in plan.regions:
            yield f"- {region.name}: labels {listed(region.members)}, painted as {region.paint}"


def _how_well(scores: Scores | None) -> str:
    if scores is None:
        return "The file holds no validation scores."
    count = counted(len(scores.cases), "case") if scores.cases else "an unknown number of cases"
    rows = [
        f"| {_cell(name)} | {dice_words(value)} |"
        for name, value in [*scores.structures.items(), ("mean", scores.dice)]
    ]
    named = f" ({_few(scores.cases)})" if scores.cases else ""
    seen = "training saw too" if scores.seen else "training did not see"
    return "\n".join(
        [
            f"Validation on {count}{named} that {seen}, on the scans' own grids:",
            "",
            f"| structure | mean Dice, n = {len(scores.cases) or '?'} |",
            "|---|---|",
            *rows,
            "",
            _CHOSEN if scores.chosen else _RULES_CHOSEN if scores.rules_chosen else _NOT_CHOSEN,
        ]
    )


def _trained_on(header: Header) -> Iterator[tuple[str, str]]:
    provenance = header.provenance
    if "imported_from" in provenance:
        yield "Imported from", f"{provenance['imported_from']} ({provenance.get('format', '')})"
    yield "Data set", str(provenance.get("dataset", "unknown"))
    train = provenance.get("train", ())
    yield "Size", f"{counted(len(train), 'case')} ({_few(train)})" if train else "unknown"
    yield "Fingerprint of the images", str(provenance.get("fingerprint", "unknown"))
    yield "Licence of the data", provenance.get("licence") or "not stated by the data set"
    for note in provenance.get("notes", ()):
        yield "Note", str(note)


def _network(header: Header) -> Iterator[tuple[str, str]]:
    yield "Network", network_words(header.network)
    yield "Training", training_words(header) or "unknown"


def _versions(header: Header) -> Iterator[tuple[str, str]]:
    yield "Model file", f"format {header.version}"
    for name, version in header.provenance.get("versions", {}).items():
        yield name, str(version)


def _bullets(facts: Iterator[tuple[str, str]]) -> str:
    return "\n".join(f"- {title}: {text}" for title, text in facts)


def _cell(text: str) -> str:
    """Names come from files; a bar would end the cell of a table."""
    return text.replace("|", "\\|")


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more
