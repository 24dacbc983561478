"""UNETR: a transformer over 3D patches whose layers feed a convolutional decoder.

Hatamizadeh et al., UNETR: Transformers for 3D Medical Image Segmentation, arXiv:2103.10504.
"""

from collections.abc import Sequence
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from unetr.model.ablation_decoders import MultiLevelDecoder, NaiveDecoder, ProgressiveDecoder
from unetr.model.sizes import Triple, triple
from unetr.model.transformer import Block, Transformer
from unetr.model.unetr_decoder import UNETRDecoder

Decoder = Literal["unetr", "nup", "pup", "mla"]


class UNETR(nn.Module):
    """The network of the paper's figure 2.

    Args:
        img_size: Voxels of the input for which positions are learned; any other size can be given.
        patch_size: Voxels of a token, powers of two; one number or one per axis.
        feature_size: Channels at full resolution; they double with each coarser one.
        hidden_size, mlp_dim, num_heads, num_layers: Of the transformer; the defaults are ViT-B.
        skip_layers: Blocks, counted from 1, whose outputs feed the decoder besides the last. The
            paper's are (3, 6, 9); MONAI's network takes (4, 7, 10).
        decoder: `unetr`, or one of the ablation: `nup`, `pup`, `mla`.
        block: `vit`, the paper's, or `modern`: rotary positions, SwiGLU, LayerScale, DropPath and
            query/key normalisation (Wald et al. 2025, arXiv:2503.01835).
        qkv_bias: Whether queries, keys and values have a bias.
        dropout: In embedding, attention output and perceptron.
        drop_path: Of the last modern block, less in those before.
        num_registers: Tokens without a place.
        deep_supervision: In training, also give logits at half and quarter resolution.
        skip_convolutions: False leaves out the convolutions of the projected skips.
        stem: Convolutions take the input down to the token grid, and join the decoder on the way.
        checkpointing: Compute the transformer's activations again in the backward pass.

    Attributes:
        config: The arguments; `UNETR(**config)` builds the same network. Plain JSON.

    Raises:
        ValueError: sizes that do not go together.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        img_size: int | Sequence[int],
        patch_size: int | Sequence[int] = 16,
        feature_size: int = 16,
        hidden_size: int = 768,
        mlp_dim: int = 3072,
        num_heads: int = 12,
        num_layers: int = 12,
        skip_layers: Sequence[int] = (3, 6, 9),
        *,
        decoder: Decoder = "unetr",
        block: Block = "vit",
        qkv_bias: bool = False,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        num_registers: int = 0,
        deep_supervision: bool = False,
        skip_convolutions: bool = True,
        stem: bool = False,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            name: list(value) if isinstance(value, tuple | list) else value
            for name, value in locals().items()
            if name not in ("self", "__class__")
        }
        img, self.patch_size = triple(img_size, "img_size"), triple(patch_size, "patch_size")
        self.in_channels, self.num_layers = in_channels, num_layers
        self.skip_layers = tuple(skip_layers)
        _check(hidden_size, num_heads, num_layers, self.skip_layers, decoder, block)
        if deep_supervision and decoder != "unetr":
            raise ValueError(f"decoder {decoder!r} has one output; deep_supervision needs 'unetr'")
        if stem and decoder != "unetr":
            raise ValueError(f"decoder {decoder!r} has no skips; stem needs 'unetr'")
        self.transformer = Transformer(
            in_channels,
            _grid(img, self.patch_size),
            self.patch_size,
            hidden_size=hidden_size,
            mlp_dim=mlp_dim,
            num_heads=num_heads,
            num_layers=num_layers,
            block=block,
            qkv_bias=qkv_bias,
            dropout=dropout,
            drop_path=drop_path,
            num_registers=num_registers,
            checkpointing=checkpointing,
        )
        sizes = (out_channels, self.patch_size, hidden_size, feature_size)
        self.decoder: nn.Module
        if decoder == "unetr":
            self.decoder = UNETRDecoder(
                in_channels,
                *sizes,
                len(self.skip_layers),
                deep_supervision=deep_supervision,
                skip_convolutions=skip_convolutions,
                stem=stem,
            )
        elif decoder == "mla":
            self.decoder = MultiLevelDecoder(*sizes, len(self.skip_layers))
        else:
            self.decoder = NaiveDecoder(*sizes) if decoder == "nup" else ProgressiveDecoder(*sizes)

    def forward(self, x: Float[Tensor, "b c x y z"]) -> Tensor | list[Tensor]:
        """Logits (b, out_channels, x, y, z).

        In training with deep supervision a list: full, half and quarter resolution. A size that
        the patch does not divide is padded inside with its edge and cropped back.

        Raises:
            ValueError: another number of channels than the network takes.
        """
        padded = self._padded(x)
        if not isinstance(self.decoder, UNETRDecoder):
            *skips, last = self.transformer(padded, self.skip_layers)
            logits: Tensor = self.decoder(skips, last)
            return _cropped(logits, x, padded)
        own, added = self.decoder.encode(padded)
        *skips, last = self.transformer(padded, self.skip_layers, added)
        outputs = [_cropped(output, x, padded) for output in self.decoder(own, skips, last)]
        return outputs if len(outputs) > 1 else outputs[0]

    def attention_maps(
        self, x: Float[Tensor, "b c x y z"], layer: int
    ) -> Float[Tensor, "b heads n n"]:
        """How much each token (row) of block `layer`, counted from 1, attends to each other.

        Tokens lie in the order of their patches, the last axis fastest; registers come first. The
        ordinary forward never holds this matrix and is not slowed by it.

        Raises:
            ValueError: a layer that is not there, or another number of channels.
        """
        if not 1 <= layer <= self.num_layers:
            raise ValueError(f"layer {layer} is not within 1..{self.num_layers}")
        padded = self._padded(x)
        decoder = self.decoder
        added = decoder.encode(padded)[1] if isinstance(decoder, UNETRDecoder) else None
        weights: Tensor = self.transformer.attention_map(padded, layer, added)
        return weights

    def _padded(self, x: Tensor) -> Tensor:
        """The input with each side a multiple of the patch's."""
        if x.shape[1] != self.in_channels:
            raise ValueError(
                f"the input has {x.shape[1]} channels, but the network takes {self.in_channels}"
            )
        lacking = [-n % side for n, side in zip(x.shape[2:], self.patch_size, strict=True)]
        if not any(lacking):
            return x
        last, middle, first = lacking[2], lacking[1], lacking[0]
        return F.pad(x, (0, last, 0, middle, 0, first), mode="replicate")


def _grid(img_size: Triple, patch_size: Triple) -> Triple:
    """Tokens along each axis."""
    x, y, z = (-(-n // side) for n, side in zip(img_size, patch_size, strict=True))
    return x, y, z


def _cropped(logits: Tensor, x: Tensor, padded: Tensor) -> Tensor:
    """Without what belongs to the padding of `x`; of coarser logits their share of it."""
    sizes = [
        -(-own * coarse // whole)
        for own, coarse, whole in zip(x.shape[2:], logits.shape[2:], padded.shape[2:], strict=True)
    ]
    return logits[:, :, : sizes[0], : sizes[1], : sizes[2]]


def _check(
    hidden_size: int,
    num_heads: int,
    num_layers: int,
    skip_layers: tuple[int, ...],
    decoder: str,
    block: str,
) -> None:
    if hidden_size % num_heads:
        raise ValueError(f"hidden_size {hidden_size} is not a multiple of num_heads {num_heads}")
    if list(skip_layers) != sorted(set(skip_layers)) or not all(
        1 <= layer <= num_layers for layer in skip_layers
    ):
        raise ValueError(f"skip_layers {skip_layers} must rise within 1..{num_layers}")
    if decoder not in ("unetr", "nup", "pup", "mla"):
        raise ValueError(f"decoder {decoder!r} is not one of unetr, nup, pup, mla")
    if block not in ("vit", "modern"):
        raise ValueError(f"block {block!r} is not one of vit, modern")
    if block == "modern" and hidden_size // num_heads % 2:
        raise ValueError(
            f"hidden_size {hidden_size} over num_heads {num_heads} is odd, but block 'modern' "
            "turns features in pairs"
        )
