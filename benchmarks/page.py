"""Runs the benchmarks one after another and writes what they print to docs/benchmarks.md.

A section per command: what it measures in the words of the script's own docstring, the command, the
output as printed, the day and the minutes. Sections that are not run again stay as they are.

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
        if (section := measured(name)) is None:
            failed.append(name)
            continue
        sections = read_sections() | {name: section}
        write_page(sections)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}; their sections are left as they were")


def measured(command: str) -> str | None:
    """The section of one script with its arguments; None if it failed."""
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
    docstring = ast.get_docstring(ast.parse((FOLDER / f"{name}.py").read_text())) or name
    title, _, rest = docstring.partition("\n")
    explained = re.sub(r"\n\n    python .*", "", rest.strip(), flags=re.DOTALL)
    explained = re.sub(r"\n\n    UNETR_TEST_DATA.*", "", explained, flags=re.DOTALL)
    date = datetime.date.today().isoformat()
    called = shlex.join(["python", f"benchmarks/{name}.py", *words])
    title = f"{title.rstrip('.')} ({' '.join(words)})" if words else title.rstrip(".")
    foot = f"*`{called}`, {date}{where}.*"
    return f"## {title}\n\n{explained}\n\n{as_markdown(done.stdout)}\n\n{foot}\n"


def as_markdown(output: str) -> str:
    """Tables as they are, everything else as printed."""
    blocks = []
    for is_table, lines in groupby(output.strip().splitlines(), lambda x: x.startswith("|")):
        text = "\n".join(lines).strip("\n")
        if text:
            blocks.append(text if is_table else f"```text\n{text}\n```")
    return "\n\n".join(blocks)


def read_sections() -> dict[str, str]:
    """Of the page that is there, by the script's name and its arguments."""
    text = PAGE.read_text() if PAGE.exists() else ""
    found = {}
    for section in re.split(r"^(?=## )", text, flags=re.MULTILINE)[1:]:
        if called := re.search(r"^\*`python benchmarks/(\w+)\.py([^`]*)`", section, re.MULTILINE):
            found[called[1] + called[2]] = section
    return found


def write_page(sections: dict[str, str]) -> None:
    place = {name: number for number, name in enumerate((*SCRIPTS, *LONG))}
    ordered = sorted(sections, key=lambda command: (place[command.split()[0]], command))
    parts = [INTRODUCTION, *(sections[command] for command in ordered)]
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
