"""The sliding window against what must hold for any window, and against MONAI's."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.inferers.utils import sliding_window_inference
from torch import Tensor, nn

from unetr.inference.window import (
    LEAST_IMPORTANCE,
    importance_map,
    sliding_slabs,
    sliding_window,
    window_starts,
)

sizes = st.tuples(*[st.integers(1, 13)] * 3)
no_smaller_than_a_patch = st.tuples(*[st.integers(8, 13)] * 3)
patches = st.tuples(*[st.sampled_from([3, 5, 8])] * 3)
overlaps = st.sampled_from([0.0, 0.25, 0.5, 0.7])
blends = st.sampled_from(["gaussian", "constant"])


@given(sizes, patches, overlaps, blends)
def test_constant_predictor_gives_that_constant(size, patch, overlap, blend):
    value = torch.tensor([0.25, 3.0])
    scores = sliding_window(
        lambda x: value.view(1, 2, 1, 1, 1).expand(len(x), 2, *x.shape[2:]),
        torch.zeros(1, *size),
        patch,
        overlap,
        blend,
        activation=None,
    )
    assert scores.shape == (2, *size)
    torch.testing.assert_close(scores, value.view(2, 1, 1, 1).expand_as(scores))


@given(sizes, patches, overlaps, blends, st.integers(1, 3), st.integers(1, 9))
def test_identity_predictor_gives_the_input(size, patch, overlap, blend, batch, planes):
    x = torch.randn(2, *size)
    slabs = list(sliding_slabs(lambda w: w, x, patch, overlap, blend, batch=batch, planes=planes))
    assert max(slab.shape[1] for slab in slabs) <= planes
    torch.testing.assert_close(torch.cat(slabs, 1), x)


class Local(nn.Module):
    """A convolution with zero padding: what it gives depends on where the window lies."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv3d(2, classes, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(x)


@torch.no_grad()
@given(sizes, patches, overlaps, blends)
def test_equals_monai(size, patch, overlap, blend):
    x, net = torch.randn(2, *size), Local()
    ours = sliding_window(net, x, patch, overlap, blend, activation=None)
    theirs = sliding_window_inference(x[None], patch, 1, net, overlap, mode=blend)[0]
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@torch.no_grad()
@given(no_smaller_than_a_patch, overlaps, blends, st.integers(1, 9))
def test_slabs_equal_the_whole_bit_for_bit(size, overlap, blend, planes):
    x, net, patch = torch.randn(2, *size), Local(), (8, 5, 8)
    slabs = sliding_slabs(lambda w: net(w).softmax(1), x, patch, overlap, blend, planes=planes)
    assert torch.equal(torch.cat(list(slabs), 1), whole(net, x, patch, overlap, blend))


def whole(net, x, patch, overlap, blend):
    """Every window's scores summed in one buffer of the scan's size."""
    scores, weights = torch.zeros(3, *x.shape[1:]), torch.zeros(x.shape[1:])
    importance = importance_map(patch, blend)
    xs, ys, zs = window_starts(x.shape[1:], patch, overlap)
    for i in xs:
        for j in ys:
            for k in zs:
                box = (slice(i, i + patch[0]), slice(j, j + patch[1]), slice(k, k + patch[2]))
                scores[:, *box].addcmul_(net(x[None, :, *box])[0].softmax(0), importance)
                weights[box] += importance
    return scores / weights


def test_importance_never_falls_below_the_floor():
    weights = importance_map((96, 96, 96), "gaussian")
    assert weights.min().item() == pytest.approx(LEAST_IMPORTANCE)
    assert weights[48, 48, 48] > 0.99


def test_windows_outside_are_not_computed_and_score_as_told():
    x = torch.zeros(1, 20, 8, 8)
    x[:, 12:] = 1
    inside = x[0] > 0
    seen = []

    def forward(windows):
        seen.append(len(windows))
        return torch.cat([torch.zeros_like(windows), torch.ones_like(windows)], 1)

    told = []
    scores = sliding_slabs(
        forward,
        x,
        (8, 8, 8),
        0.0,
        "constant",
        inside=inside,
        outside=torch.tensor([1.0, 0.0]),
        on_window=lambda done, total: told.append((done, total)),
    )
    scores = torch.cat(list(scores), 1)
    assert sum(seen) == 2  # windows at 8 and 12; the one at 0 sees nothing
    assert torch.all(scores[0, :8] == 1)
    assert torch.all(scores[1, 8:] == 1)
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_rows_of_odd_windows_are_computed_in_full_batches():
    """Three windows a row, two at a time: the scores are those of one at a time, bit for bit."""
    x = torch.randn(1, 20, 16, 8)
    sizes = []

    def forward(windows):
        sizes.append(len(windows))
        return torch.cat([windows, windows.square()], 1)

    def scored(batch):
        slabs = sliding_slabs(forward, x, (8, 8, 8), 0.5, batch=batch, planes=3)
        return torch.cat(list(slabs), 1)

    one, two = scored(1), scored(2)
    assert sizes == [1] * 12 + [2] * 6
    assert torch.equal(one, two)


def test_activation_is_applied_before_averaging():
    x = torch.zeros(1, 6, 4, 4)
    logits = iter([torch.full((1, 1, 4, 4, 4), -9.0), torch.full((1, 1, 4, 4, 4), 9.0)])
    scores = sliding_window(
        lambda _: next(logits), x, (4, 4, 4), 0.5, "constant", activation="sigmoid"
    )
    torch.testing.assert_close(scores[0, 2:4], torch.full((2, 4, 4), 0.5))
    assert scores[0, 0, 0, 0] < 0.001
