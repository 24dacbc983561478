"""Which folders a run may take, and what it removes there."""

import pytest

from unetr.errors import InputError
from unetr.training.folder import claim, clear, clear_parts


@pytest.fixture
def folder(tmp_path):
    """Makes a folder with such files, and folders where a name ends in /."""

    def make(*names):
        run = tmp_path / "run"
        run.mkdir()
        for name in names:
            if name.endswith("/"):
                (run / name).mkdir()
                (run / name / "file").write_text("kept")
            else:
                (run / name).write_text("kept")
        return run

    return make


def held(run):
    return sorted(path.name for path in run.iterdir())


@pytest.mark.parametrize("name", ["model.safetensors", "validation/", "history.jsonl", "last/"])
@pytest.mark.parametrize("resume", [False, True])
def test_what_may_be_anybodys_is_kept_where_there_is_no_manifest(folder, name, resume):
    """Such as an imported model, or a user's own validation scans."""
    run = folder(name, "recipe.toml")
    told = rf"holds {name.rstrip('/')}, but no run.*another name with -o or .*--overwrite"
    with pytest.raises(InputError, match=told):
        claim(run, resume=resume, overwrite=False)
    assert claim(run, resume=resume, overwrite=True) is False
    # Until a new run can begin.
    assert held(run) == sorted([name.rstrip("/"), "recipe.toml"])
    clear(run)
    assert held(run) == []


@pytest.mark.parametrize("resume", [False, True])
def test_what_a_run_leaves_before_its_manifest_is_in_nobodys_way(folder, resume):
    run = folder("recipe.toml", "cache/", ".part-x1recipe.toml")
    assert claim(run, resume=resume, overwrite=False) is False
    clear(run)
    assert held(run) == []


def test_half_written_files_are_removed_and_nothing_else(folder):
    run = folder("manifest.json", "last/", ".part-x1manifest.json", ".part-x2model.safetensors")
    assert claim(run, resume=True, overwrite=False) is True
    clear_parts(run)
    assert held(run) == ["last", "manifest.json"]


def test_half_written_files_do_not_keep_a_run_from_being_replaced(folder):
    run = folder("manifest.json", "model.safetensors", ".part-x1model.safetensors")
    with pytest.raises(InputError, match="holds a run; continue it with --resume"):
        claim(run, resume=False, overwrite=False)
    assert len(held(run)) == 3
    assert claim(run, resume=False, overwrite=True) is False
    clear(run)
    assert held(run) == []


def test_half_written_files_of_others_are_not_touched(folder):
    run = folder("thesis.docx", ".part-x1thesis.docx")
    with pytest.raises(InputError, match=r"holds thesis\.docx, which no run wrote"):
        claim(run, resume=False, overwrite=True)
    assert held(run) == [".part-x1thesis.docx", "thesis.docx"]


def test_what_file_managers_leave_is_in_nobodys_way(folder):
    run = folder("manifest.json", "model.safetensors", ".DS_Store")
    assert claim(run, resume=False, overwrite=True) is False
    clear(run)
    assert held(run) == [".DS_Store"]
