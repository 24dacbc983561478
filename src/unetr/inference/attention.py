"""Where the transformer looks: attention rollout, laid over the scan."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from unetr.checkpoint.model import Model
from unetr.errors import InputError
from unetr.inference.exported import Exported
from unetr.inference.window import Forward


def rollouts(members: Sequence[Model | Exported], layer: int) -> Forward:
    """The mean of the members' rollouts; see `rollout`.

    Raises:
        InputError: as `rollout`; a member is exported, and has no attention to look at.
    """
    found = []
    for member in members:
        if isinstance(member, Exported):
            raise InputError(f"{member.source}: exported, so without attention; drop --attention")
        found.append(rollout(member, layer))
    return lambda windows: torch.stack([one(windows) for one in found]).mean(dim=0)


def rollout(model: Model, layer: int) -> Forward:
    """A function from windows (b, channels, x, y, z) to rollout maps (b, 1, x, y, z).

    Attention rollout (Abnar & Zuidema, arXiv:2005.00928): the product over blocks 1 to `layer` of
    (A + I) / 2, A the attention matrix averaged over heads. It says how much each output token
    draws on each input patch; the map is the mean over output tokens, times the number of tokens:
    1 where a patch counts as much as the average patch.

    Raises:
        InputError: a network without attention maps, or without that layer.
    """
    network: Any = model.network
    if not hasattr(network, "attention_maps"):
        raise InputError(f"{model.source}: {model.name} has no attention maps; drop --attention")
    layers = int(network.config["num_layers"])
    if not 1 <= layer <= layers:
        raise InputError(f"{model.source}: attention layer {layer} is not within 1..{layers}")

    def forward(windows: Tensor) -> Tensor:
        with torch.no_grad():
            flow: Tensor | None = None
            for block in range(1, layer + 1):
                heads: Tensor = network.attention_maps(windows, block)
                own = torch.eye(heads.shape[-1], device=heads.device)
                step = (heads.float().mean(dim=1) + own) / 2
                flow = step if flow is None else step @ flow
            assert flow is not None
            drawn = flow.mean(dim=1) * flow.shape[-1]
        return _on_voxels(drawn, windows.shape[2:], model.plan.token_voxels)

    return forward


def _on_voxels(tokens: Tensor, size: torch.Size, token_voxels: tuple[int, ...]) -> Tensor:
    """(b, tokens), x slowest, to (b, 1, x, y, z): each token's value at its patch, interpolated.

    Register tokens, which have no place, come first where there are any.
    """
    grid = [-(-voxels // token) for voxels, token in zip(size, token_voxels, strict=True)]
    count = grid[0] * grid[1] * grid[2]
    placed = tokens[:, -count:].reshape(len(tokens), 1, *grid)
    # The last tokens reach beyond a window that is no multiple of them, as the network pads it.
    whole = [n * token for n, token in zip(grid, token_voxels, strict=True)]
    drawn = F.interpolate(placed, size=whole, mode="trilinear", align_corners=False)
    return drawn[..., : size[0], : size[1], : size[2]]
