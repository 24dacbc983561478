"""The one way from a scan to its segmentation: preprocess, windows, restore, post-process."""

import logging
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from unetr.checkpoint.model import Model
from unetr.data.placement import Placement, Restorer, preprocess
from unetr.errors import InputError
from unetr.image.volume import Volume
from unetr.inference import memory
from unetr.inference.attention import rollout
from unetr.inference.body import inside, outside_scores
from unetr.inference.engines import EngineName, Precision, make_engine
from unetr.inference.ensemble import Forward, Halving, averaged, mirrorings
from unetr.inference.exported import Exported
from unetr.inference.members import shared_plan
from unetr.inference.postprocess import postprocess
from unetr.inference.uncertainty import entropy
from unetr.inference.window import Blend, sliding_slabs

_log = logging.getLogger(__name__)
OnWindow = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Prediction:
    """What was found in one scan. Every volume lies on the scan's own grid, with its affine.

    Attributes:
        labels: (1, x, y, z) native label ids.
        probabilities: (classes or regions, x, y, z) float16, where asked for.
        uncertainty: (1 or 2, x, y, z) float32 in nats, where asked for: the entropy of the mean
            prediction; with several members or mirrorings, the mutual information too.
        attention: (1, x, y, z) float32 attention rollout, where asked for.
        seconds: Spent per step.
    """

    labels: Volume
    probabilities: Volume | None = None
    uncertainty: Volume | None = None
    attention: Volume | None = None
    seconds: dict[str, float] = field(default_factory=dict)


class Predictor:
    """Predicts scans with one model or the mean of several; made once, called for each scan.

    Args:
        models: They must share channels, labels and regions, and the grid of the first one's plan
            is used, so spacing, orientation, normalisation, crop and patch must agree too.
        engine, precision, device: See `make_engine`. A network in training asks for `torch`.
        tta: Average over the mirrorings of the plan's `mirror_axes`.
        overlap, blend: In place of the plan's.
        max_memory_gb: What this process may hold in all; default: what the machine has free.
        probabilities, uncertainty: Whether to keep them.
        attention_layer: Block (from 1) up to which attention is rolled out.
        postprocessing: Whether to apply the plan's.

    Raises:
        InputError: models that do not belong together, an engine that is not there.
    """

    def __init__(
        self,
        models: Model | Exported | Sequence[Model | Exported],
        *,
        engine: EngineName = "auto",
        precision: Precision = "auto",
        device: str = "auto",
        tta: bool = False,
        overlap: float | None = None,
        blend: Blend | None = None,
        max_memory_gb: float | None = None,
        probabilities: bool = False,
        uncertainty: bool = False,
        attention_layer: int | None = None,
        postprocessing: bool = True,
    ) -> None:
        members = [models] if isinstance(models, Model | Exported) else list(models)
        self.plan = shared_plan(members)
        self.engines = [make_engine(member, engine, precision, device) for member in members]
        self.engine, self.device = self.engines[0], self.engines[0].device
        self.overlap = self.plan.overlap if overlap is None else overlap
        self.blend: Blend = blend or self.plan.blend
        if not 0 <= self.overlap < 1:
            raise InputError(f"overlap {self.overlap} is not within [0, 1)")
        self.max_memory_gb = max_memory_gb
        self.probabilities = probabilities
        self.uncertainty = uncertainty
        self.postprocessing = postprocessing
        self.mirrors = mirrorings(self.plan.mirror_axes if tta else ())
        if tta and not self.plan.mirror_axes:
            warnings.warn("the plan allows no mirroring, so tta changes nothing", stacklevel=2)
        self.activation: Literal["softmax", "sigmoid"] = (
            "sigmoid" if self.plan.regions else "softmax"
        )
        self.views = len(members) * len(self.mirrors)
        self._attention = None if attention_layer is None else _rollouts(members, attention_layer)
        forward = averaged(
            [one.forward for one in self.engines],
            self.activation,
            self.mirrors,
            with_entropy=uncertainty and self.views > 1,
        )
        self._forward = Halving(forward, self.engine.batch, _tell)
        self._channels = self.plan.out_channels + (uncertainty and self.views > 1)
        self._accumulate_on: torch.device = self.device

    def __call__(self, volume: Volume, on_window: OnWindow | None = None) -> Prediction:
        """Segments one scan.

        Args:
            volume: (channels, x, y, z) in the plan's channel order.
            on_window: Told windows done and their total.

        Raises:
            InputError: channels that are not the plan's, or a scan that cannot fit in memory.
        """
        clock = _Clock()
        x, placement = preprocess(self.plan, volume)
        scan = torch.from_numpy(np.ascontiguousarray(x))
        clock.step("preprocess")
        try:
            found = self._restored(scan, placement, volume, on_window, clock)
        except torch.OutOfMemoryError:
            if self._accumulate_on.type == "cpu":
                raise
            _tell("out of memory: scores are accumulated on the host from now on")
            self._accumulate_on = torch.device("cpu")
            found = self._restored(scan, placement, volume, on_window, clock)
        if self._attention is None:
            return found
        on_scan = self._map(self._attention, scan, placement, volume)
        clock.step("attention")
        return replace(found, attention=on_scan)

    def _restored(
        self,
        scan: Tensor,
        placement: Placement,
        volume: Volume,
        on_window: OnWindow | None,
        clock: "_Clock",
    ) -> Prediction:
        classes = self.plan.out_channels
        restorer = Restorer(self.plan, placement, probabilities=self.probabilities)
        maps: list[Tensor] = []
        outside = outside_scores(self.plan, self._channels)
        for slab in self._slabs(self._forward, scan, outside, volume.shape, on_window):
            clock.step("windows")
            scores, rest = slab[:classes], slab[classes:]
            if self.uncertainty:
                whole = entropy(scores, self.activation)[None]
                # The mean's entropy is at least the mean entropy, up to rounding.
                shared = (whole - rest).clamp(min=0) if len(rest) else rest
                maps.append(torch.cat([whole, shared]).cpu())
            restorer.push(scores.cpu())
            clock.step("restore")
        restored = restorer.finish()
        labels, probabilities = restored.labels, restored.probabilities
        clock.step("restore")
        if self.postprocessing:
            labels = postprocess(labels, volume.spacing_mm, self.plan.postprocessing)
            clock.step("postprocess")
        uncertainty = None
        if self.uncertainty:
            uncertainty = _like(volume, placement.restore_map(torch.cat(maps, dim=1).numpy()))
            clock.step("uncertainty")
        return Prediction(
            labels=_like(volume, labels[None]),
            probabilities=_like(volume, probabilities) if probabilities is not None else None,
            uncertainty=uncertainty,
            seconds=clock.seconds,
        )

    def _slabs(
        self,
        forward: Forward,
        scan: Tensor,
        outside: Tensor,
        native: tuple[int, int, int],
        on_window: OnWindow | None,
    ) -> Iterator[Tensor]:
        """Scores of the scan plane by plane, as many planes at a time as memory allows."""
        return sliding_slabs(
            forward,
            scan,
            self.plan.patch_voxels,
            self.overlap,
            self.blend,
            activation=None,
            batch=self.engine.batch,
            device=self.device,
            accumulate_on=self._accumulate_on,
            planes=self._planes(tuple(scan.shape[1:]), native),
            inside=inside(self.plan, scan),
            outside=outside,
            on_window=on_window,
        )

    def _planes(self, size: tuple[int, ...], native: tuple[int, int, int]) -> int:
        """Planes to finish at a time.

        Raises:
            InputError: not even one plane fits.
        """
        classes = self._channels + self.uncertainty
        limit = self.max_memory_gb or memory.available_gb()
        needed = memory.resident_gb() + memory.result_gb(classes, native, self.probabilities)
        if self._accumulate_on.type == "cpu":
            needed += memory.slab_gb(classes, self.plan.patch_voxels, size)
        plane = memory.plane_gb(classes, size)
        planes = int((limit - needed) / plane)
        if planes < 1:
            raise InputError(
                f"scan of {'x'.join(map(str, native))} voxels needs {needed + plane:.1f} GB "
                f"and may have {limit:.1f}: give --max-memory {needed + plane:.1f} or more, "
                "or cut it into parts"
            )
        return min(planes, 32)

    def _map(self, forward: Forward, scan: Tensor, placement: Placement, volume: Volume) -> Volume:
        """What `forward` says of each voxel, (b, n, *patch), blended and laid on the scan."""
        slabs = self._slabs(forward, scan, torch.zeros(1), volume.shape, None)
        found = torch.cat([slab.cpu() for slab in slabs], dim=1)
        return _like(volume, placement.restore_map(found.numpy()))


class _Clock:
    """Seconds per step, summed over visits."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def step(self, name: str) -> None:
        """Books the time since the last call under `name`."""
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last
        self._last = now


def _tell(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=2)


def _like(volume: Volume, array: np.ndarray) -> Volume:
    """Another array (channel, x, y, z) on the grid of `volume`."""
    return replace(volume, array=array)


def _rollouts(members: Sequence[Model | Exported], layer: int) -> Forward:
    """The mean attention rollout of the members."""
    found = []
    for member in members:
        if isinstance(member, Exported):
            raise InputError(f"{member.source}: exported, so without attention; drop --attention")
        found.append(rollout(member, layer))
    return lambda windows: torch.stack([one(windows) for one in found]).mean(dim=0)
