"""A training step, ours against MONAI's: seconds and peak memory, in turn A B A B in one run.

Ours is the network, loss and AdamW as the loop runs them after its first steps, with parts compiled
where there is a C++ compiler; MONAI's is its UNETR, DiceCELoss and torch's AdamW. Each side is a
process of its own, which is told when to step, so that peaks do not mix and only one computes at a
time. Of its peak are told what the imports take, and what weights, gradients and the optimizer's
moments do; the rest are activations and what operations need to work.

`btcv`: the paper's network, 1 -> 14, one patch of 96^3, from the same weights: the losses of the
first step must agree; once more with the transformer's activations computed again in our backward
pass (`checkpointing`). `hippocampus`, where the networks are not the same: the one that `auto`
plans on a processor, two patches of 32 x 48 x 32, with its clipping and averaged weights. MONAI's
network of that width has a patch of 16, 12 blocks and a decoder from 16 channels on.

    python benchmarks/training_step.py [--sizes btcv checkpointing hippocampus]
        [--precision fp32] [--rounds 5]
"""

import argparse
import importlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sides import Side, answer, peak_gb

BATCH = {
    "btcv": (1, 1, 96, 96, 96), "checkpointing": (1, 1, 96, 96, 96),
    "hippocampus": (2, 1, 32, 48, 32),
}  # fmt: skip
CLASSES = {"btcv": 14, "checkpointing": 14, "hippocampus": 3}
RECIPES = {"btcv": "btcv", "checkpointing": "btcv", "hippocampus": "auto"}
NARROW = {"hidden_size": 256, "mlp_dim": 1024, "num_heads": 8}

# What each side would import anyway.
MODULES = {"unetr": ["unetr.training.learner"], "MONAI": ["monai.losses", "monai.networks.nets"]}

# The loss of a step.
Step = Callable[[], float]


def patches(shape: tuple[int, ...], classes: int) -> tuple[Any, Any]:
    """Noise, and labels in blocks."""
    import torch

    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    coarse = [max(n // 8, 1) for n in shape[2:]]
    y = torch.randint(classes, (shape[0], 1, *coarse), generator=torch.Generator().manual_seed(1))
    y = torch.nn.functional.interpolate(y.float(), shape[2:], mode="nearest")
    return x, y[:, 0].to(torch.uint8)


def monai_network(size: str) -> Any:
    """MONAI's UNETR, always from the same weights."""
    import torch
    from monai.networks.nets import UNETR

    torch.manual_seed(0)
    narrow = NARROW if size == "hippocampus" else {}
    return UNETR(1, CLASSES[size], BATCH[size][2:], **narrow)


def ours(size: str, precision: str, weights: Path) -> tuple[Step, Any]:
    """A step of the loop, and the optimizer."""
    from unetr.training.batches import Batch

    learner, rate = our_learner(size, precision, weights)
    batch = Batch(*patches(BATCH[size], CLASSES[size]), ("a",) * BATCH[size][0])
    steps = 0

    def step() -> float:
        nonlocal steps
        steps += 1
        loss, _ = learner.gradients([batch], seed=steps)
        learner.apply(rate, steps)
        return float(loss)

    return step, learner.optimizer


def our_learner(size: str, precision: str, weights: Path | None = None) -> tuple[Any, float]:
    """The loop's network and optimiser, and the recipe's learning rate.

    Args:
        weights: MONAI's, in safetensors, for the paper's network; default: those it starts from.
    """
    import torch
    from safetensors.torch import load_file

    from unetr import UNETR
    from unetr.data.plan import Label, Normalisation, Plan
    from unetr.model.monai_weights import import_monai
    from unetr.training.learner import Learner
    from unetr.training.recipe_toml import load_recipe
    from unetr.training.sizes import learning_rate, network_config

    recipe = load_recipe(RECIPES[size])
    if size != "hippocampus":
        state = load_file(weights) if weights else monai_network(size).state_dict()
        first, rate = import_monai(state), recipe.training.lr
        network = UNETR(**first.config | {"checkpointing": size == "checkpointing"})
        network.load_state_dict(first.state_dict())
    else:
        plan = Plan(
            channels=("MR",),
            labels=tuple(Label(id=k, name=str(k)) for k in range(CLASSES[size])),
            spacing_mm=(1.0, 1.0, 1.0),
            patch_voxels=BATCH[size][2:],
            token_voxels=(8, 8, 8),
            normalisation=(Normalisation(kind="zscore"),),
        )
        _, config = network_config(recipe.network, plan, "cpu")
        torch.manual_seed(0)
        network, rate = UNETR(**config), learning_rate(recipe.training.lr, config)
    learner = Learner(network, recipe, torch.device("cpu"), precision)
    learner.expect_many()
    return learner, rate


def monai(size: str, precision: str, weights: Path) -> tuple[Step, Any]:
    """A step as MONAI's tutorials write it, and the optimizer."""
    import torch
    from monai.losses import DiceCELoss
    from safetensors.torch import load_file

    network = monai_network(size).train()
    if size != "hippocampus":
        network.load_state_dict(load_file(weights))
    loss_of = DiceCELoss(
        to_onehot_y=True, softmax=True, squared_pred=True, smooth_nr=1e-5, smooth_dr=1e-5
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    x, y = patches(BATCH[size], CLASSES[size])

    def step() -> float:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = loss_of(network(x), y[:, None])
        loss.backward()
        optimizer.step()
        return loss.item()

    return step, optimizer


def serve(side: str, size: str, precision: str, weights: str) -> None:
    """Answers with seconds, loss, the peak so far in GB, and what of it the optimizer knows; first
    with what the imports take."""
    for module in MODULES[side]:
        importlib.import_module(module)
    imported = peak_gb()
    step, optimizer = {"unetr": ours, "MONAI": monai}[side](size, precision, Path(weights))

    def timed() -> tuple[float, float, float, float]:
        began = time.perf_counter()
        loss = step()
        seconds = time.perf_counter() - began
        return seconds, loss, peak_gb(), state_gb(optimizer)

    answer([imported], timed)


def state_gb(optimizer: Any) -> float:
    """Weights, as many gradients, and moments."""
    kept = 0
    for weight, state in optimizer.state.items():
        moments = [each.nbytes for each in state.values() if hasattr(each, "nbytes")]
        kept += 2 * weight.nbytes + sum(moments)
    return kept / 1e9


def compare(size: str, precision: str, rounds: int, threads: int, weights: Path) -> None:
    """One row of the table; the first step of each warms up."""
    sides = [
        Side(__file__, ["--serve", name, size, precision, str(weights)], threads, {})
        for name in ("unetr", "MONAI")
    ]
    first = [side.compute() for side in sides]
    found = [[side.compute() for side in sides] for _ in range(rounds)]
    for side in sides:
        side.close()
    own, peer = (statistics.median(row[k][0] for row in found) for k in (0, 1))
    own_gb, peer_gb = (found[-1][k][2] for k in (0, 1))
    parts = [
        f"{side.ready[0]:.2f} + {row[3]:.2f} + {row[2] - side.ready[0] - row[3]:.2f}"
        for side, row in zip(sides, found[-1], strict=True)
    ]
    print(f"| {size} | {precision} | {own:.2f} | {peer:.2f} | {peer / own:.2f} | {own_gb:.2f} | "
          f"{peer_gb:.2f} | {own_gb / peer_gb:.2f} | {' | '.join(parts)} | "
          f"{first[0][1]:.4f} | {first[1][1]:.4f} |",
          flush=True)  # fmt: skip
    if size != "hippocampus" and abs(first[0][1] - first[1][1]) > (
        1e-3 if precision == "fp32" else 3e-2
    ):
        sys.exit("the losses of the first step differ")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=list(BATCH), choices=list(BATCH))
    parser.add_argument("--precision", nargs="+", choices=("fp32", "bf16"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--serve", nargs=4)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(*arguments.serve)
        return
    import monai
    import torch
    from safetensors.torch import save_file

    print(f"torch {torch.__version__}, MONAI {monai.__version__}, {arguments.threads} threads\n")
    # bf16 is tried where the processor computes in it; elsewhere it is only slow.
    quick = torch.cpu._is_avx512_bf16_supported()
    precisions = arguments.precision or (["fp32", "bf16"] if quick else ["fp32"])
    print("| size | precision | unetr s | MONAI s | ratio | unetr GB | MONAI GB | ratio |"
          " unetr: imports + state + rest | MONAI: imports + state + rest |"
          " unetr first loss | MONAI first loss |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.safetensors"
        save_file(monai_network("btcv").state_dict(), weights)
        for size in arguments.sizes:
            for precision in precisions:
                compare(size, precision, arguments.rounds, arguments.threads, weights)


if __name__ == "__main__":
    main()
