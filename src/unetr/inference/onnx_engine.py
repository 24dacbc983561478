"""Networks computed by ONNX Runtime, on the processor."""

import numpy as np
import torch
from torch import Tensor

from unetr.checkpoint.model import Model
from unetr.errors import InputError
from unetr.inference.convert import converted_onnx
from unetr.inference.engine import Engine, Precision, activation
from unetr.inference.exported import Exported


def onnx_engine(model: Model | Exported, precision: Precision) -> Engine:
    """See `make_engine`.

    Raises:
        InputError: bf16, or a file that cannot be loaded.
    """
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
    activate = activation(model.header.plan)

    def forward(windows: Tensor) -> Tensor:
        found = [session.run(None, {name: window[None].numpy()})[0] for window in windows]
        return activate(torch.from_numpy(np.concatenate(found)))

    return Engine("onnx", "fp32", torch.device("cpu"), forward, 1, model.header, model.source)
