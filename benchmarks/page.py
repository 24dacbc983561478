"""Runs the benchmarks one after another and writes what they print to docs/benchmarks.md.

A section per script: what it measures in the words of its own docstring, then each command that was
run, with the output as printed, the day and the minutes. What is not run again stays as it is.

    python benchmarks/page.py [NAME ...]      # default: all but LONG
    python benchmarks/page.py "accuracy --data chaos_mr --networks auto"
"""

import argparse
import ast
import datetime
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from importlib.metadata import version
from itertools import groupby
from pathlib import Path

FOLDER = Path(__file__).parent
PAGE = FOLDER.parent / "docs" / "benchmarks.md"
# In the order of the page.
SCRIPTS = (
    "parity", "attention_memory", "forward", "training_step", "step_profile", "training_memory",
    "augmentation", "data_pipeline", "loop_speed", "recipes", "predict", "predict_large", "growth",
    "restore_memory", "round_trip", "metrics", "startup", "orientations", "uncertainty",
    "kill_resume", "shipped",
)  # fmt: skip
# These train for hours, or need runs that are named.
LONG = ("accuracy", "ablation", "brightness")
INTRODUCTION = """\
# Benchmarks

Everything here is printed by a script in `benchmarks/`; `make bench` runs them and writes this
page, and `python benchmarks/page.py NAME` runs one of them again. Where there is a peer, both run
in turn in one run on the same machine, with the same weights, inputs and threads. Machines differ
and are shared: ratios say more than seconds. Some scripts need the real scans that the environment
variable `UNETR_TEST_DATA` names.
"""


def main() -> None:
    """Runs what was asked for; the page is written after each script."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join((*SCRIPTS, *LONG)))
    names = [shlex.join(shlex.split(name)) for name in parser.parse_args().names or SCRIPTS]
    if unknown := {name.split()[0] for name in names} - {*SCRIPTS, *LONG}:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    failed = []
    for name in names:
        print(f"== {name}", flush=True)
        if (part := measured(name)) is None:
            failed.append(name)
            continue
        write_page(read_page() | {name: part})
    if failed:
        sys.exit(f"failed: {', '.join(failed)}; what was printed before is left")


def measured(command: str) -> str | None:
    """What a script with its arguments prints, under the command; None if it failed."""
    name, *words = shlex.split(command)
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, str(FOLDER / f"{name}.py"), *words], stdout=subprocess.PIPE, text=True
    )
    print(done.stdout, flush=True)
    if done.returncode:
        return None
    minutes = (time.monotonic() - began) / 60
    # Scripts that train go on from the runs they find, and tell where those were made.
    where = "" if name in LONG else f", {minutes:.1f} minutes, on {machine()}"
    called = shlex.join(["python", f"benchmarks/{name}.py", *words])
    date = datetime.date.today().isoformat()
    return f"### `{called}`\n\n{as_markdown(done.stdout)}\n\n*{date}{where}.*\n"


def introduced(name: str) -> str:
    """A script's section as it begins: its docstring, but for how it is called."""
    docstring = ast.get_docstring(ast.parse((FOLDER / f"{name}.py").read_text())) or name
    title, _, rest = docstring.partition("\n")
    explained = re.sub(r"\n\n    (python|UNETR_TEST_DATA).*", "", rest.strip(), flags=re.DOTALL)
    return f"## {title.rstrip('.')}\n\n{explained}\n"


def as_markdown(output: str) -> str:
    """Tables as they are, everything else as printed."""
    blocks = []
    for is_table, lines in groupby(output.strip().splitlines(), lambda x: x.startswith("|")):
        text = "\n".join(lines).strip("\n")
        if text:
            blocks.append(text if is_table else f"```text\n{text}\n```")
    return "\n\n".join(blocks)


def read_page() -> dict[str, str]:
    """What the page has of each script with its arguments."""
    text = PAGE.read_text() if PAGE.exists() else ""
    found = {}
    for part in re.split(r"^(?=##+ )", text, flags=re.MULTILINE)[1:]:
        if called := re.match(r"### `python benchmarks/(\w+)\.py([^`]*)`", part):
            found[called[1] + called[2]] = part
    return found


def write_page(found: dict[str, str]) -> None:
    place = {name: number for number, name in enumerate((*SCRIPTS, *LONG))}
    ordered = sorted(found, key=lambda command: (place[command.split()[0]], command))
    parts = [INTRODUCTION]
    for name, commands in groupby(ordered, lambda command: command.split()[0]):
        parts += [introduced(name), *(found[command] for command in commands)]
    PAGE.write_text("\n".join(part.strip("\n") + "\n" for part in parts))


def machine() -> str:
    """Processor, cores, memory and versions in a line."""
    cpu = platform.processor() or platform.machine()
    if (info := Path("/proc/cpuinfo")).exists():
        text = info.read_text()
        cpu = re.search(r"model name\s*: (.*)", text)[1] if "model name" in text else cpu
        flags = [f for f in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f in text.split()]
        cpu += f" ({', '.join(flags)})"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    packages = ", ".join(f"{one} {version(one)}" for one in ("torch", "monai", "openvino"))
    python = platform.python_version()
    return f"{cpu}, {os.cpu_count()} cores, {memory:.0f} GiB, Python {python}, {packages}"


if __name__ == "__main__":
    main()
