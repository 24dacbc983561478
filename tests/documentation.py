"""The commands and Python of the documentation, and how they become cheap enough for a test."""

import re
import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from unetr.cli.main import VERBS

# What a shell block may hold besides unetr: set-up of a machine, and a cluster's own words.
OTHER_COMMANDS = ("#", "cd", "dcm2niix", "export", "git", "if grep", "test", "fi", "head=", "make",
                  "mkdir", "pip", "python")  # fmt: skip
OURS = re.compile(rf"(^|\s)unetr (--|{'|'.join(VERBS)}\b)")
# What a cluster tells its jobs.
ENVIRONMENT = {"SLURM_ARRAY_TASK_ID": "0"}
# Enough to be a network and a run, little enough to take a moment.
SMALL_NETWORK = {
    "network.hidden_size": 16,
    "network.mlp_dim": 32,
    "network.num_heads": 2,
    "network.num_layers": 4,
    "network.skip_layers": [1, 2, 3],
    "network.feature_size": 4,
    "training.batch": 1,
    "training.precision": "fp32",
    "validation.times": 1,
}
PAPER_SIZES = {"data.patch_voxels": [32, 32, 32], "data.token_voxels": [16, 16, 16]}


@dataclass(frozen=True)
class Step:
    """One thing to run: `words` of a command line, or `python`."""

    line: int
    written: str
    python: str = ""


def steps(text: str) -> list[Step]:
    """What a page of Markdown tells its reader to run, from top to bottom.

    Blocks in ```sh and ``` without a language hold commands, ```python Python, and other languages
    neither. A command in a line's `back quotes` counts where it is more than the name of a verb.
    """
    found: list[Step] = []
    language, block, began = None, "", 0
    for number, line in enumerate(text.splitlines(), 1):
        fence = re.match(r" *```(\w*) *$", line)
        if fence and language is None:
            language, block, began = fence[1], "", number + 1
        elif fence:
            found += _of_block(language or "", block, began)
            language = None
        elif language is not None:
            block += line + "\n"
        else:
            spans = re.findall(r"(?<!`)`((?:unetr|torchrun) [^`]+)`(?!`)", line)
            found += [Step(number, span) for span in spans if not is_a_name(span)]
    return found


def is_a_name(span: str) -> bool:
    """`unetr predict` names a verb; `unetr predict run scan.nii.gz -o out` is a command."""
    return span.removeprefix("unetr ") in VERBS


def _of_block(language: str, block: str, began: int) -> Iterator[Step]:
    if language == "python":
        yield Step(began, block, python=textwrap.dedent(block))
    if language not in ("", "sh"):
        return
    number = began
    for line in re.split(r"(?<!\\)\n", block):
        command = " ".join(line.replace("\\\n", " ").split())
        command = re.sub(r" #.*", "", command)
        if OURS.search(command):
            yield Step(number, command)
        elif command and not command.startswith(OTHER_COMMANDS):
            raise AssertionError(f"line {number}: a command that no test runs: {command}")
        number += line.count("\n") + 1


def runnable(written: str) -> list[str]:
    """The words behind `unetr` as the shell would give them, without what belongs to a cluster.

    torchrun and srun are left out, absolute paths on a shared disk are taken within the folder,
    and a pipe ends the command.
    """
    for name, value in ENVIRONMENT.items():
        written = written.replace(f"${name}", value)
    words = shlex.split(re.split(r" [|>] ", written)[0].replace(" /shared/", " shared/"))
    words = words[words.index("unetr") + 1 :]
    return [each for word in words for each in (matching(word) if "*" in word else [word])]


def matching(pattern: str) -> list[str]:
    """Files of the working folder, as a shell lists them."""
    return sorted(map(str, Path().glob(pattern)))


def made_cheap(words: list[str]) -> list[str]:
    """Trainings take two steps of a small network in place of minutes of the planned one."""
    if words[0] not in ("train", "demo") or "--help" in words:
        return words
    cheap = without(without(words, "--max-minutes"), "--max-steps")
    settings = dict(SMALL_NETWORK)
    if "--recipe" in words:
        settings |= PAPER_SIZES
    if "--init" in words:
        # The network is the model's.
        settings = {key: value for key, value in settings.items() if "network" not in key}
    for key, value in settings.items():
        cheap += ["--set", f"{key}={value}"]
    return [*cheap, "--max-steps", "2"]


def without(words: list[str], option: str) -> list[str]:
    """Without an option and its value."""
    if option not in words:
        return words
    at = words.index(option)
    return words[:at] + words[at + 2 :]


def value_of(words: list[str], *names: str) -> str:
    """An option's value."""
    return words[next(words.index(name) for name in names if name in words) + 1]


def is_new_run(words: list[str]) -> bool:
    """Whether the command begins a training in a folder that must not be there yet."""
    return words[0] == "train" and not {"--resume", "--overwrite", "--help"} & set(words)


def pages(root: Path) -> dict[str, str]:
    """All documentation, by name, and the examples in the help of the verbs."""
    paths = [root / "README.md", *sorted((root / "docs").rglob("*.md"))]
    found = {str(path.relative_to(root)): path.read_text(encoding="utf-8") for path in paths}
    examples = []
    for verb in VERBS.values():
        examples += re.findall(r"Example: (unetr .*)", verb.__doc__ or "")
    return found | {"help": "```sh\n" + "\n".join(examples) + "\n```\n"}
