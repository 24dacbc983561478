"""A transformer block after Primus (Wald et al. 2025, arXiv:2503.01835), beside the paper's."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from unetr.model.attention import Attention
from unetr.model.rotary import Rotation

_LAYER_SCALE = 0.1


class ModernBlock(nn.Module):
    """Pre-norm block with rotary positions, query/key normalisation, SwiGLU, LayerScale, DropPath.

    Args:
        mlp_dim: Of the paper's perceptron; SwiGLU takes 2/3 of it, which has as many weights.
        drop_path: Probability that a sample skips a branch (Huang et al., arXiv:1603.09382).
    """

    def __init__(
        self,
        hidden_size: int,
        mlp_dim: int,
        num_heads: int,
        *,
        qkv_bias: bool = False,
        dropout: float = 0.0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(hidden_size)
        self.attention = Attention(
            hidden_size, num_heads, qkv_bias=qkv_bias, dropout=dropout, query_key_norm=True
        )
        self.scale1 = nn.Parameter(torch.full((hidden_size,), _LAYER_SCALE))
        self.norm2 = nn.LayerNorm(hidden_size)
        self.mlp = SwiGLU(hidden_size, mlp_dim, dropout)
        self.scale2 = nn.Parameter(torch.full((hidden_size,), _LAYER_SCALE))
        self.drop_path = DropPath(drop_path)

    def forward(
        self, z: Float[Tensor, "b n k"], rotation: Rotation | None = None
    ) -> Float[Tensor, "b n k"]:
        """The block's output."""
        z = z + self.drop_path(self.scale1 * self.attention(self.norm1(z), rotation))
        deeper: Tensor = z + self.drop_path(self.scale2 * self.mlp(self.norm2(z)))
        return deeper

    def attention_map(
        self, z: Float[Tensor, "b n k"], rotation: Rotation | None = None
    ) -> Float[Tensor, "b h n n"]:
        """The attention matrix of this block for its input."""
        return self.attention.map(self.norm1(z), rotation)


class SwiGLU(nn.Module):
    """A perceptron whose hidden features are gated (Shazeer, arXiv:2002.05202)."""

    def __init__(self, hidden_size: int, mlp_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        width = max(8, round(mlp_dim * 2 / 3 / 8) * 8)
        self.gate_and_value = nn.Linear(hidden_size, 2 * width)
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, hidden_size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, z: Float[Tensor, "b n k"]) -> Float[Tensor, "b n k"]:
        """Token by token."""
        gate, value = self.gate_and_value(z).chunk(2, dim=-1)
        out: Tensor = self.dropout(self.out(self.norm(F.silu(gate) * value)))
        return out


class DropPath(nn.Module):
    """In training, zeros a branch for whole samples, and scales up the others."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Float[Tensor, "b n k"]) -> Float[Tensor, "b n k"]:
        """The branch, or zeros."""
        if not self.training or self.probability == 0:
            return x
        kept = 1 - self.probability
        return x * x.new_empty(len(x), 1, 1).bernoulli_(kept) / kept
