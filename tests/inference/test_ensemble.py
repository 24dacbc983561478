"""Means over members and mirrorings, entropies, and windows that do not fit an accelerator."""

import math

import pytest
import torch

from unetr.inference.ensemble import Halving, averaged, mirrorings
from unetr.inference.uncertainty import entropy


def test_mirrorings_are_every_set_of_axes():
    assert mirrorings(()) == [()]
    assert mirrorings((0, 2)) == [(), (0,), (2,), (0, 2)]
    assert len(mirrorings((0, 1, 2))) == 8


def test_mirroring_is_undone():
    torch.manual_seed(0)
    ramp = torch.randn(1, 1, 4, 3, 2)

    def forward(x):
        return (x * 2).sigmoid()  # equivariant: every mirroring gives the same answer

    mirrored = averaged([forward], "sigmoid", mirrorings((0, 1, 2)))
    torch.testing.assert_close(mirrored(ramp), (ramp * 2).sigmoid())


def test_mirroring_averages_what_depends_on_the_side():
    side = torch.tensor([0.0, 4.0]).view(1, 1, 2, 1, 1)
    mean = averaged([lambda x: (x + side).sigmoid()], "sigmoid", mirrorings((0,)))(
        torch.zeros(1, 1, 2, 1, 1)
    )
    expected = (0.5 + 1 / (1 + math.exp(-4))) / 2
    torch.testing.assert_close(mean.flatten(), torch.tensor([expected, expected]))


def test_members_are_averaged():
    members = [lambda x: torch.full_like(x, 0.9), lambda x: torch.full_like(x, 0.2)]
    mean = averaged(members, "sigmoid")(torch.zeros(1, 1, 1, 1, 1))
    assert mean.item() == pytest.approx(0.55)


def test_entropy_of_known_distributions():
    p = torch.tensor([[1.0, 0.5, 0.25], [0.0, 0.5, 0.25], [0.0, 0.0, 0.5]])
    expected = torch.tensor([0.0, math.log(2), 1.5 * math.log(2)])
    torch.testing.assert_close(entropy(p, "softmax"), expected)
    regions = torch.tensor([[0.5, 1.0], [0.5, 0.5]])
    torch.testing.assert_close(
        entropy(regions, "sigmoid"), torch.tensor([math.log(2), math.log(2) / 2])
    )


def test_mutual_information_is_zero_in_agreement_and_not_in_conflict():
    sure = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1, 1)
    x = torch.zeros(1, 1, 1, 1, 1)
    for other, expected in ((sure, 0.0), (1 - sure, math.log(2))):
        members = [lambda _: sure.clone(), lambda _, other=other: other]
        found = averaged(members, "softmax", with_entropy=True)(x)[0]
        information = entropy(found[:2], "softmax") - found[2]
        torch.testing.assert_close(information.item(), expected, atol=1e-4, rtol=0)


CUDA = torch.OutOfMemoryError("CUDA out of memory")
APPLE = RuntimeError("MPS backend out of memory (MPS allocated: 7.9 GB)")


class Accelerator:
    """Runs out of memory above `fits` windows."""

    def __init__(self, fits: int, error: RuntimeError = CUDA) -> None:
        self.fits, self.error = fits, error

    def __call__(self, windows):
        if len(windows) > self.fits:
            raise self.error
        return windows + 1


@pytest.mark.parametrize("error", [CUDA, APPLE])
def test_exhausted_memory_halves_the_batch_for_good(error):
    told = []
    halving = Halving(Accelerator(1, error), 4, told.append)
    x = torch.randn(7, 1, 2, 2, 2)
    torch.testing.assert_close(halving(x), x + 1)
    assert halving.batch == 1
    assert len(told) == 2
    torch.testing.assert_close(halving(x), x + 1)
    assert len(told) == 2


def test_one_window_that_does_not_fit_is_an_error():
    with pytest.raises(torch.OutOfMemoryError):
        Halving(Accelerator(0), 4, lambda _: None)(torch.zeros(1, 1, 2, 2, 2))
    told = []
    with pytest.raises(RuntimeError, match="shape"):
        Halving(Accelerator(0, RuntimeError("shape")), 4, told.append)(torch.zeros(4, 1, 2, 2, 2))
    assert not told
