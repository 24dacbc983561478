"""The command line as a whole: help, loudness, exit codes, and how it ends."""

import importlib.metadata
import logging
import os
import pty
import re
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from unetr.cli import talk
from unetr.cli.main import VERBS

COMMAND = Path(sys.executable).parent / "unetr"
# What a person is spared who only asks for help.
HEAVY = ("torch", "numpy", "scipy", "monai", "pydantic", "nibabel", "matplotlib", "rich", "jinja2")


def finished(*words: object, **more) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(COMMAND), *map(str, words)], capture_output=True, text=True, check=False, **more
    )


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """One case whose header places it in two ways."""
    array = np.random.default_rng(0).normal(size=(8, 8, 8)).astype(np.float32)
    for folder, voxels in (("images", array), ("labels", (array > 1).astype(np.uint8))):
        image = nib.Nifti1Image(voxels, np.eye(4))
        image.header.set_sform(np.eye(4), 1)
        image.header.set_qform(np.diag([2.0, 2.0, 2.0, 1.0]), 1)
        (tmp_path / folder).mkdir()
        image.to_filename(tmp_path / folder / "a.nii.gz")
    return tmp_path


def test_help_imports_nothing_heavy():
    """A verb's help may import pydantic: typer parses the words before `--help` with it."""
    code = (
        "import sys\nfrom unetr.cli.main import run\n"
        "def found(): return {name for name in sys.argv[1].split() if name in sys.modules}\n"
        "assert run(['--help']) == run(['--version']) == 0\n"
        "assert not found(), found()\n"
        "assert not any(run([verb, '--help']) for verb in sys.argv[2:])\n"
        "assert found() <= {'pydantic'}, found()\n"
    )
    command = [sys.executable, "-c", code, " ".join(HEAVY), *VERBS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_names_every_verb_and_the_exit_codes_in_80_columns(unetr):
    for words in ((), ("--help",), ("-h",)):
        code, out, err = unetr(*words)
        assert (code, err) == (0, "")
        assert max(map(len, out.splitlines())) <= 80
        for name in VERBS:
            # Its line is whole: one that was cut ends in dots.
            assert re.search(rf"^  {name} .*[^.]\.?$", out, re.M), name
        for told in ("0 done", "1 some cases failed", "2 the call", "130"):
            assert told in out


@pytest.mark.parametrize("name", VERBS)
def test_help_of_a_verb_has_an_example_and_the_options_of_all(name, unetr):
    code, out, err = unetr(name, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: unetr {name} ")
    assert max(map(len, out.splitlines())) <= 80
    assert f"Example: unetr {name}" in out
    for option in ("-q, --quiet", "-v, --verbose", "--debug", "-h, --help"):
        assert option in out


def test_usage_says_what_must_be_given(unetr):
    assert unetr("train", "-h")[1].startswith("Usage: unetr train DATASET -o RUN [OPTIONS]\n")


def test_version(unetr):
    assert unetr("--version") == (0, f"unetr {importlib.metadata.version('unetr')}\n", "")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("predct", "a"), "No such command 'predct'. Did you mean 'predict'"),
        (("train", "a", "-o", "b", "--max-step", "3"), "--max-steps"),
        (("train", "a"), "Missing option '-o' / '--out'"),
        (("train", "a", "-o", "b", "--max-steps", "some"), "--max-steps': Input should be a valid"),
        (("export", "a", "-o", "b", "--format", "tf"), "'tf' is not one of 'onnx', 'openvino'"),
        (("info",), "Missing argument 'model'"),
        (("info", "a", "b"), "unexpected extra argument"),
        (("--loud",), "No such option: --loud"),
    ],
)
def test_a_call_that_makes_no_sense_is_one_line_and_code_2(words, told, unetr):
    code, out, err = unetr(*words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("unetr: ")
    assert told in err
    verb = f"unetr {words[0]}" if words[0] in VERBS else "unetr"
    assert f"{verb} --help tells more\n" in err


def test_debug_shows_the_traceback_before_and_behind_the_verb(unetr, tmp_path):
    line = f"unetr: {tmp_path / 'm'}: cannot be read (No such file or directory)\n"
    assert unetr("info", tmp_path / "m") == (2, "", line)
    for words in (("--debug", "info", tmp_path / "m"), ("info", tmp_path / "m", "--debug")):
        code, out, err = unetr(*words)
        assert (code, out) == (2, "")
        assert err.startswith("Traceback (most recent call last):\n")
        assert err.endswith(line)


def test_a_warning_is_one_line_and_quiet_leaves_warnings_alone(dataset):
    done = finished("inspect", dataset)
    assert "\x1b" not in done.stdout + done.stderr
    told = [line for line in done.stderr.splitlines() if "qform and sform" in line]
    assert set(told) == {
        f"warning: {dataset / folder / 'a.nii.gz'}: qform and sform place the scan differently; "
        "the sform is used"
        for folder in ("images", "labels")
    }
    assert "read 1 of 1 cases" in done.stderr
    for words in (("-q", "inspect", dataset), ("inspect", dataset, "--quiet")):
        quiet = finished(*words)
        assert quiet.stdout == done.stdout
        assert set(quiet.stderr.splitlines()) == set(told)


def test_what_programmers_can_mend_shows_to_those_who_ask(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        for loudness in talk.Loudness:
            talk.set_loudness(loudness)
            warnings.warn("an old\n way", FutureWarning, stacklevel=1)
        told = capsys.readouterr().err.splitlines()
    assert told[0] == "warning: an old way"
    assert re.fullmatch(r"warning: an old way \(.*test_main.py:\d+\)", told[1])
    assert len(told) == 2


def test_verbose_shows_what_the_rooms_log(capsys):
    log = logging.getLogger("unetr.image")
    for loudness, shown in (("normal", 0), ("verbose", 1), ("debug", 2)):
        talk.set_loudness(talk.Loudness[loudness])
        log.info("read %s", "a scan")
        log.debug("in detail")
        assert capsys.readouterr().err.splitlines() == ["read a scan", "in detail"][:shown]
    talk.set_loudness(talk.Loudness.normal)


def test_ctrl_c_is_one_line_and_code_130(tmp_path):
    """A pipe in place of a model holds the command up until the signal comes."""
    os.mkfifo(tmp_path / "model")
    with subprocess.Popen(
        [str(COMMAND), "info", str(tmp_path / "model")], stderr=subprocess.PIPE, text=True
    ) as going:
        writer = _opened(tmp_path / "model")
        going.send_signal(signal.SIGINT)
        _, err = going.communicate()
        os.close(writer)
    assert (going.returncode, err) == (130, "unetr: interrupted\n")


def _opened(pipe: Path) -> int:
    """The pipe's writing end, as soon as somebody reads."""
    for _ in range(3000):
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            time.sleep(0.01)
    raise TimeoutError("nobody reads")


@pytest.mark.parametrize("words", [("--help",), ("inspect", "--json"), ("inspect",)])
def test_a_reader_who_has_enough_is_no_error(words, dataset):
    """As `unetr inspect DATASET | head -1` does, however little is written."""
    read, write = os.pipe()
    os.close(read)
    command = [str(COMMAND), "-q", *words, *([str(dataset)] if "inspect" in words else [])]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert [line for line in done.stderr.splitlines() if not line.startswith("warning: ")] == []


def test_no_colour_on_a_terminal_that_wants_none(dataset):
    """Bold and italics remain: NO_COLOR is about colours."""
    ours, theirs = pty.openpty()
    env = os.environ | {"TERM": "xterm-256color", "COLUMNS": "80", "NO_COLOR": "1"}
    command = [str(COMMAND), "-q", "inspect", str(dataset)]
    with subprocess.Popen(command, stdout=theirs, stderr=subprocess.DEVNULL, env=env):
        os.close(theirs)
        shown = _all_of(ours)
    assert "spacing_mm" in shown
    assert "\x1b[3m" in shown  # the titles of tables, in italics
    assert not re.search(r"\x1b\[[0-9;]*\b(3[0-7]|9[0-7]|38)\b[0-9;]*m", shown)


def _all_of(terminal: int) -> str:
    found = b""
    try:
        while part := os.read(terminal, 65536):
            found += part
    except OSError:  # the other end is closed
        pass
    os.close(terminal)
    return found.decode()


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("unetr pre", ["predict"]),
        ("unetr predict --engine open", ["openvino"]),
        ("unetr train --max", ["--max-minutes", "--max-steps"]),
        ("unetr info --deb", ["--debug"]),
    ],
)
def test_the_shell_completes(typed, offered):
    env = {"_UNETR_COMPLETE": "complete_bash", "COMP_WORDS": typed}
    env["COMP_CWORD"] = str(len(typed.split()) - 1)
    done = finished(env=os.environ | env)
    assert done.stdout.split() == offered
