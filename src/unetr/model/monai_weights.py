"""MONAI's UNETR weights as ours, and back: every published form from MONAI 0.6 to 1.6.1."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from unetr.errors import InputError
from unetr.model.patch_embedding import resize_positions
from unetr.model.sizes import Triple, triple
from unetr.model.unetr import UNETR

ProjType = Literal["conv", "perceptron"]

# MONAI's network cannot be otherwise. It takes hidden_states[3], [6], [9] counted from 0.
_FIXED: dict[str, Any] = {
    "patch_size": 16,
    "num_layers": 12,
    "skip_layers": [4, 7, 10],
    "decoder": "unetr",
    "block": "vit",
    "num_registers": 0,
    "deep_supervision": False,
    "stem": False,
}
_PATCH = 16
_HEADS = 12
_POSITIONS = "vit.patch_embedding.position_embeddings"
_PERCEPTRON = "vit.patch_embedding.patch_embeddings.1.weight"
# No part of the function: class tokens and convolutions without use of 0.6 to 0.8, what 1.4 to
# 1.6.1 builds for a cross-attention that is off.
_SPARE = re.compile(r"cls_token$|cross_attn\.|\.conv3\.")

# Our names with MONAI's. {4-} stands for 4 minus the number found, {5-} for 5 minus it.
_PARTS = (
    (r"transformer\.embedding\.positions", "vit.patch_embedding.position_embeddings"),
    (r"transformer\.embedding\.projection", "vit.patch_embedding.patch_embeddings"),
    (r"transformer\.", "vit."),
    (r"attention\.qkv", "attn.qkv"),
    (r"attention\.out", "attn.out_proj"),
    (r"decoder\.input_encoder", "encoder1.layer"),
    (r"decoder\.head", "out.conv.conv"),
    (r"decoder\.skip_encoders\.(\d+)", "encoder{4-}"),
    (r"decoder\.steps\.(\d+)", "decoder{5-}"),
    (r"\.first\.", ".transp_conv_init.conv."),
    (r"\.upsample\.", ".transp_conv.conv."),
    (r"\.convolutions\.", ".conv_block."),
    (r"(encoder\d)\.deconvolutions\.(\d)", r"\1.blocks.\2.0.conv"),
    (r"(encoder\d)\.blocks\.(\d)\.(conv\d|shortcut)", r"\1.blocks.\2.1.\3"),
    (r"\.shortcut\.", ".conv3.conv."),
    (r"\.(conv[12])\.weight", r".\1.conv.weight"),
)


def import_monai(
    state_dict: object,
    img_size: int | Sequence[int] | None = None,
    num_heads: int = _HEADS,
) -> UNETR:
    """A UNETR with the weights of MONAI's, its configuration read from their shapes.

    Args:
        state_dict: Names to weights, as `torch.load(..., weights_only=True)` gives them; wrappers
            such as `{"state_dict": ...}` and prefixes such as `module.` are taken off.
        img_size: Voxels to learn positions for; another size than was trained interpolates them.
            Needed where the trained grid was no cube, because the weights do not say which.
        num_heads: The one number that no tensor shows; the default is MONAI's.

    Raises:
        InputError: not the weights of a UNETR, or some are missing or of other shapes.
    """
    weights = _unwrapped(state_dict)
    config = _configuration(weights)
    tokens = weights[_POSITIONS].shape[1]
    wanted = None if img_size is None else triple(img_size, "img_size")
    grid = _trained_grid(tokens, wanted)
    trained_size = [side * _PATCH for side in grid]
    with torch.device("meta"):  # initial weights would be overwritten
        network = UNETR(**config, img_size=wanted or trained_size, num_heads=num_heads)
    fresh = network.state_dict()
    perceptron = _PERCEPTRON in weights
    names = {key: _monai_name(key, config["skip_convolutions"], perceptron) for key in fresh}
    found = {
        key: weights[name].detach().to(torch.float32, copy=True)
        for key, name in names.items()
        if name in weights
    }
    missing = [name for name in names.values() if name not in weights]
    projection = "transformer.embedding.projection.weight"
    if projection in found:
        found[projection] = _flat_patches(found[projection])
    positions = "transformer.embedding.positions"
    new_grid = network.transformer.embedding.grid
    if new_grid != grid:
        found[positions] = resize_positions(found[positions], grid, new_grid)
    strange = [name for name in weights.keys() - set(names.values()) if not _SPARE.search(name)]
    other = [names[key] for key in found if found[key].shape != fresh[key].shape]
    _refuse(missing, other, sorted(strange), weights)
    network.load_state_dict(found, assign=True)
    return network.requires_grad_()


def export_monai(model: UNETR, proj_type: ProjType = "conv") -> dict[str, Tensor]:
    """The state dict with which MONAI's `UNETR(..., proj_type=proj_type)` computes the same.

    It loads strictly into MONAI 1.6.1; into others with `strict=False`, because some have weights
    without use.

    Raises:
        InputError: a network that MONAI's class cannot be, such as other skip layers than
            (4, 7, 10).
    """
    for key, value in _FIXED.items():
        have = model.config[key]
        if have != value and not (key == "patch_size" and have == [value] * 3):
            raise InputError(
                f"{key} is {have}, but in MONAI's UNETR it is {value}: train with that"
            )
    exported = {}
    for key, value in model.state_dict().items():
        name = _monai_name(key, model.config["skip_convolutions"], proj_type == "perceptron")
        if key == "transformer.embedding.projection.weight" and proj_type == "conv":
            # (K, x y z c) to (K, c, x, y, z)
            value = value.unflatten(1, (_PATCH, _PATCH, _PATCH, -1)).permute(0, 4, 1, 2, 3)
        exported[name] = value.detach().clone()
    for block in range(model.num_layers):
        # MONAI 1.6.1 builds this norm without using it, and asks for it when loading.
        norm = f"vit.blocks.{block}.norm_cross_attn"
        exported[f"{norm}.weight"] = torch.ones(model.config["hidden_size"])
        exported[f"{norm}.bias"] = torch.zeros(model.config["hidden_size"])
    return exported


def _monai_name(key: str, skip_convolutions: bool, perceptron: bool) -> str:
    """What MONAI calls our parameter `key`."""
    name = key
    for pattern, replacement in _PARTS:
        name = re.sub(pattern, replacement, name)
        if match := re.search(pattern, key):
            for count in (4, 5):
                if f"{{{count}-}}" in name:
                    name = name.replace(f"{{{count}-}}", str(count - int(match[1])))
    if not skip_convolutions:
        name = re.sub(r"(encoder\d\.blocks\.\d)\.0\.conv", r"\1.conv", name)
    if perceptron:
        name = name.replace("patch_embeddings.", "patch_embeddings.1.")
    return name


def _unwrapped(state_dict: object) -> dict[str, Tensor]:
    """The weights alone, under MONAI's own names."""
    if not isinstance(state_dict, Mapping):
        raise InputError(
            f"no weights of a MONAI UNETR: it holds a {type(state_dict).__name__}, not weights by "
            "name; save the network's state_dict()"
        )
    parts = list(_tensors(state_dict))
    for part in parts:
        for name in part:
            if name.endswith(_POSITIONS) and part[name].ndim == 3:
                prefix = name.removesuffix(_POSITIONS)
                return {
                    key.removeprefix(prefix): value
                    for key, value in part.items()
                    if key.startswith(prefix)
                }
    largest = max(parts, key=len)
    if not largest:
        raise InputError("no weights of a MONAI UNETR: it holds no tensors")
    some = ", ".join(list(largest)[:3])
    raise InputError(f"no weights of a MONAI UNETR: {_POSITIONS} is missing (it has {some}...)")


def _tensors(checkpoint: Mapping[Any, Any]) -> Iterator[dict[str, Tensor]]:
    """The named tensors of a checkpoint, then those of each part of it, as deep as it goes: beside
    the weights a training may keep tensors of its own, such as the best score."""
    named = checkpoint.items()
    yield {key: value for key, value in named if isinstance(key, str) and isinstance(value, Tensor)}
    for part in checkpoint.values():
        if isinstance(part, Mapping):
            yield from _tensors(part)


def _configuration(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """The network's arguments, but for its size and heads."""
    shapes = {name: tuple(value.shape) for name, value in weights.items()}
    first, out, mlp = (
        "encoder1.layer.conv1.conv.weight",
        "out.conv.conv.weight",
        "vit.blocks.0.mlp.linear1.weight",
    )
    for name, ndim in ((first, 5), (out, 5), (mlp, 2)):
        if len(shapes.get(name, ())) != ndim:
            raise InputError(f"no weights of a MONAI UNETR: {name} is missing or of another kind")
    feature_size, in_channels = shapes[first][:2]
    return {
        "in_channels": in_channels,
        "out_channels": shapes[out][0],
        "feature_size": feature_size,
        "mlp_dim": shapes[mlp][0],
        "hidden_size": shapes[mlp][1],
        "skip_layers": _FIXED["skip_layers"],
        "qkv_bias": "vit.blocks.0.attn.qkv.bias" in shapes,
        "skip_convolutions": "encoder2.blocks.0.conv.weight" not in shapes,
    }


def _trained_grid(tokens: int, img_size: Triple | None) -> Triple:
    """The token grid that the positions were learned on."""
    if img_size is not None:
        x, y, z = (-(-side // _PATCH) for side in img_size)
        if x * y * z == tokens:
            return x, y, z
    side = round(tokens ** (1 / 3))
    if side**3 != tokens:
        raise InputError(
            f"{_POSITIONS}: {tokens} tokens are no cube; say by img_size what the network was "
            "trained for"
        )
    return side, side, side


def _flat_patches(weight: Tensor) -> Tensor:
    """The projection as (K, x y z c), also where it was stored as a convolution (K, c, x, y, z)."""
    return weight if weight.ndim == 2 else weight.permute(0, 2, 3, 4, 1).flatten(1)


def _refuse(
    missing: Sequence[str],
    other: Sequence[str],
    strange: Sequence[str],
    weights: Mapping[str, Tensor],
) -> None:
    """One line for weights that do not fit."""
    told = []
    if missing:
        told.append(f"{len(missing)} weights are missing, first {missing[0]}")
    if other:
        told.append(f"{other[0]} has the wrong shape {tuple(weights[other[0]].shape)}")
    if strange:
        told.append(f"{len(strange)} are not UNETR's, first {strange[0]}")
    if told:
        raise InputError("no weights of a MONAI UNETR: " + "; ".join(told))
