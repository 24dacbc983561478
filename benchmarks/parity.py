"""Relative error of logits against MONAI's UNETR with the same weights, at the paper's sizes.

Every combination of task, feature size and patch projection in float32, in evaluation mode. The
error is the norm of the difference over the norm of MONAI's logits.

    python benchmarks/parity.py [--tasks btcv brain spleen] [--features 16 32]
"""

import argparse
import os
import sys

TASKS = {"btcv": (1, 14, 96), "brain": (4, 3, 128), "spleen": (1, 2, 96)}
PROJECTIONS = ("perceptron", "conv")
LIMIT = 1e-5


def error(task: str, feature_size: int, projection: str) -> float:
    """Relative error of our logits."""
    import torch
    from monai.networks import nets

    from unetr.model import import_monai

    channels, labels, side = TASKS[task]
    torch.manual_seed(0)
    theirs = nets.UNETR(channels, labels, side, feature_size=feature_size, proj_type=projection)
    theirs.eval()
    ours = import_monai(theirs.state_dict()).eval()
    x = torch.randn(1, channels, side, side, side)
    with torch.no_grad():
        expected = theirs(x)
        return float((ours(x) - expected).norm() / expected.norm())


def main() -> None:
    """Prints the table; exit code 1 where an error is too large."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--features", nargs="+", type=int, default=[16, 32])
    arguments = parser.parse_args()
    from monai import __version__ as monai_version
    from torch import __version__ as torch_version

    print(f"torch {torch_version}, MONAI {monai_version}, {os.cpu_count()} cores, float32\n")
    print("| task | channels | size | feature size | projection | relative error |")
    print("|---|---|---|---|---|---|")
    worst = 0.0
    for task in arguments.tasks:
        channels, labels, side = TASKS[task]
        for feature_size in arguments.features:
            for projection in PROJECTIONS:
                found = error(task, feature_size, projection)
                worst = max(worst, found)
                print(
                    f"| {task} | {channels} -> {labels} | {side}^3 | {feature_size} | {projection} "
                    f"| {found:.1e} |",
                    flush=True,
                )
    if worst >= LIMIT:
        sys.exit(f"{worst:.1e} is not below {LIMIT:.0e}")


if __name__ == "__main__":
    main()
