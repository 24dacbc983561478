"""Memory: container limits are respected, estimates grow with what they are of."""

import pytest

from unetr.inference import memory


def test_container_limit_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    without = memory.available_gb()
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert memory.available_gb() == pytest.approx(without, rel=0.2)
    (tmp_path / "memory.max").write_text(f"{10**8 + 1000}\n")
    assert memory.available_gb() == pytest.approx(memory.resident_gb() + 0.1, abs=0.02)


def test_estimates():
    small = memory.slab_gb(14, (96, 96, 96), (300, 100, 100))
    assert small == pytest.approx(4 * 15 * (96 * 100 * 100 + 2 * 96**3) / 1e9)
    # Longer scans need no more: the slab is one patch thick.
    assert memory.slab_gb(14, (96, 96, 96), (900, 100, 100)) == small
    assert memory.plane_gb(14, (96, 50, 20)) == pytest.approx(14 * 4 * 1000 / 1e9)
    with_them = memory.result_gb(14, (512, 512, 160), True)
    without = memory.result_gb(14, (512, 512, 160), False)
    assert with_them - without == pytest.approx(14 * 2 * 512 * 512 * 160 / 1e9)
