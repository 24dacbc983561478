"""One step: gradients in parts, clipping, the average of the weights, precision."""

import pytest
import torch

from unetr.errors import InputError
from unetr.training.batches import Batch
from unetr.training.ema import Ema
from unetr.training.learner import Learner
from unetr.training.precision import choose_precision

from .tiny import PATCH, recipe, tiny_unetr

CPU = torch.device("cpu")


def batch(count=4, seed=0, size=PATCH) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 1, *size, generator=generator)
    y = (x[:, 0] > 1).long()
    return Batch(x, y, tuple(f"case{k}" for k in range(count)))


def gradients(parts, **training):
    learner = Learner(tiny_unetr(dropout=0.0), recipe(**training), CPU, "fp32")
    loss, norm = learner.gradients(parts, seed=0)
    return float(loss), float(norm), [p.grad.clone() for p in learner.network.parameters()]


def test_parts_of_a_step_sum_to_the_whole():
    whole = batch(4)
    parts = [Batch(whole.x[k : k + 2], whole.y[k : k + 2], whole.names[:2]) for k in (0, 2)]
    loss, norm, expected = gradients([whole], clip_norm=0.0)
    loss2, norm2, found = gradients(parts, clip_norm=0.0)
    assert loss2 == pytest.approx(loss, abs=1e-6)
    assert norm2 == pytest.approx(norm, rel=1e-4)
    for a, b in zip(expected, found, strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_gradients_are_clipped_to_the_norm():
    _, norm, found = gradients([batch()], clip_norm=1e-3)
    assert norm > 1e-2
    total = torch.stack([g.norm() for g in found]).norm()
    assert float(total) == pytest.approx(1e-3, rel=1e-2)


def test_learning_rate_and_step_are_adamws():
    learner = Learner(tiny_unetr(dropout=0.0), recipe(ema=0.0), CPU, "fp32")
    peer = tiny_unetr(dropout=0.0)
    optimizer = torch.optim.AdamW(peer.parameters(), lr=3e-3, weight_decay=0.01)
    learner.gradients([batch()], seed=0)
    for own, other in zip(learner.network.parameters(), peer.parameters(), strict=True):
        other.grad = own.grad.clone()
    learner.apply(3e-3, step=1)
    optimizer.step()
    for own, other in zip(learner.network.parameters(), peer.parameters(), strict=True):
        assert torch.allclose(own, other, atol=1e-6)
    assert all(p.grad is None for p in learner.network.parameters())


def test_bf16_learns_nearly_the_same():
    losses = {}
    for precision in ("fp32", "bf16"):
        learner = Learner(tiny_unetr(dropout=0.0), recipe(ema=0.0), CPU, precision)
        for step in range(1, 9):
            # Three tokens in the first axis: see `_has_thin_convolution`.
            loss, _ = learner.gradients([batch(size=(24, 16, 16))], seed=0)
            losses[precision] = float(loss)
            learner.apply(1e-2, step)
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.02)


def test_average_forgets_the_first_weights_soon():
    layer = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(layer.weight, 0.0)
    ema = Ema(layer, 0.9)
    torch.nn.init.constant_(layer.weight, 1.0)
    average = 0.0
    for step in range(1, 30):
        ema.update(step)
        decay = min(0.9, (1 + step) / (10 + step))
        average = decay * average + (1 - decay)
        assert ema.average[0].item() == pytest.approx(average, abs=1e-5)
    with ema.in_place():
        assert layer.weight.item() == pytest.approx(average, abs=1e-5)
    assert layer.weight.item() == 1.0


def test_precision_is_chosen_with_a_reason(plan, monkeypatch):
    network = tiny_unetr()
    thin, plan = plan, plan.model_copy(update={"patch_voxels": (24, 16, 16)})
    assert choose_precision("bf16", network, plan, CPU) == ("bf16", "as asked for")
    with pytest.raises(InputError, match="2 voxels long in the first axis; take fp32 or auto"):
        choose_precision("bf16", network, thin, CPU)
    with pytest.raises(InputError, match="fp16 needs a GPU"):
        choose_precision("fp16", network, plan, CPU)
    with pytest.raises(InputError, match=r"training\.precision bf16: not on mps; take fp32"):
        choose_precision("bf16", network, plan, torch.device("mps"))
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert choose_precision("auto", network, plan, CPU)[0] == "fp32"
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert choose_precision("auto", network, thin, CPU)[1].startswith("processors get gradients")
    seconds = {torch.float32: 0.5, torch.bfloat16: 0.2}
    monkeypatch.setattr(
        "unetr.training.precision._step_seconds", lambda network, plan, dtype: seconds[dtype]
    )
    chosen = choose_precision("auto", network, plan, CPU)
    assert chosen == ("bf16", "a patch took 0.50 s in fp32 and 0.20 s in bf16")
    seconds[torch.bfloat16] = 0.6
    assert choose_precision("auto", network, plan, CPU)[0] == "fp32"
