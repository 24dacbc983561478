"""Attention against its formula, rotary positions by what they are for."""

from typing import Any

import pytest
import torch

from unetr.model import UNETR
from unetr.model.attention import Attention
from unetr.model.modern_block import DropPath, SwiGLU
from unetr.model.rotary import rotate, rotation


def test_attention_is_the_formula() -> None:
    attention = Attention(12, 3, qkv_bias=True)
    x = torch.randn(2, 5, 12)
    query, key, value = attention.qkv(x).split(12, dim=-1)
    heads = []
    for h in range(3):
        part = slice(4 * h, 4 * h + 4)
        scores = query[..., part] @ key[..., part].transpose(1, 2) / 2.0  # sqrt(4)
        heads.append(scores.softmax(dim=-1) @ value[..., part])
    torch.testing.assert_close(attention(x), attention.out(torch.cat(heads, dim=-1)))


@pytest.mark.parametrize(("block", "registers"), [("vit", 0), ("modern", 0), ("modern", 3)])
def test_attention_maps_are_those_of_the_forward(block: Any, registers: int) -> None:
    torch.manual_seed(0)
    network = UNETR(
        1, 2, 32, 8, 4, 24, 48, 2, 3, (1, 2), block=block, num_registers=registers
    ).eval()
    x = torch.randn(1, 1, 32, 32, 32)
    seen: dict[str, torch.Tensor] = {}
    attention: Any = network.transformer.blocks[1].attention  # type: ignore[union-attr]
    handle = attention.register_forward_hook(
        lambda _, inputs, output: seen.update(z=inputs[0], out=output)
    )
    network(x)
    handle.remove()
    maps = network.attention_maps(x, 2)
    assert maps.shape == (1, 2, 64 + registers, 64 + registers)
    torch.testing.assert_close(maps.sum(dim=-1), torch.ones(1, 2, 64 + registers))
    value = attention.qkv(seen["z"]).chunk(3, dim=-1)[2].unflatten(-1, (2, 12)).transpose(1, 2)
    mixed = (maps @ value).transpose(1, 2).flatten(2)
    torch.testing.assert_close(attention.out(mixed), seen["out"])


def test_attention_maps_of_a_layer_that_is_not_there() -> None:
    network = UNETR(1, 2, 16, 8, 4, 24, 48, 2, 3, (1, 2))
    with pytest.raises(ValueError, match=r"layer 4 is not within 1..3"):
        network.attention_maps(torch.randn(1, 1, 16, 16, 16), 4)


def test_rotary_scores_depend_on_the_way_between_tokens_alone() -> None:
    turn = rotation((3, 3, 3), 0, 12, torch.empty(0))
    query, key = torch.randn(12), torch.randn(12)
    heads = [
        rotate(each.expand(1, 1, 27, 12), turn)[0, 0].reshape(3, 3, 3, 12) for each in (query, key)
    ]
    scores = torch.einsum("abcd,efgd->abcefg", *heads)
    # one step along x, wherever it begins
    torch.testing.assert_close(scores[0, 0, 0, 1, 0, 0], scores[1, 2, 1, 2, 2, 1])
    torch.testing.assert_close(scores[0, 1, 2, 2, 0, 1], scores[0, 2, 1, 2, 1, 0])
    # the axes are told apart, and so are directions
    assert not torch.isclose(scores[0, 0, 0, 1, 0, 0], scores[0, 0, 0, 0, 1, 0])
    assert not torch.isclose(scores[0, 0, 0, 1, 0, 0], scores[1, 0, 0, 0, 0, 0])


def test_registers_are_not_turned() -> None:
    cosine, sine = rotation((2, 2, 2), 3, 12, torch.empty(0))
    assert cosine.shape == (11, 6)
    assert torch.equal(cosine[:3], torch.ones(3, 6))
    assert torch.equal(sine[:3], torch.zeros(3, 6))


def test_drop_path_drops_whole_samples_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    x = torch.ones(4000, 2, 3)
    out = DropPath(0.25).train()(x)
    assert set(out.unique().tolist()) == {0.0, float(torch.tensor(1.0) / 0.75)}
    assert torch.equal(out.amax(dim=(1, 2)), out.amin(dim=(1, 2)))
    assert out.mean().item() == pytest.approx(1.0, abs=0.03)
    assert torch.equal(DropPath(0.25).eval()(x), x)


def test_swiglu_is_gated() -> None:
    mlp = SwiGLU(6, 24)
    x = torch.randn(1, 2, 6)
    gate, value = (mlp.gate_and_value(x)).chunk(2, dim=-1)
    expected = mlp.out(mlp.norm(gate * torch.sigmoid(gate) * value))
    torch.testing.assert_close(mlp(x), expected)
    assert gate.shape[-1] == 16  # 2/3 of the width, so that the weights are as many
