"""Peak memory of a training step over patch sizes: what the planner's voxel budget rests on.

A step is the loop's own, of the paper's network in float32. Each size runs in a process of its own,
so that peaks do not mix. The table ends with the planner's estimate: it should lie above the
measurement and not far above.

    python benchmarks/training_memory.py
"""

import argparse
import subprocess
import sys

from sides import peak_gb
from training_step import patches

SIZES = ((64, 1, 14), (96, 1, 14), (96, 2, 14), (96, 1, 60), (112, 1, 14))


def measure(side: int, batch: int, outputs: int) -> float:
    """Peak memory in GB."""
    import torch

    from unetr import UNETR
    from unetr.training.batches import Batch
    from unetr.training.learner import Learner
    from unetr.training.recipe_toml import load_recipe

    network = UNETR(in_channels=1, out_channels=outputs, img_size=side)
    learner = Learner(network, load_recipe("btcv"), torch.device("cpu"), "fp32")
    learner.expect_many()
    shape = (batch, 1, side, side, side)
    for step in (1, 2):
        learner.gradients([Batch(*patches(shape, outputs), ("a",) * batch)], seed=step)
        learner.apply(1e-4, step)
    return peak_gb()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--one", nargs=3, type=int, help="measure one size, print GB")
    arguments = parser.parse_args()
    if arguments.one:
        print(measure(*arguments.one))
        return
    from unetr.data.resolution import memory_estimate_gb

    print("| patch | batch | outputs | peak GB | planner's estimate GB |")
    print("|---|---|---|---|---|")
    for side, batch, outputs in SIZES:
        words = [sys.executable, __file__, "--one", str(side), str(batch), str(outputs)]
        peak = float(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
        estimate = memory_estimate_gb(side**3, batch, outputs)
        print(f"| {side}^3 | {batch} | {outputs} | {peak:.2f} | {estimate:.2f} |", flush=True)


if __name__ == "__main__":
    main()
