"""Networks computed by torch, on processors and accelerators."""

import functools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from unetr.checkpoint.model import Model
from unetr.errors import InputError
from unetr.inference.device import gpu_has_bf16, is_out_of_memory
from unetr.inference.engine import Engine, Precision, activation


def torch_engine(
    model: Model, precision: Precision, device: torch.device, compiled: bool = False
) -> Engine:
    """See `make_engine`.

    Args:
        compiled: Have torch write kernels for it, in the first `ready` or call.
    """
    try:
        network: Any = model.network.to(device).eval()
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise InputError(
            f"{model.source}: does not fit on {device}; free its memory, or use --device cpu"
        ) from error
    if device.type == "cpu":
        # Convolutions there read a voxel's channels together. The model's own network is laid out
        # so; what exports or saves it does not mind.
        network = network.to(memory_format=torch.channels_last_3d)
    if precision == "bf16" and device.type == "mps":
        raise InputError("--precision bf16: not on this device; take fp32 or auto")
    dtype: Literal["fp32", "bf16"] = "fp32"
    if precision == "bf16" or (precision == "auto" and _bf16_is_faster(device)):
        dtype = "bf16"
    activate = activation(model.plan)
    run = torch.compile(network, dynamic=False) if compiled else network

    def forward(windows: Tensor) -> Tensor:
        # Not inference_mode: tensors touched under it could not be trained or exported later.
        with torch.no_grad():
            with _computing_in(dtype, device):
                logits: Tensor = run(windows)
            return activate(logits.float())

    batch = 1 if device.type == "cpu" else 4
    engine = Engine("torch", dtype, device, forward, batch, model.header, model.source)
    return _compiled(engine) if compiled else engine


def _compiled(engine: Engine) -> Engine:
    """With kernels for one window; another number of them would have to be compiled again."""

    def forward(windows: Tensor) -> Tensor:
        return torch.cat([engine.forward(window) for window in torch.split(windows, 1)])

    @functools.cache
    def ready() -> None:
        plan = engine.header.plan
        blank = torch.zeros(1, len(plan.channels), *plan.patch_voxels, device=engine.device)
        try:
            with warnings.catch_warnings():
                # Advice to programmers, not to compute fp32 as what was asked for.
                warnings.filterwarnings("ignore", message="TensorFloat32 tensor cores")
                engine.forward(blank)
        except Exception as error:
            if is_out_of_memory(error):
                return  # The scan will tell what does not fit.
            reason = str(error).strip().splitlines()[0]
            raise InputError(
                f"{engine.source}: torch cannot compile it ({reason}); use --engine torch"
            ) from error

    return replace(engine, name="torch-compile", forward=forward, batch=1, ready=ready)


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
        return gpu_has_bf16(device)
    # mkldnn answers yes from AVX-512 without bf16 instructions on, where it is emulated and slow.
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())
