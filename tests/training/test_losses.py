"""The paper's loss against its formula written out, and against MONAI's."""

import pytest
import torch
from monai.losses import DiceCELoss, DiceLoss

from unetr.training.losses import by_formula, dice_ce, soft_dice, supervised
from unetr.training.recipe import Loss


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 5, 6, generator=generator)
    return logits, torch.randint(0, 3, (2, 4, 5, 6), generator=generator)


def test_equals_the_formula_of_the_paper(pair):
    logits, target = pair
    y = logits.softmax(1)
    g = torch.nn.functional.one_hot(target, 3).movedim(-1, 1).float()
    losses = []
    for scores, truth in zip(y, g, strict=True):
        ratio = [
            (a * b).sum() / ((a**2).sum() + (b**2).sum())
            for a, b in zip(truth, scores, strict=True)
        ]
        entropy = (truth * scores.log()).sum() / truth[0].numel()
        losses.append(1 - 2 / 3 * sum(ratio) - entropy)
    assert float(dice_ce(logits, target)) == pytest.approx(float(sum(losses) / 2), abs=1e-5)


@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("background", [True, False])
def test_equals_monai(pair, squared, background):
    logits, target = pair
    peer = DiceCELoss(
        include_background=background, to_onehot_y=True, softmax=True, squared_pred=squared,
        smooth_nr=1e-5, smooth_dr=1e-5,
    )  # fmt: skip
    own = dice_ce(logits, target, Loss(squared=squared, include_background=background))
    assert float(own) == pytest.approx(float(peer(logits, target[:, None])), abs=1e-5)


def test_smoothing_of_the_published_code(pair):
    """An absent class has Dice 0 with it."""
    logits, target = pair
    target = target.clamp(max=1)
    peer = DiceLoss(to_onehot_y=True, softmax=True, squared_pred=True, smooth_nr=0, smooth_dr=1e-6)
    own = dice_ce(logits, target, Loss(smooth=(0.0, 1e-6), ce_weight=0.0))
    assert float(own) == pytest.approx(float(peer(logits, target[:, None])), abs=1e-5)
    assert float(own) > 1 / 3


@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.0, 1.0), (0.5, 0.0)])
def test_the_gradient_is_the_formulas(pair, squared, background, weights):
    logits, target = pair
    loss = Loss(
        squared=squared, include_background=background,
        dice_weight=weights[0], ce_weight=weights[1],
    )  # fmt: skip
    own, true = (logits.clone().requires_grad_() for _ in range(2))
    (3 * dice_ce(own, target, loss)).backward()
    formula = by_formula(true, target, loss)
    (3 * formula).backward()
    torch.testing.assert_close(dice_ce(logits, target, loss), formula.detach())
    torch.testing.assert_close(own.grad, true.grad, atol=1e-8, rtol=1e-4)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize("turn", [False, True])
@pytest.mark.parametrize("crop", [slice(None), slice(5, -3)])
def test_the_gradient_in_any_layout_and_over_several_pieces(layout, crop, turn, monkeypatch):
    """Cropped logits, too, as of a patch that had to be padded; and of 16 bits."""
    monkeypatch.setattr("unetr.training.softmax_loss._PIECE", 1000)
    generator = torch.Generator().manual_seed(0)
    whole = torch.randn(2, 3, 16, 12, 10, generator=generator).to(memory_format=layout)
    target = torch.randint(0, 3, (2, 16, 12, 10), generator=generator, dtype=torch.uint8)
    target = target[:, crop]
    true = whole.double().requires_grad_()
    formula = by_formula(true[:, :, crop], target, Loss())
    formula.backward()
    for kind, within in ((torch.float64, 1e-9), (torch.float32, 1e-5), (torch.bfloat16, 2e-2)):
        own = whole.clone().to(kind).requires_grad_()
        turned = own.transpose(2, 4).contiguous().transpose(2, 4) if turn else own
        found = dice_ce(turned[:, :, crop], target)
        found.backward()
        assert float(found.detach()) == pytest.approx(float(formula.detach()), rel=within)
        error = (own.grad.double() - true.grad).norm() / true.grad.norm()
        assert float(error) < within, kind


def test_regions_are_sigmoid(pair):
    logits, _ = pair
    masks = (torch.randn(logits.shape, generator=torch.Generator().manual_seed(1)) > 0).to(
        torch.uint8
    )
    dice = DiceLoss(sigmoid=True, squared_pred=True, smooth_nr=1e-5, smooth_dr=1e-5)
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, masks.float())
    expected = dice(logits, masks.float()) + entropy
    assert float(dice_ce(logits, masks)) == pytest.approx(float(expected), abs=1e-5)


def test_weights_of_the_parts(pair):
    logits, target = pair
    dice = dice_ce(logits, target, Loss(ce_weight=0.0))
    entropy = dice_ce(logits, target, Loss(dice_weight=0.0))
    both = dice_ce(logits, target, Loss(dice_weight=2.0, ce_weight=0.5))
    assert float(both) == pytest.approx(2 * float(dice) + 0.5 * float(entropy), abs=1e-6)


def test_dice_of_known_masks():
    scores = torch.zeros(1, 2, 2, 2, 2)
    scores[0, 0, 0] = 1
    truth = torch.zeros_like(scores)
    truth[0, 0, :, 0] = 1
    found = soft_dice(scores, truth)
    assert found[0, 0] == pytest.approx(0.5, abs=1e-4)
    assert found[0, 1] == pytest.approx(1.0)  # absent and not predicted


def test_deep_supervision_halves_weights_and_targets(pair):
    logits, target = pair
    coarse = torch.randn(2, 3, 2, 3, 3, generator=torch.Generator().manual_seed(2))
    whole = dice_ce(logits, target)
    smaller = torch.nn.functional.interpolate(
        target[:, None].float(), (2, 3, 3), mode="nearest-exact"
    )[:, 0].long()
    found = supervised([logits, coarse], target)
    expected = (float(whole) + 0.5 * float(dice_ce(coarse, smaller))) / 1.5
    assert float(found) == pytest.approx(expected, abs=1e-6)
    assert float(supervised(logits, target)) == float(whole)
