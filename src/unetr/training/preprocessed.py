"""Training cases on the network's grid, and what they take on the disk."""

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from unetr.data.cache import CachedCase, CaseCache
from unetr.data.cases import Case
from unetr.machine import GB
from unetr.training.progress import Watcher
from unetr.training.sampling import TrainingCase


def preprocessed(
    cache: CaseCache, cases: Sequence[Case], watcher: Watcher, in_all: int
) -> list[TrainingCase]:
    """The cases, preprocessed; two at a time where they are not yet.

    Args:
        in_all: Cases of all processes, of which these are a share.
    """
    found: list[TrainingCase] = []
    empty = not cache.folder.is_dir() or not any(cache.folder.iterdir())
    pool = ThreadPoolExecutor(2)
    try:
        for case in pool.map(cache.get, cases):
            found.append(case)
            if empty and len(found) == 1:
                _tell_of_disk(case, in_all, cache.folder, watcher)
            watcher.preparing("preprocessing", len(found), len(cases))
    finally:
        pool.shutdown(cancel_futures=True)
    return found


def tell_of_new(count: int, watcher: Watcher) -> None:
    """Where a run goes on with cases that it had to preprocess again."""
    if count:
        cases = "1 case was" if count == 1 else f"{count} cases were"
        watcher.say(
            f"note: {cases} preprocessed anew: files are not what they were, or the cache was "
            "removed"
        )


def tell_of_cut(names: Sequence[str], watcher: Watcher) -> None:
    """Where the plan's crop left labelled voxels out."""
    if names:
        many = f" and {len(names) - 1} more" if len(names) > 1 else ""
        watcher.say(
            f"warning: {names[0]}{many}: labelled voxels lie outside of the plan's crop and are "
            """not learnt; --set 'data.crop={kind="none"}' keeps them"""
        )


def _tell_of_disk(case: CachedCase, cases: int, folder: Path, watcher: Watcher) -> None:
    """What all cases will take, by the first, where that is much."""
    needed_gb, free_gb = cases * case.size_bytes / GB, shutil.disk_usage(folder).free / GB
    if needed_gb >= 1:
        watcher.say(
            f"preprocessed cases take about {needed_gb:.0f} GB in {folder}, where "
            f"{free_gb:.0f} GB are free"
        )
