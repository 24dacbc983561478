"""The paper's transformer block: pre-norm attention and perceptron."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from unetr.model.attention import Attention
from unetr.model.recompute import recomputed
from unetr.model.rotary import Rotation


class ViTBlock(nn.Module):
    """z' = MSA(LN(z)) + z, then MLP(LN(z')) + z' (paper, equations 2 and 3)."""

    def __init__(
        self,
        hidden_size: int,
        mlp_dim: int,
        num_heads: int,
        *,
        qkv_bias: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(hidden_size)
        self.attention = Attention(hidden_size, num_heads, qkv_bias=qkv_bias, dropout=dropout)
        self.norm2 = nn.LayerNorm(hidden_size)
        self.mlp = MLP(hidden_size, mlp_dim, dropout)

    def forward(
        self, z: Float[Tensor, "b n k"], rotation: Rotation | None = None
    ) -> Float[Tensor, "b n k"]:
        """The block's output; `rotation` turns queries and keys, which the paper's block lacks."""
        z = z + self.attention(self.norm1(z), rotation)
        deeper: Tensor = z + self.mlp(self.norm2(z))
        return deeper

    def attention_map(
        self, z: Float[Tensor, "b n k"], rotation: Rotation | None = None
    ) -> Float[Tensor, "b h n n"]:
        """The attention matrix of this block for its input."""
        return self.attention.map(self.norm1(z), rotation)


class MLP(nn.Module):
    """Two linear layers with GELU between."""

    def __init__(self, hidden_size: int, mlp_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.linear1 = nn.Linear(hidden_size, mlp_dim)
        self.linear2 = nn.Linear(mlp_dim, hidden_size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, z: Float[Tensor, "b n k"]) -> Float[Tensor, "b n k"]:
        """Token by token."""
        wide = self.linear1(z)
        if self.dropout.p and self.training:
            out: Tensor = self.dropout(self.linear2(self.dropout(F.gelu(wide))))
            return out
        # The activation is four times as wide as a token and cheap: computed again when needed.
        return recomputed(lambda wide: self.linear2(F.gelu(wide)), wide)
