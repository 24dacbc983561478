"""The convolutional stem: where its features join, and that the transformer stays part of it."""

from typing import Any

import pytest
import torch

from unetr.model import UNETR, export_monai

SIZES = {"hidden_size": 24, "mlp_dim": 48, "num_heads": 2, "feature_size": 4, "num_layers": 4,
         "skip_layers": (1, 2, 3)}  # fmt: skip


def network(patch: Any, side: int) -> UNETR:
    torch.manual_seed(0)
    return UNETR(1, 3, side, patch, stem=True, **SIZES).eval()


@pytest.mark.parametrize("patch", [4, 8, 16, 32, (16, 16, 4)])
def test_features_lie_on_the_grids_of_the_steps_and_each_matters(patch: Any) -> None:
    side = 64 if patch == 32 else 32
    made = network(patch, side)
    x = torch.randn(1, 1, side, side, side)
    decoder: Any = made.decoder
    with torch.no_grad():
        own, added = decoder.encode(x)
        *skips, last = made.transformer(x, made.skip_layers, added)
        plain = decoder(own, skips, last)[0]
        assert torch.equal(plain, made(x))
        for k, features in enumerate(own):
            other = [*own[:k], features + torch.randn_like(features), *own[k + 1 :]]
            assert not torch.allclose(decoder(other, skips, last)[0], plain), k
        for k, skip in enumerate(skips):
            other = [*skips[:k], skip + torch.randn_like(skip), *skips[k + 1 :]]
            assert not torch.allclose(decoder(own, other, last)[0], plain), k
    assert added.shape == last.shape
    assert [each.shape[1] for each in own] == [4 * 2**k for k in reversed(range(len(own)))]


def test_tokens_are_the_embedded_patches_plus_the_coarsest_features() -> None:
    made = network(8, 32)
    x = torch.randn(1, 1, 32, 32, 32)
    decoder: Any = made.decoder
    with torch.no_grad():
        _, added = decoder.encode(x)
        assert not torch.allclose(made.transformer(x, (1,), added)[0], made.transformer(x, (1,))[0])
        decoder.input_encoder.to_tokens.weight.zero_()
        _, added = decoder.encode(x)
        assert torch.equal(made.transformer(x, (1,), added)[0], made.transformer(x, (1,))[0])


def test_every_weight_learns_and_any_size_goes() -> None:
    made = network((8, 8, 4), 32).train()
    logits = made(torch.randn(1, 1, 30, 17, 32))
    assert logits.shape == (1, 3, 30, 17, 32)
    logits.square().mean().backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_config_rebuilds_it_and_attention_sees_it() -> None:
    made = network(8, 32)
    again = UNETR(**made.config).eval()
    again.load_state_dict(made.state_dict())
    x = torch.randn(1, 1, 32, 32, 32)
    with torch.no_grad():
        assert torch.equal(again(x), made(x))
        before = made.attention_maps(x, 2)
        decoder: Any = made.decoder
        decoder.input_encoder.to_tokens.weight.mul_(3)
        assert not torch.allclose(made.attention_maps(x, 2), before)


def test_monai_has_no_such_network() -> None:
    torch.manual_seed(0)
    made = UNETR(1, 2, 32, hidden_size=24, mlp_dim=48, num_heads=2, feature_size=4,
                 skip_layers=(4, 7, 10), stem=True)  # fmt: skip
    with pytest.raises(ValueError, match="stem is True"):
        export_monai(made)
