"""From torch to ONNX and OpenVINO, for windows of the plan's size, one at a time."""

import copy
import hashlib
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unetr.checkpoint.header import METADATA_KEY
from unetr.checkpoint.model import Model
from unetr.errors import InputError
from unetr.files import cache_folder, check_writable, written_whole

# Converted networks are as large as their weights; older ones are dropped from the cache.
_KEPT = 8
# By this process, which will want all members of an ensemble again the next time.
_used: set[Path] = set()


class NoCacheError(InputError):
    """What is converted cannot be kept anywhere."""


def to_openvino(model: Model) -> Any:
    """The network as an `openvino.Model` with the header in its runtime information."""
    import openvino as ov

    example = _example(model)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.export.export(_plain(model), (example,))
        converted = ov.convert_model(program)
    converted.reshape(tuple(example.shape))
    converted.set_rt_info(model.header.to_json(), METADATA_KEY)
    return converted


def to_onnx(model: Model) -> Any:
    """The network as an ONNX model proto with the header in its metadata."""
    import onnx

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _plain(model),
            (_example(model),),
            input_names=["windows"],
            output_names=["logits"],
            dynamo=True,
            verbose=False,
            optimize=True,
        )
    assert program is not None
    proto = program.model_proto
    onnx.helper.set_model_props(proto, {METADATA_KEY: model.header.to_json()})
    return proto


def converted_openvino(model: Model) -> Path:
    """The network converted, from the cache folder where it was converted before.

    Raises:
        NoCacheError: there is none, or it cannot be written to.
    """
    try:
        path = cache_folder() / "openvino" / f"{_fingerprint(model)}.xml"
        _used.add(path)
        if path.exists() and path.with_suffix(".bin").exists():
            with suppress(OSError):  # a folder that is shared, and may not be written to
                path.touch()
            return path
        # Converting takes seconds.
        check_writable(path.parent, "XDG_CACHE_HOME")
        write_openvino(model, path)
    except (InputError, OSError) as error:
        raise NoCacheError(f"{error}; or use --engine torch, which needs no cache") from error
    _drop_old(path.parent)
    return path


def write_openvino(model: Model, path: Path) -> None:
    """Writes the network to `path`, an .xml, with its weights beside it as .bin.

    Raises:
        InputError: the folder cannot be written to.
    """
    import openvino as ov

    converted = to_openvino(model)
    # What is opened last appears first: the weights, so that a description has them beside it.
    with written_whole(path) as part, written_whole(path.with_suffix(".bin")) as weights:
        ov.serialize(converted, part, weights)


def converted_onnx(model: Model) -> bytes:
    """The network converted, in memory: ONNX Runtime is for those without OpenVINO."""
    content: bytes = to_onnx(model).SerializeToString()
    return content


def _plain(model: Model) -> torch.nn.Module:
    """The network in float32 on the processor, a copy unless it is just that already."""
    network = model.network
    states = {(p.device.type, p.dtype) for p in network.parameters()}
    if not network.training and states == {("cpu", torch.float32)}:
        return network
    return copy.deepcopy(network).float().cpu().eval()


def _example(model: Model) -> Tensor:
    return torch.zeros(1, len(model.plan.channels), *model.plan.patch_voxels)


def _fingerprint(model: Model) -> str:
    """Of all that the converted network depends on: header, weights, and the versions of what
    computes and converts it."""
    import openvino as ov

    found = hashlib.sha256(model.header.to_json().encode())
    found.update(f"{version('unetr')} {torch.__version__} {ov.__version__}".encode())
    weights = model.network.state_dict()
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        for key, digest in zip(weights, threads.map(_digest, weights.values()), strict=True):
            found.update(key.encode())
            found.update(digest)
    return found.hexdigest()[:32]


def _digest(weight: Tensor) -> bytes:
    values = weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return hashlib.sha256(values.numpy().data).digest()


def _drop_old(folder: Path) -> None:
    # Not what other processes are writing under a temporary name.
    ages: dict[Path, float] = {}
    for path in folder.glob("[!.]*.xml"):
        with suppress(FileNotFoundError):
            ages[path] = path.stat().st_mtime
    by_age = sorted(ages, key=ages.__getitem__, reverse=True)
    for path in (path for path in by_age[_KEPT:] if path not in _used):
        with suppress(OSError):  # a folder that is shared, and another's file
            path.unlink(missing_ok=True)
            path.with_suffix(".bin").unlink(missing_ok=True)
