"""Free memory: what containers and batch systems leave of the machine's; sizes in words."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from unetr import machine

OTHERS = 40 * 10**6


@pytest.fixture
def groups(tmp_path, monkeypatch) -> Path:
    """An empty tree of control groups, in which the process is at the root."""
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    monkeypatch.setattr(machine, "_OWN_CGROUP", tmp_path / "own")
    return tmp_path


def limit(folder: Path, bytes_: int | str, used: int, cache: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{bytes_}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon {used - cache}\ninactive_file {cache}\n")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of the GNU C library")
def test_memory_that_is_kept_does_not_count_as_used():
    """In a process of its own: what is asked of the C library stays."""
    script = """
        import numpy
        from unetr.machine import keep_freed_memory, resident_gb
        keep_freed_memory()
        before = resident_gb()
        arrays = [numpy.ones(8_000_000) for _ in range(4)]
        last = numpy.ones(1000)
        assert resident_gb() > before + 0.2
        del arrays
        assert resident_gb() < before + 0.05
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)


def test_sizes_are_told_in_units():
    sizes = (17, 300_000, 27_100_000, 1_610_000_000)
    assert list(map(machine.told_bytes, sizes)) == ["17 bytes", "300 kB", "27.1 MB", "1.61 GB"]


def test_without_a_limit_the_machine_counts(groups):
    machines = machine.free_gb()
    assert machines > 0.1
    limit(groups, "max", 10**6)
    assert machine.free_gb() == pytest.approx(machines, rel=0.2)


def test_a_containers_limit_counts(groups):
    limit(groups, 10**8, OTHERS)
    assert machine.free_gb() == pytest.approx(0.06)
    assert machine.available_gb() == pytest.approx(machine.resident_gb() + 0.06, abs=0.01)


def test_files_that_were_read_can_be_dropped(groups):
    limit(groups, 10**8, OTHERS, cache=10**7)
    assert machine.free_gb() == pytest.approx(0.07)


def test_the_tightest_of_nested_groups_counts(groups):
    """As under Slurm: the job's group lies below the machine's root."""
    (groups / "own").write_text("0::/slurm/job_7/step_0\n")
    limit(groups / "slurm" / "job_7", 5 * 10**7, OTHERS)
    limit(groups / "slurm" / "job_7" / "step_0", "max", OTHERS)
    assert machine.free_gb() == pytest.approx(0.01)
    (groups / "own").write_text("0::/slurm\n")
    assert machine.free_gb() > 0.05


def test_the_first_version_of_control_groups(groups):
    (groups / "own").write_text("4:memory:/docker/a\n0::/\n")
    folder = groups / "memory" / "docker" / "a"
    folder.mkdir(parents=True)
    for name, content in (
        ("memory.limit_in_bytes", "200000000"),
        ("memory.usage_in_bytes", "150000000"),
        ("memory.stat", "cache 9\ntotal_inactive_file 20000000"),
    ):
        (folder / name).write_text(content + "\n")
    assert machine.free_gb() == pytest.approx(0.07)
    (folder / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert machine.free_gb() > 0.1


def test_more_used_than_allowed_leaves_nothing(groups):
    limit(groups, 10**6, OTHERS)
    assert machine.free_gb() == 0
