"""What computes a network's scores: torch, OpenVINO or ONNX Runtime behind one function."""

import importlib.util
import math
import warnings

import torch

from unetr.checkpoint.model import Model
from unetr.errors import InputError
from unetr.inference.convert import NoCacheError
from unetr.inference.device import find_device
from unetr.inference.engine import Engine, EngineName, Kind, Precision
from unetr.inference.exported import Exported
from unetr.inference.onnx_engine import onnx_engine
from unetr.inference.openvino_engine import openvino_engine
from unetr.inference.torch_engine import torch_engine
from unetr.machine import keep_freed_memory

# What each engine needs; ONNX Runtime alone cannot convert.
_MODULES = {"openvino": ("openvino",), "onnx": ("onnxruntime", "onnx", "onnxscript")}
_TORCH = ("torch", "torch-compile")


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
        name: `auto` takes the fastest installed one: OpenVINO on the processor, else torch. A model
            in memory is converted for OpenVINO and ONNX Runtime, which takes seconds the first
            time; training, whose weights change, asks for torch.
            `torch-compile` is torch with kernels that TorchInductor writes for the network, in some
            seconds in each process.
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
    chosen = _choose(model, name, place)
    if chosen in _TORCH:
        assert isinstance(model, Model)
        return torch_engine(model, precision, place, chosen == "torch-compile")
    if place.type != "cpu":
        raise InputError(f"engine {chosen} runs on the processor here; use --device cpu")
    if chosen == "onnx":
        return onnx_engine(model, precision)
    try:
        return openvino_engine(model, precision, spare_gb)
    except NoCacheError as error:
        if name != "auto":
            raise
        warnings.warn(f"{error}; torch computes, which is slower", UserWarning, stacklevel=2)
        assert isinstance(model, Model)
        return torch_engine(model, precision, place)


def needs_processor(model: Model | Exported, name: EngineName) -> bool:
    """Whether the engine that was asked for, or that an exported model has, computes there only."""
    return isinstance(model, Exported) or name in ("onnx", "openvino")


def installed(name: str) -> bool:
    """Whether the engine's packages are there."""
    return all(importlib.util.find_spec(module) for module in _MODULES[name])


def _choose(model: Model | Exported, name: EngineName, device: torch.device) -> Kind:
    if isinstance(model, Exported):
        if name not in ("auto", model.kind):
            raise InputError(
                f"{model.source}: an {model.kind} model does not run in {name}; drop --engine"
            )
        name = model.kind
    if name == "auto":
        return "openvino" if device.type == "cpu" and installed("openvino") else "torch"
    if name in _TORCH:
        return name
    if not installed(name):
        raise InputError(f"engine {name} is not installed; pip install 'unetr[{name}]'")
    return name
