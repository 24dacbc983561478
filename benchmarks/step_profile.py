"""Where the time of a training step goes: the loop's own step on the paper's network, by operation.

torch's profiler over steps of one patch of 96^3, 1 -> 14 classes. Each operation counts what it
spends itself, without what it calls; the table adds up to the whole step. Profiling costs some time
of its own, so the whole is a little longer than in `training_step`.

    python benchmarks/step_profile.py [--precision bf16] [--steps 5]
"""

import argparse

import torch
from torch.profiler import ProfilerActivity, profile

from training_step import BATCH, CLASSES, our_learner, patches
from unetr.training.batches import Batch

# The first whose word is in the operation's name.
KINDS = {
    "convolutions": ("convolution", "conv3d"),
    "matrix products": ("addmm", "aten::mm", "bmm", "matmul"),
    "attention": ("attention",),
    "normalisation and activation": ("CompiledFxGraph", "Activated", "layer_norm", "gelu", "relu"),
    "loss": ("SoftmaxDiceCE", "softmax", "scatter", "gather", "bincount", "exp_"),
    "AdamW and the gradient's norm": ("adamw", "foreach", "_norm"),
    "copies and casts": ("copy_", "clone", "contiguous", "_to_copy", "cat", "fill_"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    parser.add_argument("--steps", type=int, default=5)
    arguments = parser.parse_args()
    learner, rate = our_learner("btcv", arguments.precision)
    batch = Batch(*patches(BATCH["btcv"], CLASSES["btcv"]), ("a",))
    number = 0

    def steps(count: int) -> None:
        nonlocal number
        for _ in range(count):
            number += 1
            learner.gradients([batch], seed=number)
            learner.apply(rate, number)

    steps(2)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        steps(arguments.steps)
    spent = dict.fromkeys([*KINDS, "everything else"], 0.0)
    for event in seen.key_averages():
        kind = next(
            (kind for kind, words in KINDS.items() if any(word in event.key for word in words)),
            "everything else",
        )
        spent[kind] += event.self_cpu_time_total / 1e3 / arguments.steps
    whole = sum(spent.values())
    print(f"torch {torch.__version__}, {arguments.precision}, {torch.get_num_threads()} threads\n")
    print("| operations | ms a step | share |\n|---|---|---|")
    for kind, ms in spent.items():
        print(f"| {kind} | {ms:.0f} | {100 * ms / whole:.0f} % |")
    print(f"| the step | {whole:.0f} | |")


if __name__ == "__main__":
    main()
