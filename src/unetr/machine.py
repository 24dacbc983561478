"""How much memory there is: the machine's, and what its containers leave of it; sizes in words."""

import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

GB = 1e9
_CGROUP = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def resident_gb() -> float:
    """Memory this process holds now, without what it freed."""
    _give_back()
    return float(psutil.Process().memory_info().rss) / GB


def free_gb() -> float:
    """Memory this process may still take: what is free, on the machine and in its containers."""
    _give_back()
    free = float(psutil.virtual_memory().available)
    return min([free, *_containers_free()]) / GB


def available_gb() -> float:
    """Memory this process may hold in all: what it has, and what is free."""
    return resident_gb() + free_gb()


def keep_freed_memory() -> None:
    """From now on memory that is freed stays with the process, to be taken again.

    The C library otherwise gives large blocks back to the system at once, and a step of training or
    a scan's preparation waits for the same pages to be cleared and handed out anew: longer than it
    computes on them.
    It holds for as long as the process lives; `free_gb` and `resident_gb` give back what is kept.
    """
    trim_threshold, mmap_max = -1, -4  # As malloc.h numbers them.
    _ask_malloc("mallopt", mmap_max, 0)
    _ask_malloc("mallopt", trim_threshold, -1)


def _give_back() -> None:
    """Gives what was freed and kept to the system: it would count as used."""
    _ask_malloc("malloc_trim", 0)


def _ask_malloc(name: str, *numbers: int) -> None:
    """Calls a function of the GNU C library; nothing happens where it is not there."""
    if sys.platform.startswith("linux"):
        function = getattr(ctypes.CDLL(None), name, None)
        if function is not None:
            function(*numbers)


def told_bytes(count: int) -> str:
    """1.6 GB, 27 MB, 300 kB, 17 bytes."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"


def _containers_free() -> Iterator[float]:
    """Bytes left below the limit of each control group that the process is in and that has one.

    A container sees its own group as the root; under a batch system such as Slurm it lies deeper.
    """
    for root, path, limit_file, used_file, cache_field in _hierarchies():
        for group in (path, *path.parents):
            folder = root / group.relative_to("/")
            try:
                limit = (folder / limit_file).read_text().strip()
                used = int((folder / used_file).read_text())
                reclaimable = _field(folder / "memory.stat", cache_field)
            except (OSError, ValueError):
                continue
            # Version 2 writes "max" for no limit, version 1 a number near 2^63.
            if limit.isdigit() and int(limit) < 2**60:
                yield max(int(limit) - (used - reclaimable), 0)


def _hierarchies() -> Iterator[tuple[Path, Path, str, str, str]]:
    """Version 2, then version 1: folder, own group, and what its files and fields are called."""
    own = {}
    try:
        lines = _OWN_CGROUP.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        own.update(dict.fromkeys(controllers.split(","), Path(path)))
    yield _CGROUP, own.get("", Path("/")), "memory.max", "memory.current", "inactive_file"
    yield (
        _CGROUP / "memory",
        own.get("memory", Path("/")),
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file",
    )


def _field(path: Path, name: str) -> int:
    """A number in `memory.stat`: pages of files that were read count as used, but can be had."""
    for line in path.read_text().splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0
