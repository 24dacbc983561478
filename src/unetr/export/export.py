"""Writes a network as ONNX or OpenVINO, with the plan in the file's own metadata."""

from pathlib import Path
from typing import Literal

from unetr.checkpoint.model import Model
from unetr.errors import InputError
from unetr.files import written_whole
from unetr.inference.convert import converted_onnx, write_openvino
from unetr.inference.engines import installed

# Protocol buffers, which ONNX is made of, end at 2 GB.
_ONNX_BYTES = 2_000_000_000


def export_model(model: Model, folder: str | Path, kind: Literal["onnx", "openvino"]) -> Path:
    """Writes `model.onnx`, or `model.xml` with `model.bin`, into `folder`; returns the first.

    The network takes one window (1, channels, *patch_voxels) float32 and gives logits. The plan,
    label table and provenance are a JSON string under the key `unetr` in ONNX's metadata
    properties or OpenVINO's runtime information; `load_any` and `Predictor` read them.

    Raises:
        InputError: the packages are not installed, the network is too large for ONNX, or the
            folder cannot be written to.
    """
    folder = Path(folder)
    if not installed(kind):
        raise InputError(f"--format {kind}: not installed; pip install 'unetr[{kind}]'")
    if kind == "openvino":
        path = folder / "model.xml"
        write_openvino(model, path)
        return path
    size = sum(p.numel() * p.element_size() for p in model.network.state_dict().values())
    if size > _ONNX_BYTES:
        raise InputError(f"{model.source}: over 2 GB, too large for ONNX; use --format openvino")
    path = folder / "model.onnx"
    content = converted_onnx(model)
    with written_whole(path) as part:
        part.write_bytes(content)
    return path
