"""Preprocessed cases on disk: read in milliseconds, whatever it took to make them."""

import hashlib
import json
import math
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from jaxtyping import Integer
from numpy.typing import NDArray

from unetr.data.cases import Case
from unetr.data.dataset import read_pair
from unetr.data.facts import digest
from unetr.data.placement import Placement, place
from unetr.data.plan import Plan
from unetr.data.preprocess import preprocess, preprocess_labels
from unetr.errors import InputError
from unetr.files import as_input_error
from unetr.image import Volume, read_image
from unetr.machine import GB, free_gb

_VERSION = 3
"""Of the entries; another one makes new entries."""
_PLAN_FIELDS = frozenset(
    ("channels", "labels", "regions", "spacing_mm", "orientation", "crop", "normalisation")
) | {"image_order"}
_KEPT_VOXELS = 10_000
"""Foreground voxels kept per class, and of all classes: patches are centred on them."""
_ABANDONED_S = 6 * 3600.0
_DETACHED = (".mhd", ".nhdr")
"""Headers whose voxels lie in other files, which may change beneath them."""


@dataclass(frozen=True, eq=False)
class CachedCase:
    """A preprocessed case.

    Attributes:
        foreground: Per class that is not background, or per region, up to 10,000 of its voxels
            (n, 3).
        labelled: As many of all of them together, each voxel as likely as any other.
    """

    foreground: tuple[NDArray[np.int32], ...]
    labelled: NDArray[np.int32]
    _folder: Path

    @property
    def image(self) -> NDArray[np.float32]:
        """(channels, x, y, z) float32, mapped from the file: only what is used is read.

        Mapped anew each time, which takes a tenth of a millisecond: a map holds an open file, of
        which a process may have 1,024, and data sets have more cases.
        """
        return _mapped(self._folder / "image.npy")

    @property
    def labels(self) -> NDArray[Any]:
        """(x, y, z) class indices or (regions, x, y, z) masks, mapped as the image is."""
        return _mapped(self._folder / "labels.npy")

    @property
    def size_bytes(self) -> int:
        """On the disk."""
        return sum(path.stat().st_size for path in self._folder.iterdir())


def _mapped(path: Path) -> NDArray[Any]:
    mapped: NDArray[Any] = np.load(path, mmap_mode="r")
    return mapped


class CaseCache:
    """A folder of preprocessed cases, each keyed by its files' content and the plan.

    An entry is made under a temporary name and renamed, so that a killed run leaves none half
    made, and two processes that make the same one do not meet. A damaged entry is made again.

    Args:
        folder: Made if missing; may be shared by runs, since the key tells plans apart.

    Attributes:
        made: Cases that this object preprocessed, in whatever order.
        cut: Those of which the plan's crop left out labelled voxels.
    """

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder, self.plan = folder, plan
        fields = plan.model_dump(mode="json", include=set(_PLAN_FIELDS))
        self._plan_key = json.dumps([_VERSION, fields], sort_keys=True).encode()
        self._classes = len(plan.regions) or len(plan.labels) - 1
        self.made: list[str] = []
        self.cut: list[str] = []
        _sweep(folder)

    def get(self, case: Case) -> CachedCase:
        """The case, preprocessed now if it was not before.

        Raises:
            InputError: its files cannot be read or do not fit the plan, or the disk is full.
        """
        entry = self.folder / f"{case.name}-{self._key(case)}"
        if entry.is_dir():
            try:
                return self._open(entry)
            except (FileNotFoundError, ValueError, EOFError):
                shutil.rmtree(entry, ignore_errors=True)
            except OSError as error:
                # Such as too many open files: the entry is none the worse for it.
                raise InputError(f"{entry}: cannot be read ({error.strerror or error})") from error
        self._make(case, entry)
        return self._open(entry)

    def _key(self, case: Case) -> str:
        state = hashlib.blake2b(self._plan_key, digest_size=12)
        for path in (*case.images, *([case.label] if case.label else [])):
            if path.suffix.lower() in _DETACHED:
                state.update(digest(read_image(path)).encode())
            try:
                with path.open("rb") as file:
                    state.update(hashlib.file_digest(file, "blake2b").digest())
            except OSError as error:
                raise InputError(f"{path}: cannot be read ({error.strerror})") from error
        return state.hexdigest()

    def _open(self, entry: Path) -> CachedCase:
        with (entry / "foreground.npy").open("rb") as file:
            rows = np.load(file)
        *foreground, labelled = (rows[rows[:, 0] == k, 1:] for k in range(self._classes + 1))
        case = CachedCase(tuple(foreground), labelled, entry)
        _ = case.image, case.labels  # a file that is cut short cannot be mapped
        return case

    def _make(self, case: Case, entry: Path) -> None:
        image, label = read_pair(case)
        if label is None:
            raise InputError(f"{case.images[0]}: no labels; training needs them for every case")
        placement = place(self.plan, image)
        self.made.append(case.name)
        if np.count_nonzero(placement.crop_of(label.array)) < np.count_nonzero(label.array):
            self.cut.append(case.name)
        _refuse_huge(image, placement)
        x, _ = preprocess(self.plan, image, placement)
        labels = preprocess_labels(self.plan, label, placement)
        foreground = _foreground(labels, self._classes)
        part = self.folder / f".part-{uuid4().hex}"
        try:
            part.mkdir(parents=True)
            np.save(part / "image.npy", x)
            np.save(part / "labels.npy", labels)
            np.save(part / "foreground.npy", foreground)
            part.rename(entry)
        except OSError as error:
            # Another process was first: its entry is as good.
            if not entry.is_dir():
                raise as_input_error(self.folder, error) from error
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _refuse_huge(image: Volume, placement: Placement) -> None:
    """Raises InputError where a wrong spacing in a header would fill the memory."""
    # The float32 image, before and after its last axis is resampled.
    needed_gb = 2 * 4 * len(image.array) * math.prod(placement.shape) / GB
    if needed_gb > free_gb():
        spacing = " x ".join(f"{mm:.3g}" for mm in image.spacing_mm)
        size = " x ".join(map(str, placement.shape))
        raise InputError(
            f"{image.source}: spacing: at {spacing} mm it has {size} voxels of the plan's size, "
            f"which take {needed_gb:.1f} GB; correct the header or leave the case out"
        )


def _foreground(labels: Integer[np.ndarray, "*r x y z"], classes: int) -> NDArray[np.int32]:
    """Rows (class, x, y, z): some voxels of each class but the background, or of each region, and
    behind them some of their union."""
    if labels.ndim == 4:
        masks, union = iter(labels), labels.any(axis=0)
    else:
        masks, union = (labels == k for k in range(1, classes + 1)), labels > 0
    found = []
    for number, mask in enumerate(chain(masks, [union])):
        flat = np.flatnonzero(mask)
        if len(flat) > _KEPT_VOXELS:
            rng = np.random.default_rng([number, len(flat)])
            flat = np.sort(rng.choice(flat, _KEPT_VOXELS, replace=False))
        places = np.unravel_index(flat, labels.shape[-3:])
        found.append(np.stack([np.full_like(flat, number), *places], axis=1))
    return np.concatenate(found).astype(np.int32)


def _sweep(folder: Path) -> None:
    """Removes what runs that were killed long ago left half made."""
    for part in folder.glob(".part-*"):
        # Another process may be sweeping, too, or just have finished the entry.
        with suppress(FileNotFoundError):
            if time.time() - part.stat().st_mtime > _ABANDONED_S:
                shutil.rmtree(part, ignore_errors=True)
