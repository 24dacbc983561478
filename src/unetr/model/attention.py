"""Multi-head self-attention in memory linear in the number of tokens."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from unetr.model.rotary import Rotation, rotate


class Attention(nn.Module):
    """Self-attention of n heads of width K/n (paper, section 3.1).

    It goes through `scaled_dot_product_attention`, which works on blocks of the attention matrix
    and never holds all of it. Dropout therefore acts on the output, not on the matrix: torch's
    processor kernel would fall back to the whole matrix.

    Args:
        query_key_norm: RMS normalisation of queries and keys per head (Dehghani et al.,
            arXiv:2302.05442), which keeps attention from saturating.
    """

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        qkv_bias: bool = False,
        dropout: float = 0.0,
        query_key_norm: bool = False,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(hidden_size, 3 * hidden_size, bias=qkv_bias)
        self.out = nn.Linear(hidden_size, hidden_size)
        self.dropout = nn.Dropout(dropout)
        width = hidden_size // num_heads
        self.query_norm = nn.RMSNorm(width) if query_key_norm else nn.Identity()
        self.key_norm = nn.RMSNorm(width) if query_key_norm else nn.Identity()

    def forward(
        self, x: Float[Tensor, "b n k"], rotation: Rotation | None = None
    ) -> Float[Tensor, "b n k"]:
        """Tokens after attention and the output projection.

        Args:
            rotation: Rotary positions of queries and keys.
        """
        query, key, value = self._heads(x, rotation)
        mixed = _mixed(query, key, value)
        projected: Tensor = self.dropout(self.out(mixed.transpose(1, 2).flatten(2)))
        return projected

    def map(
        self, x: Float[Tensor, "b n k"], rotation: Rotation | None = None
    ) -> Float[Tensor, "b h n n"]:
        """The attention matrix itself, rows summing to 1: memory quadratic in the tokens."""
        query, key, _ = self._heads(x, rotation)
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        return torch.softmax(scores, dim=-1)

    def _heads(self, x: Tensor, rotation: Rotation | None) -> tuple[Tensor, Tensor, Tensor]:
        b, n, _ = x.shape
        # b n (3 h d) -> 3 b h n d
        qkv = self.qkv(x).reshape(b, n, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        query, key = self.query_norm(query), self.key_norm(key)
        if rotation is not None:
            query, key = rotate(query, rotation), rotate(key, rotation)
        return query, key, value


def _mixed(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Values mixed by attention (b, h, n, d).

    In training on a processor in float32: the bf16 kernel's backward pass takes much longer there.
    """
    if query.device.type == "cpu" and query.dtype == torch.bfloat16 and torch.is_grad_enabled():
        with torch.autocast("cpu", enabled=False):
            mixed = F.scaled_dot_product_attention(query.float(), key.float(), value.float())
        return mixed.to(query.dtype)
    return F.scaled_dot_product_attention(query, key, value)
