"""The one way from a scan to its segmentation: preprocess, windows, restore, post-process."""

import math
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from unetr.checkpoint.model import Model
from unetr.data.placement import Placement, place
from unetr.data.preprocess import Restorer, preprocess
from unetr.errors import InputError, TooLittleMemoryError
from unetr.image.volume import Volume
from unetr.inference import memory
from unetr.inference.attention import rollouts
from unetr.inference.body import inside, outside_scores
from unetr.inference.clock import Clock
from unetr.inference.device import is_out_of_memory
from unetr.inference.engine import EngineName, Precision
from unetr.inference.engines import make_engine, needs_processor
from unetr.inference.ensemble import Halving, averaged, mirrorings
from unetr.inference.exported import Exported
from unetr.inference.members import shared_plan
from unetr.inference.postprocess import postprocess
from unetr.inference.prediction import Prediction
from unetr.inference.ranks import processes_here
from unetr.inference.uncertainty import entropy
from unetr.inference.window import Activation, Blend, sliding_slabs
from unetr.machine import free_gb, resident_gb

OnWindow = Callable[[int, int], None]
BESIDE = 1 / 8  # Share of the spare memory left to the next scan, which is read meanwhile.


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
        if max_memory_gb is not None and not 0 < max_memory_gb < math.inf:
            raise InputError(f"--max-memory {max_memory_gb:g}: give GB above 0")
        if max_memory_gb is None and processes_here() > 1:
            max_memory_gb = resident_gb() + free_gb() / processes_here()  # an equal part
        self.max_memory_gb = max_memory_gb
        if device == "auto" and any(needs_processor(one, engine) for one in members):
            device = "cpu"
        spare = self.spare_gb() / len(members)
        self.engines = [make_engine(one, engine, precision, device, spare) for one in members]
        if max_memory_gb is not None:
            self.ready()  # only then can be told how much is left
        self.engine, self.device = self.engines[0], self.engines[0].device
        self.overlap = self.plan.overlap if overlap is None else overlap
        self.blend: Blend = blend or self.plan.blend
        if not 0 <= self.overlap < 1:
            raise InputError(f"overlap {self.overlap} is not within [0, 1)")
        self.probabilities = probabilities
        self.uncertainty = uncertainty
        self.postprocessing = postprocessing
        self.mirrors = mirrorings(self.plan.mirror_axes if tta else ())
        if tta and not self.plan.mirror_axes:
            warnings.warn("the plan allows no mirroring, so tta changes nothing", stacklevel=2)
        self.activation: Activation = "sigmoid" if self.plan.regions else "softmax"
        self.views = len(members) * len(self.mirrors)
        forward = averaged(
            [one.forward for one in self.engines],
            self.activation,
            self.mirrors,
            with_entropy=uncertainty and self.views > 1,
        )
        self._forward = Halving(forward, self.engine.batch, _tell)
        self._channels = self.plan.out_channels + (uncertainty and self.views > 1)
        self._attention: Halving | None = None
        if attention_layer is not None:
            self._attention = Halving(rollouts(members, attention_layer), self.engine.batch, _tell)
        self._accumulate_on: torch.device = self.device
        self._warm = False
        # Engines compute into buffers of their own, on all cores: calls wait for each other.
        self._one_at_a_time = threading.Lock()

    def __call__(self, volume: Volume, on_window: OnWindow | None = None) -> Prediction:
        """Segments one scan.

        Args:
            volume: (channels, x, y, z) in the plan's channel order.
            on_window: Told windows done and their total.

        Raises:
            InputError: channels that are not the plan's, voxels that are no finite numbers, a scan
                that cannot fit in memory, or at the first call a network that its engine cannot
                load.
        """
        with self._one_at_a_time:
            return self._predicted(volume, on_window)

    def _predicted(self, volume: Volume, on_window: OnWindow | None) -> Prediction:
        clock = Clock()
        placement = place(self.plan, volume)
        if 2 * self._need(placement).least > self.spare_gb():
            self.ready()  # how much is left when the network has its share decides
        planes = self._planes(placement)
        x, _ = preprocess(self.plan, volume, placement)
        scan = _Prepared(torch.from_numpy(x), placement, volume, planes, on_window)
        clock.step("preprocess")
        self.ready()
        clock.step("network")
        found = self._restored_somehow(scan, clock)
        if self._attention is None:
            return found
        on_scan = self._map(self._attention, scan)
        clock.step("attention")
        return replace(found, attention=on_scan)

    def _restored_somehow(self, scan: "_Prepared", clock: Clock) -> Prediction:
        """As `_restored`; where an accelerator has too little memory, with the scores on the host.

        Raises:
            InputError: not even one window fits.
        """
        try:
            return self._restored(scan, clock)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if self._accumulate_on.type == "cpu":
                patch = " x ".join(map(str, self.plan.patch_voxels))
                raise InputError(
                    f"{scan.volume.source}: one window of {patch} voxels does not fit on "
                    f"{self.device}; use --device cpu"
                ) from error
        # Outside of the handler, which would keep what was on the accelerator alive.
        _tell("out of memory: scores are accumulated on the host from now on")
        self._accumulate_on = torch.device("cpu")
        return self._restored_somehow(replace(scan, planes=self._planes(scan.placement)), clock)

    def _restored(self, scan: "_Prepared", clock: Clock) -> Prediction:
        classes, volume, placement = self.plan.out_channels, scan.volume, scan.placement
        restorer = Restorer(self.plan, placement, probabilities=self.probabilities)
        maps: list[Tensor] = []
        for slab in self._slabs(self._forward, scan, outside_scores(self.plan, self._channels)):
            clock.step("windows")
            scores, rest = slab[:classes], slab[classes:]
            if self.uncertainty:
                whole = entropy(scores, self.activation)[None]
                # The mean's entropy is at least the mean entropy, up to rounding.
                shared = (whole - rest).clamp(min=0) if len(rest) else rest
                maps.append(torch.cat([whole, shared]).cpu())
            restorer.push(scores.cpu())
            clock.step("restore")
        self._warm = not self.engine.in_torch
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

    def _slabs(self, forward: Halving, scan: "_Prepared", outside: Tensor) -> Iterator[Tensor]:
        """Scores of the scan plane by plane, as many planes at a time as memory allows."""
        return sliding_slabs(
            forward,
            scan.x,
            self.plan.patch_voxels,
            self.overlap,
            self.blend,
            batch=forward.batch,
            device=self.device,
            accumulate_on=self._accumulate_on,
            planes=scan.planes,
            inside=inside(self.plan, scan.x),
            outside=outside,
            on_window=scan.on_window,
        )

    def _planes(self, placement: Placement) -> int:
        """Planes to finish at a time.

        Raises:
            InputError: the scan does not fit in memory.
        """
        need, spare = self._need(placement), self.spare_gb()
        if need.least > spare:
            raise TooLittleMemoryError(memory.refusal(need, spare, placement, self.max_memory_gb))
        return need.planes((1 - BESIDE) * spare)

    def _need(self, placement: Placement) -> memory.Need:
        return memory.need(
            placement,
            self.plan,
            channels=self._channels,
            computing_gb=self._computing_gb() if self.device.type in memory.ON_HOST else 0.0,
            slab_on_host=self._accumulate_on.type in memory.ON_HOST,
            probabilities=self.probabilities,
            maps=self.uncertainty * (1 + (self.views > 1)) + (self._attention is not None),
            postprocessing=self.postprocessing and bool(self.plan.postprocessing),
        )

    def _computing_gb(self) -> float:
        headers = [one.header for one in self.engines]
        windows = [self._forward.batch * memory.window_gb(one) for one in headers]
        # torch computes one network after the other; OpenVINO and ONNX Runtime keep what each once
        # took.
        new = 0.0 if self._warm else sum(windows)
        taken = max(windows) if self.engine.in_torch else new
        if self._attention is not None:
            taken += self._attention.batch * max(memory.attention_gb(one) for one in headers)
        return taken

    @property
    def engine_names(self) -> str:
        """What computes the members: one name, or several."""
        return ", ".join(dict.fromkeys(one.name for one in self.engines))

    @property
    def precisions(self) -> str:
        """What they compute in."""
        return ", ".join(dict.fromkeys(one.precision for one in self.engines))

    def ready(self) -> None:
        """Prepares networks, or waits for those that are still being prepared.

        Raises:
            InputError: one that cannot be.
        """
        for engine in self.engines:
            engine.ready()

    def spare_gb(self) -> float:
        """Memory that may still be taken on the host."""
        return free_gb() if self.max_memory_gb is None else self.max_memory_gb - resident_gb()

    def _map(self, forward: Halving, scan: "_Prepared") -> Volume:
        """What `forward` says of each voxel, (b, n, *patch), blended and laid on the scan."""
        slabs = self._slabs(forward, replace(scan, on_window=None), torch.zeros(1))
        found = torch.cat([slab.cpu() for slab in slabs], dim=1)
        return _like(scan.volume, scan.placement.restore_map(found.numpy()))


@dataclass(frozen=True, eq=False)
class _Prepared:
    """A scan on its way: network input (channels, x, y, z), where it lies, planes to finish."""

    x: Tensor
    placement: Placement
    volume: Volume
    planes: int
    on_window: OnWindow | None


def _tell(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=2)


def _like(volume: Volume, array: np.ndarray) -> Volume:
    """Another array (channel, x, y, z) on the grid of `volume`."""
    return replace(volume, array=array)
