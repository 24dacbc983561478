"""Attention rollout on networks whose attention is plain."""

import pytest
import torch
from torch import nn

from unetr.checkpoint.model import Model
from unetr.data.plan import Label, Normalisation, Plan
from unetr.inference.attention import _on_voxels, rollout

GRID, TOKEN = (2, 3, 4), (8, 4, 2)
SIZE = tuple(n * t for n, t in zip(GRID, TOKEN, strict=True))
WATCHED = 1 * 12 + 2 * 4 + 3  # the token at (1, 2, 3), x slowest


class Watching(nn.Module):
    """Every token, and every register before them, looks at one token only."""

    def __init__(self, registers: int) -> None:
        super().__init__()
        self.registers = registers
        self.config = {"num_layers": 3}

    def attention_maps(self, windows: torch.Tensor, block: int) -> torch.Tensor:
        count = 24 + self.registers
        maps = torch.zeros(len(windows), 2, count, count)
        maps[..., self.registers + WATCHED] = 1
        return maps


@pytest.mark.parametrize("registers", [0, 4])
def test_it_lies_on_the_patch_that_is_looked_at(registers):
    plan = Plan(
        channels=("CT",),
        labels=(Label(id=0, name="background"), Label(id=1, name="a")),
        spacing_mm=(1.0, 1.0, 1.0),
        patch_voxels=SIZE,
        token_voxels=TOKEN,
        normalisation=(Normalisation(kind="zscore"),),
    )
    network = Watching(registers)
    found = rollout(Model(network, plan, config=network.config), 2)(torch.zeros(2, 1, *SIZE))
    assert found.shape == (2, 1, *SIZE)
    # Most at the far corner, which the watched token alone decides, and less all the way to it.
    along = found[0, 0, :, -1, -1]
    assert along.argmax() >= 12
    assert torch.all(along.diff() >= 0)
    # Half of each token's step is its own, so after two blocks a quarter of its attention.
    count = 24 + registers
    drawn = found[0, 0, -1, -1, -1] / count
    assert drawn == pytest.approx(0.75 + 0.25 / count, rel=1e-5)
    assert found[0, 0, 0, 0, 0] / count == pytest.approx(0.25 / count, rel=1e-5)


def test_a_window_that_is_no_multiple_of_the_token_is_padded_at_its_end():
    """Two tokens of 4 over 6 voxels: the second begins at voxel 4, and half of it is beyond."""
    found = _on_voxels(torch.tensor([[0.0, 1.0]]), torch.Size((6, 1, 1)), (4, 1, 1))
    expected = torch.tensor([0, 0, 1 / 8, 3 / 8, 5 / 8, 7 / 8])
    torch.testing.assert_close(found[0, 0, :, 0, 0], expected)
