"""The encoder: patch embedding and a stack of blocks whose outputs the decoder draws on."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unetr.model.modern_block import ModernBlock
from unetr.model.patch_embedding import PatchEmbedding
from unetr.model.recompute import recomputed
from unetr.model.rotary import Rotation, rotation
from unetr.model.sizes import Triple
from unetr.model.vit_block import ViTBlock

Block = Literal["vit", "modern"]


class Transformer(nn.Module):
    """Twelve blocks in the paper; each output z_1 ... z_L can feed the decoder.

    Args:
        block: `vit` is the paper's; `modern` adds what Primus found to help.
        num_registers: Learned tokens without a place, in which attention can keep what belongs to
            no patch (Darcet et al., arXiv:2309.16588); they do not reach the decoder.
        drop_path: Of the last modern block; rises linearly from 0 at the first.
        checkpointing: Keep only each block's input in training and compute the rest again.
    """

    def __init__(
        self,
        in_channels: int,
        grid: Triple,
        patch_size: Triple,
        *,
        hidden_size: int,
        mlp_dim: int,
        num_heads: int,
        num_layers: int,
        block: Block = "vit",
        qkv_bias: bool = False,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        num_registers: int = 0,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.embedding = PatchEmbedding(in_channels, grid, patch_size, hidden_size, dropout)
        sizes = (hidden_size, mlp_dim, num_heads)
        self.blocks = nn.ModuleList()
        for index in range(num_layers):
            if block == "vit":
                self.blocks.append(ViTBlock(*sizes, qkv_bias=qkv_bias, dropout=dropout))
            else:
                skipped = drop_path * index / max(num_layers - 1, 1)
                self.blocks.append(
                    ModernBlock(*sizes, qkv_bias=qkv_bias, dropout=dropout, drop_path=skipped)
                )
        self.norm = nn.LayerNorm(hidden_size)
        self.num_registers = num_registers
        if num_registers:
            self.registers = nn.Parameter(torch.empty(1, num_registers, hidden_size))
            nn.init.trunc_normal_(self.registers, std=0.02)
        self.rotary_width = hidden_size // num_heads if block == "modern" else 0
        self.checkpointing = checkpointing
        self._initialise()

    def _initialise(self) -> None:
        """Truncated normals of 0.02, as vision transformers are started."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(
        self,
        x: Float[Tensor, "b c x y z"],
        layers: Sequence[int],
        added: Float[Tensor, "b k nx ny nz"] | None = None,
    ) -> list[Float[Tensor, "b k nx ny nz"]]:
        """The outputs of blocks `layers` (counted from 1), then the normalised last one, as grids.

        Args:
            x: Sides must be multiples of the patch's.
            added: To the embedded tokens, from elsewhere.
        """
        z, turn, grid = self._embed(x, added)
        kept: dict[int, Tensor] = {}
        for number, block in enumerate(self.blocks, start=1):
            z = recomputed(block, z, turn, random=True) if self._recomputes() else block(z, turn)
            if number in layers:
                kept[number] = z
        return [
            self._as_grid(each, grid) for each in (*map(kept.__getitem__, layers), self.norm(z))
        ]

    def attention_map(
        self,
        x: Float[Tensor, "b c x y z"],
        layer: int,
        added: Float[Tensor, "b k nx ny nz"] | None = None,
    ) -> Float[Tensor, "b h n n"]:
        """The attention matrix of block `layer` (counted from 1); registers come first."""
        z, turn, _ = self._embed(x, added)
        for block in self.blocks[: layer - 1]:
            z = block(z, turn)
        chosen: ViTBlock | ModernBlock = self.blocks[layer - 1]  # type: ignore[assignment]
        return chosen.attention_map(z, turn)

    def _embed(self, x: Tensor, added: Tensor | None) -> tuple[Tensor, Rotation | None, Triple]:
        px, py, pz = self.embedding.patch_size
        grid = (x.shape[2] // px, x.shape[3] // py, x.shape[4] // pz)
        z = self.embedding(x)
        if added is not None:
            z = z + added.flatten(2).transpose(1, 2)
        if self.num_registers:
            z = torch.cat((self.registers.expand(len(z), -1, -1), z), dim=1)
        turn = (
            rotation(grid, self.num_registers, self.rotary_width, z) if self.rotary_width else None
        )
        return z, turn, grid

    def _as_grid(self, z: Tensor, grid: Triple) -> Float[Tensor, "b k nx ny nz"]:
        """Tokens back to where their patches lie, registers left out."""
        placed = z[:, self.num_registers :]
        return placed.transpose(1, 2).reshape(len(z), -1, *grid)

    def _recomputes(self) -> bool:
        return self.checkpointing and self.training
