"""A network exported to ONNX or OpenVINO, with its plan inside the file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unetr.checkpoint.header import METADATA_KEY, Header, model_file, parse_header
from unetr.checkpoint.model import Model, load_model
from unetr.errors import InputError


@dataclass(frozen=True)
class Exported:
    """An exported model file and what its header says."""

    path: Path
    kind: Literal["onnx", "openvino"]
    header: Header

    @property
    def source(self) -> str:
        """What to call this model in messages."""
        return str(self.path)


def load_any(path: str | Path) -> Model | Exported:
    """A model file of any kind, told apart by its suffix: .safetensors, .onnx, .xml.

    Raises:
        InputError: as `load_model`; an exported file without a plan in it.
    """
    path = any_model_file(path)
    return load_exported(path) if path.suffix in (".onnx", ".xml") else load_model(path)


def any_model_file(path: str | Path) -> Path:
    """As `model_file`, also of a folder that holds an exported model.

    Raises:
        InputError: a folder without a model, or with one in two formats.
    """
    path = Path(path)
    if not path.is_dir() or (path / "model.safetensors").exists():
        return model_file(path)
    found = [path / name for name in ("model.onnx", "model.xml") if (path / name).exists()]
    if len(found) > 1:
        raise InputError(
            f"{path}: holds both model.onnx and model.xml; name the one to use, such as {found[0]}"
        )
    if not found and not model_file(path).exists():
        raise InputError(f"{path}: a folder without model.safetensors, model.onnx or model.xml")
    return found[0] if found else model_file(path)


def load_exported(path: Path) -> Exported:
    """An exported file with its header; weights are left to what computes them.

    Raises:
        InputError: not readable, or without a plan in it.
    """
    if not path.is_file():
        raise InputError(f"{path}: cannot be read (no such file)")
    text = _onnx_header(path) if path.suffix == ".onnx" else _openvino_header(path)
    if text is None:
        raise InputError(f"{path}: no unetr plan inside; make it by `unetr export`")
    kind: Literal["onnx", "openvino"] = "onnx" if path.suffix == ".onnx" else "openvino"
    return Exported(path, kind, parse_header(text, str(path)))


def _onnx_header(path: Path) -> str | None:
    try:
        import onnx
    except ImportError:
        raise InputError(f"{path}: needs onnx; pip install 'unetr[onnx]'") from None
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:
        raise InputError(f"{path}: not a readable ONNX model; export it again") from error
    found = {entry.key: entry.value for entry in model.metadata_props}
    return found.get(METADATA_KEY)


def _openvino_header(path: Path) -> str | None:
    try:
        import openvino as ov
    except ImportError:
        raise InputError(f"{path}: needs openvino; pip install 'unetr[openvino]'") from None
    if not path.with_suffix(".bin").is_file():
        raise InputError(f"{path}: its weights {path.with_suffix('.bin').name} are not beside it")
    try:
        model = ov.Core().read_model(path)
    except RuntimeError as error:
        raise InputError(f"{path}: not a readable OpenVINO model; export it again") from error
    if not model.has_rt_info(METADATA_KEY):
        return None
    return str(model.get_rt_info(METADATA_KEY).value)
