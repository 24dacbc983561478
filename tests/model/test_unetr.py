"""The network itself: its parameters, where skips reach, any size, its options."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from unetr.model import UNETR, unetr_base, unetr_small, unetr_tiny

TINY = {"hidden_size": 24, "mlp_dim": 48, "num_heads": 2, "feature_size": 4}


def tiny(*arguments: Any, **options: Any) -> UNETR:
    torch.manual_seed(0)
    return UNETR(*arguments, **(TINY | options)).eval()


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("channels", "labels", "side", "parameters"),
    [(1, 14, 96, 92_784_046), (4, 3, 128, 102_449_715), (1, 2, 96, 92_783_842)],
)
def test_parameter_counts(channels: int, labels: int, side: int, parameters: int) -> None:
    with torch.device("meta"):
        assert count(unetr_base(channels, labels, side)) == parameters


def test_parameter_counts_of_the_parts() -> None:
    with torch.device("meta"):
        network = unetr_base(1, 14, 96)
    assert count(network.transformer) == 88_340_736
    decoder: Any = network.decoder
    skips = [decoder.input_encoder, *reversed(decoder.skip_encoders)]
    assert [count(part) for part in skips] == [7_360, 323_584, 647_168, 786_432]
    assert [count(part) for part in decoder.steps] == [2_146_304, 405_504, 101_376, 25_344]
    assert count(decoder.head) == 238


def test_factories_differ_in_the_transformer_alone() -> None:
    with torch.device("meta"):
        sizes = [count(make(1, 2, 96).transformer) for make in (unetr_small, unetr_tiny)]
    # 12 blocks of 12 K^2 + 8 K weights, embedding, positions and the last norm
    for found, k in zip(sizes, (384, 192), strict=True):
        blocks = 12 * (3 * k * k + k * k + k + 2 * 4 * k * k + 5 * k + 4 * k)
        assert found == blocks + 4096 * k + k + 216 * k + 2 * k


def reached(network: UNETR, block: int) -> list[int]:
    """Which streams into the decoder change when the output of `block` does."""
    x = torch.randn(1, 1, 32, 32, 32)
    streams: list[list[Tensor]] = []
    decoder: Any = network.decoder
    handle = decoder.register_forward_pre_hook(
        lambda _, inputs: streams.append([*inputs[1], inputs[2]])
    )

    def perturb(_: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return output + torch.linspace(0, 1, output.shape[-1])

    with torch.no_grad():
        network(x)
        hook = network.transformer.blocks[block - 1].register_forward_hook(perturb)
        network(x)
    hook.remove()
    handle.remove()
    before, after = streams
    return [k for k in range(len(before)) if not torch.equal(before[k], after[k])]


@pytest.mark.parametrize("skips", [(3, 6, 9), (4, 7, 10)])
def test_perturbed_block_reaches_the_decoder_where_it_should(skips: tuple[int, ...]) -> None:
    network = tiny(1, 2, 32, skip_layers=skips)
    for block in range(1, 13):
        expected = [k for k, layer in enumerate((*skips, 12)) if layer >= block]
        assert reached(network, block) == expected, block


@pytest.mark.parametrize("patch", [4, 8, 16, 32, (16, 16, 4)])
def test_every_skip_changes_the_logits(patch: Any) -> None:
    network = tiny(1, 2, 32, patch, num_layers=4, skip_layers=(1, 2, 3))
    x = torch.randn(1, 1, 32, 32, 32)
    *skips, last = network.transformer(x, network.skip_layers)
    decoder: Any = network.decoder
    own, _ = decoder.encode(x)
    plain = decoder(own, skips, last)[0]
    for k in range(3):
        other = [z + torch.randn_like(z) if k == index else z for index, z in enumerate(skips)]
        assert not torch.allclose(decoder(own, other, last)[0], plain), k


@pytest.mark.parametrize("decoder", ["unetr", "nup", "pup", "mla"])
@pytest.mark.parametrize("patch", [4, 8, 16, 32, (16, 16, 4), (4, 8, 2)])
def test_decoders_and_patches(decoder: Any, patch: Any) -> None:
    side = 64 if patch == 32 else 32  # two tokens at least: one alone is normalised to 0
    network = tiny(1, 3, side, patch, num_layers=4, skip_layers=(1, 2, 3), decoder=decoder)
    logits = network.train()(torch.randn(1, 1, side, side, side))
    assert logits.shape == (1, 3, side, side, side)
    logits.square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@settings(max_examples=30)  # each builds and runs a network; more shapes say little more
@given(
    size=st.tuples(*[st.integers(1, 40)] * 3),
    patch=st.tuples(*[st.sampled_from([2, 4, 8, 16])] * 3),
)
def test_any_input_size(size: tuple[int, int, int], patch: tuple[int, int, int]) -> None:
    network = tiny(1, 2, 16, patch, num_layers=2, skip_layers=(1,), feature_size=2)
    x = torch.randn(1, 1, *size)
    with torch.no_grad():
        logits = network(x)
        assert logits.shape == (1, 2, *size)
        assert torch.isfinite(logits).all()
        # Padding is the input's edge repeated: the same as padding it outside.
        lacking = [-n % side for n, side in zip(size, patch, strict=True)]
        whole = nn.functional.pad(
            x, (0, lacking[2], 0, lacking[1], 0, lacking[0]), mode="replicate"
        )
        inside = network(whole)[:, :, : size[0], : size[1], : size[2]]
        assert torch.equal(logits, inside)


def test_wrong_channels_name_both_numbers() -> None:
    with pytest.raises(ValueError, match="3 channels, but the network takes 1"):
        tiny(1, 2, 16)(torch.randn(1, 3, 16, 16, 16))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"num_heads": 5}, "hidden_size 24 is not a multiple of num_heads 5"),
        ({"patch_size": 12}, "power of two"),
        ({"skip_layers": (3, 6, 13)}, r"must rise within 1..12"),
        ({"skip_layers": (6, 3)}, r"must rise within 1..12"),
        ({"decoder": "mla", "deep_supervision": True}, "one output"),
        ({"decoder": "pup", "stem": True}, "no skips"),
        ({"patch_size": (16, 16)}, "one for each of 3 axes"),
    ],
)
def test_sizes_that_do_not_go_together(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        tiny(1, 2, 32, **options)


def test_config_rebuilds_the_network() -> None:
    network = tiny(1, 3, (32, 16, 16), (8, 8, 4), block="modern", num_registers=2)
    again = UNETR(**network.config)
    again.load_state_dict(network.state_dict())
    x = torch.randn(1, 1, 32, 16, 16)
    assert torch.equal(again.eval()(x), network(x))


@pytest.mark.parametrize("patch", [16, 8, (16, 16, 4)])
def test_deep_supervision(patch: Any) -> None:
    network = tiny(1, 2, 32, patch, deep_supervision=True)
    x = torch.randn(1, 1, 30, 32, 32)
    assert isinstance(network(x), Tensor)
    outputs = network.train()(x)
    z = (32, 32, 32) if patch == (16, 16, 4) else (32, 16, 8)
    assert [tuple(y.shape[2:]) for y in outputs] == [
        (30, 32, z[0]),
        (15, 16, z[1]),
        (8, 8, z[2]),
    ]
    sum(y.square().mean() for y in outputs).backward()
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize("block", ["vit", "modern"])
def test_checkpointing_gives_the_same_gradients(block: Any) -> None:
    x = torch.randn(1, 1, 32, 32, 32)
    gradients = []
    for checkpointing in (False, True):
        network = tiny(1, 2, 32, block=block, checkpointing=checkpointing).train()
        network(x).square().mean().backward()
        gradients.append([p.grad for p in network.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_rotary_heads_of_an_odd_width_are_refused():
    with pytest.raises(ValueError, match=r"hidden_size 36 over num_heads 4 is odd, but block 'mod"):
        UNETR(1, 2, 32, hidden_size=36, num_heads=4, block="modern")
