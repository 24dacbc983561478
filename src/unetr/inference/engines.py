"""What computes a network's scores: torch, OpenVINO or ONNX Runtime behind one function."""

import importlib.util
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from unetr.checkpoint.header import Header
from unetr.checkpoint.model import Model
from unetr.data.plan import Plan
from unetr.errors import InputError
from unetr.inference.convert import converted_onnx, converted_openvino
from unetr.inference.device import find_device
from unetr.inference.exported import Exported
from unetr.inference.memory import windows_at_once
from unetr.machine import keep_freed_memory

EngineName = Literal["auto", "torch", "openvino", "onnx"]
Precision = Literal["auto", "fp32", "bf16"]

# One network after the other: each takes memory of its own on the way, and all cores.
_BACKGROUND = ThreadPoolExecutor(1, "compile")
# What each engine needs; ONNX Runtime alone cannot convert.
_MODULES = {"openvino": ("openvino",), "onnx": ("onnxruntime", "onnx", "onnxscript"), "torch": ()}


@dataclass(frozen=True)
class Engine:
    """A network ready to run.

    Attributes:
        forward: Windows (b, channels, *patch) float32 on `device` to scores (b, out, *patch)
            float32 in [0, 1]: softmax over the plan's labels, or sigmoid of its regions. The next
            call may overwrite them.
        batch: Windows per call that keep the device busy.
        header: The plan and provenance of the network.
        source: What to call the model in messages.
        ready: Waits until the network can run, which it is being prepared for in the background;
            InputError where it cannot be.
    """

    name: Literal["torch", "openvino", "onnx"]
    precision: Literal["fp32", "bf16"]
    device: torch.device
    forward: Callable[[Tensor], Tensor]
    batch: int
    header: Header
    source: str
    ready: Callable[[], None] = lambda: None


def make_engine(
    model: Model | Exported,
    name: EngineName = "auto",
    precision: Precision = "auto",
    device: str = "auto",
    spare_gb: float = math.inf,
) -> Engine:
    """Makes `model` ready to run on patches of its plan's size.

    On a processor this process keeps from now on the memory that a window frees for the next one.

    Args:
        name: `auto` takes the fastest installed one: torch on an accelerator; on the processor
            OpenVINO, else ONNX Runtime for fp32, else torch. A model in memory is converted, which
            takes seconds the first time; training, whose weights change, asks for torch.
        precision: `auto` takes bf16 where the processor or accelerator computes in it.
        device: Such as cpu, cuda, cuda:1; `auto` is an accelerator where there is one and the
            engine computes on it.
        spare_gb: Memory of the host to keep to; fewer windows are computed at a time for it.

    Raises:
        InputError: an engine that is not installed, or that cannot do what is asked.
    """
    place = find_device("cpu" if device == "auto" and needs_processor(model, name) else device)
    if place.type == "cpu":
        keep_freed_memory()
    chosen = _choose(model, name, precision, place)
    if chosen == "torch":
        if isinstance(model, Exported):
            raise InputError(
                f"{model.source}: exported, so it does not run in torch; drop --engine"
            )
        return _torch(model, precision, place)
    if place.type != "cpu":
        raise InputError(f"engine {chosen} runs on the processor here; use --device cpu")
    if chosen == "onnx":
        return _onnx(model, precision)
    return _openvino(model, precision, spare_gb)


def needs_processor(model: Model | Exported, name: EngineName) -> bool:
    """Whether the engine that was asked for, or that an exported model has, computes there only."""
    return isinstance(model, Exported) or name in ("onnx", "openvino")


def installed(name: str) -> bool:
    """Whether the engine's packages are there."""
    return all(importlib.util.find_spec(module) for module in _MODULES[name])


def _choose(
    model: Model | Exported, name: EngineName, precision: Precision, device: torch.device
) -> Literal["torch", "openvino", "onnx"]:
    if isinstance(model, Exported):
        if name not in ("auto", model.kind):
            raise InputError(
                f"{model.source}: an {model.kind} model does not run in {name}; drop --engine"
            )
        name = model.kind
    if name == "auto":
        if device.type != "cpu":
            return "torch"
        if installed("openvino"):
            return "openvino"
        return "onnx" if precision == "fp32" and installed("onnx") else "torch"
    if name == "torch":
        return "torch"
    if not installed(name):
        raise InputError(f"engine {name} is not installed; pip install 'unetr[{name}]'")
    return name


def _torch(model: Model, precision: Precision, device: torch.device) -> Engine:
    network: Any = model.network.to(device).eval()
    if device.type == "cpu":
        # Convolutions on processors read a voxel's channels together. The model's own network is
        # laid out so; what exports or saves it does not mind.
        network = network.to(memory_format=torch.channels_last_3d)
    dtype: Literal["fp32", "bf16"] = "fp32"
    if precision == "bf16" or (precision == "auto" and _bf16_is_faster(device)):
        dtype = "bf16"

    activate = _activation(model.plan)

    def forward(windows: Tensor) -> Tensor:
        # Not inference_mode: tensors touched under it could not be trained or exported later.
        with torch.no_grad():
            with _computing_in(dtype, device):
                logits: Tensor = network(windows)
            return activate(logits.float())

    batch = 1 if device.type == "cpu" else 4
    return Engine("torch", dtype, device, forward, batch, model.header, model.source)


@contextmanager
def _computing_in(dtype: str, device: torch.device) -> Iterator[None]:
    """Autocast for bf16; for fp32 no shorter type that torch would take for it, such as TF32."""
    if dtype == "bf16":
        with torch.autocast(device.type, torch.bfloat16):
            yield
        return
    on: Any = torch.backends
    kinds = (on.cuda.matmul, on.cudnn.conv, on.mkldnn.matmul, on.mkldnn.conv)
    before = [kind.fp32_precision for kind in kinds]
    try:
        for kind in kinds:
            kind.fp32_precision = "ieee"
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        for kind, was in zip(kinds, before, strict=True):
            kind.fp32_precision = was


def _bf16_is_faster(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # mkldnn answers yes from AVX-512 without bf16 instructions on, where it is emulated and slow.
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())


def _openvino(model: Model | Exported, precision: Precision, spare_gb: float) -> Engine:
    import openvino as ov

    core = ov.Core()
    has_bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision == "bf16" and not has_bf16:
        raise InputError("engine openvino: this processor has no bf16; use --precision fp32")
    dtype: Literal["fp32", "bf16"] = "bf16" if has_bf16 and precision != "fp32" else "fp32"
    path = model.path if isinstance(model, Exported) else converted_openvino(model)
    threads = torch.get_num_threads()
    # Two windows at a time keep the threads busier than one window shared by all of them.
    streams = windows_at_once(model.header, min(2, threads), spare_gb)
    settings = {
        # Left alone, OpenVINO computes in bf16 on some processors without saying so.
        "INFERENCE_PRECISION_HINT": "f32" if dtype == "fp32" else "bf16",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": streams,
    }
    # The first scan is read and prepared meanwhile.
    compiling = _BACKGROUND.submit(_requests, core, path, settings, model)

    def forward(windows: Tensor) -> Tensor:
        if len(windows) > streams:
            return torch.cat([forward(part).clone() for part in torch.split(windows, streams)])
        requests, scores = compiling.result()
        running = requests[: len(windows)]
        for request, window in zip(running, windows.contiguous().numpy(), strict=True):
            request.start_async({0: window[None]})
        for request in running:
            request.wait()
        return scores[: len(windows)]

    def ready() -> None:
        compiling.result()

    cpu = torch.device("cpu")
    return Engine("openvino", dtype, cpu, forward, streams, model.header, model.source, ready)


def _requests(
    core: Any, path: Path, settings: dict[str, Any], model: Model | Exported
) -> tuple[list[Any], Tensor]:
    """One request per stream, and the scores (streams, classes, *patch) that they write.

    Written in place, call after call: fresh memory of this size costs a tenth of the network's
    time to come by.
    """
    import openvino as ov

    try:
        compiled = _compile(core, path, settings, model)
        scores = torch.empty(settings["NUM_STREAMS"], *compiled.output(0).shape[1:])
        requests = [compiled.create_infer_request() for _ in scores]
        for request, place in zip(requests, scores.numpy(), strict=True):
            request.set_output_tensor(ov.Tensor(place[None], shared_memory=True))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise InputError(
            f"{model.source}: OpenVINO cannot load it ({reason}); export it again"
        ) from error
    return requests, scores


def _compile(core: Any, path: Path, settings: dict[str, Any], model: Model | Exported) -> Any:
    """The network compiled with softmax or sigmoid behind it, which OpenVINO fuses: free there,
    where torch would take a tenth of the network's time."""
    import openvino as ov
    from openvino import opset13

    network = core.read_model(path)
    logits = network.output(0).get_node().input_value(0)
    regions = model.header.plan.regions
    scores = opset13.sigmoid(logits) if regions else opset13.softmax(logits, 1)
    return core.compile_model(ov.Model([scores], network.get_parameters()), "CPU", settings)


def _onnx(model: Model | Exported, precision: Precision) -> Engine:
    import onnxruntime

    if precision == "bf16":
        raise InputError("engine onnx computes in fp32 here; use --engine openvino for bf16")
    content = model.path if isinstance(model, Exported) else converted_onnx(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"{model.source}: ONNX Runtime cannot load it ({reason}); export it again"
        ) from error
    name = session.get_inputs()[0].name
    activate = _activation(model.header.plan)

    def forward(windows: Tensor) -> Tensor:
        found = [session.run(None, {name: window[None].numpy()})[0] for window in windows]
        return activate(torch.from_numpy(np.concatenate(found)))

    return Engine("onnx", "fp32", torch.device("cpu"), forward, 1, model.header, model.source)


def _activation(plan: Plan) -> Callable[[Tensor], Tensor]:
    return torch.sigmoid if plan.regions else lambda logits: logits.softmax(dim=1)
