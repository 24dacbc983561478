"""Peak memory of a training step over patch sizes: what the planner's voxel budget rests on.

Each size runs in a process of its own, so that peaks do not mix. The table ends with the planner's
estimate: it should lie above the measurement and not far above.
"""

import argparse
import resource
import subprocess
import sys

SIZES = ((64, 1, 14), (96, 1, 14), (96, 2, 14), (96, 1, 60), (112, 1, 14))


def measure(side: int, batch: int, outputs: int) -> float:
    """Peak resident memory in GB of one AdamW step of the paper's network."""
    import torch

    from unetr import UNETR

    network = UNETR(in_channels=1, out_channels=outputs, img_size=side)
    optimizer = torch.optim.AdamW(network.parameters())
    for _ in range(2):
        optimizer.zero_grad()
        logits = network(torch.randn(batch, 1, side, side, side))
        target = torch.randint(0, outputs, (batch, side, side, side))
        torch.nn.functional.cross_entropy(logits, target).backward()
        optimizer.step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
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
