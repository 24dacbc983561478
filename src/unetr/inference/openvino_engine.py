"""Networks computed by OpenVINO, on the processor."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from unetr.checkpoint.model import Model
from unetr.errors import InputError
from unetr.inference.convert import converted_openvino
from unetr.inference.engine import Engine, Precision
from unetr.inference.exported import Exported
from unetr.inference.memory import windows_at_once

# One network after the other: each takes memory of its own on the way, and all cores.
_BACKGROUND = ThreadPoolExecutor(1, "compile")


def openvino_engine(model: Model | Exported, precision: Precision, spare_gb: float) -> Engine:
    """See `make_engine`. It is converted where it must be, and compiled in the background.

    Raises:
        InputError: bf16 on a processor without, or from `ready` a file that cannot be loaded.
    """
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
