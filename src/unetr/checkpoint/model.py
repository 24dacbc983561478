"""A trained network with all it needs to predict, in memory and as one file."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from unetr.checkpoint.header import (
    FORMAT_VERSION,
    METADATA_KEY,
    Header,
    NetworkConfig,
    model_file,
    read_header,
)
from unetr.checkpoint.networks import build_network
from unetr.data.plan import Plan
from unetr.errors import InputError
from unetr.files import written_whole


@dataclass
class Model:
    """A network and its plan.

    Attributes:
        network: Gives logits (b, classes or regions, x, y, z) for x (b, channels, x, y, z).
        plan: From scan to network input and back.
        name: The network's kind as `build_network` knows it.
        config: The keyword arguments that rebuild the network. Default: `network.config`.
        provenance: Training data, versions, seed, history, validation scores; JSON-able.
        source: What to call this model in messages: usually its path.
    """

    network: nn.Module
    plan: Plan
    provenance: dict[str, Any] = field(default_factory=dict)
    source: str = "model"
    name: str = "unetr"
    config: dict[str, Any] | None = None

    @property
    def header(self) -> Header:
        """What the model file says besides its weights."""
        config = self.config if self.config is not None else getattr(self.network, "config", None)
        if not isinstance(config, dict):
            raise TypeError("give Model a config: its network does not carry one")
        network = NetworkConfig(name=self.name, config=config)
        return Header(
            version=FORMAT_VERSION, network=network, plan=self.plan, provenance=self.provenance
        )


def save_model(path: str | Path, model: Model, half: bool = False) -> None:
    """Writes one safetensors file, whole or not at all.

    Args:
        half: Weights in float16, for a file of half the size; they are float32 again when loaded.

    Raises:
        InputError: the folder cannot be written to, or the disk is full.
    """
    metadata = {METADATA_KEY: model.header.to_json()}
    state, first = model.network.state_dict(), first_names(model.network)
    weights = {key: value.contiguous() for key, value in state.items() if first[key] == key}
    if half:
        weights = {key: _as(value, torch.float32, torch.float16) for key, value in weights.items()}
    with written_whole(Path(path)) as part:
        try:
            save_file(weights, part, metadata)
        except SafetensorError as error:
            # It wraps the operating system's errors in its own type, with errno in the text.
            full = "os error 28" in str(error) or "os error 122" in str(error)
            cure = "the disk is full; free some space" if full else f"cannot be written ({error})"
            raise InputError(f"{path}: {cure}") from error


def load_model(path: str | Path, device: str | torch.device = "cpu") -> Model:
    """Reads a model file: network in evaluation mode on `device`, its plan and provenance.

    A run folder stands for the `model.safetensors` in it, and the name of a model that comes with
    the package for that one.

    Raises:
        InputError: missing, truncated, foreign or pickled file, unknown format version, or weights
            that are not those of the network the header names.
    """
    path = model_file(path)
    header = read_header(path)
    network = _without_initialisation(header.network)
    try:
        stored = load_file(path, device=str(device))
        weights = {key: _as(value, torch.float16, torch.float32) for key, value in stored.items()}
        for key, original in first_names(network).items():
            if original in weights:
                weights.setdefault(key, weights[original])
        network.load_state_dict(weights, assign=True)
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: its weights do not fit its header: {reason[:200]}") from error
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    return Model(
        network=network.to(device).eval(),
        plan=header.plan,
        provenance=header.provenance,
        source=str(path),
        name=header.network.name,
        config=header.network.config,
    )


def _as(tensor: torch.Tensor, old: torch.dtype, new: torch.dtype) -> torch.Tensor:
    """In type `new` if it has type `old`, else as it is: integers stay integers."""
    return tensor.to(new) if tensor.dtype == old else tensor


def first_names(network: nn.Module) -> dict[str, str]:
    """Each name in the network's state, to the first name of the same tensor: MONAI's DynUNet has
    most of its parts under two names, and a safetensors file holds a tensor under one."""
    seen: dict[int, str] = {}
    names = network.state_dict(keep_vars=True).items()
    return {name: seen.setdefault(id(tensor), name) for name, tensor in names}


def _without_initialisation(network: NetworkConfig) -> nn.Module:
    """The network with weights still to come: drawing random ones for 93 M costs a second."""
    if network.name != "unetr":
        # MONAI's constructors compute with their tensors, which the meta device has not.
        return build_network(network.name, network.config)
    with torch.device("meta"):
        return build_network(network.name, network.config)
