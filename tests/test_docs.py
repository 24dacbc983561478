"""Every command and every block of Python in README, docs and help runs as it is written.

They run within this process, page by page, each page in a fresh folder that has what its text
names: data sets, scans, a finished run, checkpoints. Some liberties are taken, both in
`documentation.py`: a training takes two steps of a small network, whatever its budget and recipe,
and of torchrun and srun the inner command runs. What is downloaded comes from this machine.
"""

import hashlib
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from unetr.cli.main import run
from unetr.data.msd import find_task

from .data.archive_server import Archive, served
from .documentation import Step, is_new_run, made_cheap, pages, runnable, steps, value_of
from .named_folders import archived, phantom, save, write_checkpoint, write_task

PAGES = pages(Path(__file__).parents[1])


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """What the documentation takes for granted, by the names that it uses."""
    root = tmp_path_factory.mktemp("prepared")
    hippocampus = ("Anterior", "Posterior")
    data = write_task(root / "Task04_Hippocampus", ("MRI",), hippocampus)
    shutil.copytree(data, root / "shared" / data.name)
    shutil.copytree(data, root / "DATASET")
    for name in ("hippocampus_001.nii.gz", "hippocampus_002.nii.gz"):
        save(root / "scans" / name, phantom(int(name[13:15]), 1, 2)[0])
    save(root / "scan.nii.gz", phantom(9, 1, 2)[0])
    words = ["--quiet", "train", str(data), "-o", str(root / "run")]
    assert run([*words[:1], *made_cheap(words[1:])]) == 0
    for name in ("fold_0", "fold_1"):
        (root / name).mkdir()
        shutil.copy(root / "run" / "model.safetensors", root / name)
    for name in ("MODEL", "model.safetensors"):
        shutil.copy(root / "run" / "model.safetensors", root / name)
    for name, shift in (("scores_before", 2), ("scores_after", 1)):
        for label in sorted((data / "labelsTr").iterdir()):
            save(root / "shifted" / label.name, np.roll(np.asarray(nib.load(label).dataobj), shift))
        words = [str(root / "shifted"), str(data), "-o", str(root / name)]
        assert run(["--quiet", "evaluate", *words]) == 0
    write_checkpoint(root / "UNETR_model_best_acc.pth", 1, 14, 96)
    shutil.copy(root / "UNETR_model_best_acc.pth", root / "CHECKPOINT")
    return root


@pytest.fixture
def folder(prepared, tmp_path, monkeypatch) -> Path:
    """A copy to work in; what is kept between runs stays in it, too."""
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


# A phantom is no scan: what a verb warns of is not this test's matter, only that it runs.
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("page", [name for name, text in PAGES.items() if steps(text)])
def test_a_page_runs_as_written(page, folder, capsys):
    names: dict[str, object] = {"__name__": "__main__"}
    for step in steps(PAGES[page]):
        if step.python:
            exec(compile("\n" * (step.line - 1) + step.python, page, "exec"), names)
        else:
            assert run_command(step) == 0, (
                f"{page}, line {step.line}: {step.written}\n{capsys.readouterr().err}"
            )


def run_command(step: Step) -> int:
    words = runnable(step.written)
    if is_new_run(words):
        # Pages begin the same run several times.
        shutil.rmtree(value_of(words, "-o", "--out"), ignore_errors=True)
    if words[0] == "download" and words[1] != "list":
        return run_download(words)
    return run(made_cheap(words))


def run_download(words: list[str]) -> int:
    """From a server on this machine, which has phantoms for every task."""
    content = archived(Path("Task04_Hippocampus"), find_task(words[1]).name)
    with served(Archive(content)) as server:
        return run([*words, "--from", server.url, "--md5", hashlib.md5(content).hexdigest()])
