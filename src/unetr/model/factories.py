"""The network in three sizes, named after the vision transformers they hold."""

from collections.abc import Sequence
from typing import Any

from unetr.model.unetr import UNETR


def unetr_base(
    in_channels: int, out_channels: int, img_size: int | Sequence[int], **options: Any
) -> UNETR:
    """The paper's network: ViT-B/16, 92.8 M parameters at 96 x 96 x 96. `options` as in UNETR."""
    return UNETR(in_channels, out_channels, img_size, **options)


def unetr_small(
    in_channels: int, out_channels: int, img_size: int | Sequence[int], **options: Any
) -> UNETR:
    """With ViT-S (Touvron et al., arXiv:2012.12877): width 384, 6 heads."""
    sizes = {"hidden_size": 384, "mlp_dim": 1536, "num_heads": 6}
    return UNETR(in_channels, out_channels, img_size, **(sizes | options))


def unetr_tiny(
    in_channels: int, out_channels: int, img_size: int | Sequence[int], **options: Any
) -> UNETR:
    """With ViT-Ti (Touvron et al., arXiv:2012.12877): width 192, 3 heads."""
    sizes = {"hidden_size": 192, "mlp_dim": 768, "num_heads": 3}
    return UNETR(in_channels, out_channels, img_size, **(sizes | options))
