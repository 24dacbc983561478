"""Peak memory of the transformer's forward and backward pass over the number of tokens.

ViT-B/16 (width 768, 12 blocks) in float32, one sample, ours and MONAI's in turn, each in a process
of its own. Counted is what the process held at most above what it held before the network was
built: weights, gradients and activations; and the seconds of one pass. MONAI's runs are stopped
when they exceed the limit.

    python benchmarks/attention_memory.py [--tokens 216 1728 4096 13824] [--limit-gb 20]
"""

import argparse
import os
import subprocess
import sys
import threading
import time

import psutil

from sides import peak_gb

SIDES = {216: (6, 6, 6), 1728: (12, 12, 12), 4096: (16, 16, 16), 13824: (24, 24, 24)}
PATCH = 16


def ours(tokens: int) -> tuple[float, float]:
    """Peak GB above the start, and seconds."""
    import torch

    from unetr.model.transformer import Transformer

    sides = SIDES[tokens]
    before = held_gb()
    network = Transformer(
        1, sides, (PATCH,) * 3, hidden_size=768, mlp_dim=3072, num_heads=12, num_layers=12
    )
    x = torch.randn(1, 1, *(PATCH * n for n in sides))
    began = time.perf_counter()
    outputs = network(x, (3, 6, 9))
    torch.stack([z.mean() for z in outputs]).sum().backward()
    return peak_gb() - before, time.perf_counter() - began


def monai(tokens: int) -> tuple[float, float]:
    """Peak GB above the start, and seconds."""
    import torch
    from monai.networks.nets import ViT

    sides = SIDES[tokens]
    before = held_gb()
    size = tuple(PATCH * n for n in sides)
    network = ViT(1, size, (PATCH,) * 3, hidden_size=768, mlp_dim=3072, num_heads=12)
    x = torch.randn(1, 1, *size)
    began = time.perf_counter()
    last, hidden = network(x)
    torch.stack([z.mean() for z in (hidden[3], hidden[6], hidden[9], last)]).sum().backward()
    return peak_gb() - before, time.perf_counter() - began


def held_gb() -> float:
    """What the process holds now."""
    return float(psutil.Process().memory_info().rss) / 1e9


def measure(name: str, tokens: int, limit_gb: float) -> tuple[float | None, float]:
    """Peak GB, None where it went beyond the limit, and the seconds it took."""
    command = [sys.executable, __file__, "--run", name, "--tokens", str(tokens)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    threading.Thread(target=stop_beyond, args=(child, limit_gb), daemon=True).start()
    told, _ = child.communicate()
    if child.returncode:
        return None, 0.0
    peak, seconds = map(float, told.split()[-2:])
    return peak, seconds


def stop_beyond(child: "subprocess.Popen[str]", limit_gb: float) -> None:
    """Kills the process before the machine does."""
    try:
        process = psutil.Process(child.pid)
        while child.poll() is None:
            if process.memory_info().rss > limit_gb * 1e9:
                child.kill()
            time.sleep(0.02)
    except psutil.NoSuchProcess:
        pass


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, nargs="+", default=list(SIDES), choices=list(SIDES))
    parser.add_argument(
        "--limit-gb", type=float, default=0.85 * psutil.virtual_memory().total / 1e9
    )
    parser.add_argument("--run", choices=["ours", "monai"])
    arguments = parser.parse_args()
    if arguments.run:
        print(*{"ours": ours, "monai": monai}[arguments.run](arguments.tokens[0]))
        return
    from monai import __version__ as monai_version
    from torch import __version__ as torch_version

    print(f"torch {torch_version}, MONAI {monai_version}, {os.cpu_count()} cores, float32")
    print(
        f"{'tokens':>7} {'unetr GB':>9} {'MONAI GB':>9} {'ratio':>6} {'unetr s':>8} {'MONAI s':>8}"
    )
    beyond = False
    for tokens in arguments.tokens:
        own, own_s = measure("ours", tokens, arguments.limit_gb)
        peer, peer_s = (None, 0.0) if beyond else measure("monai", tokens, arguments.limit_gb)
        beyond = peer is None
        peer_told = f"{peer:.2f}" if peer else f">{arguments.limit_gb:.1f}"
        ratio = (
            f"{peer / own:.1f}"
            if peer and own
            else (f">{arguments.limit_gb / own:.1f}" if own else "")
        )
        own_told = f"{own:.2f}" if own else f">{arguments.limit_gb:.1f}"
        # One that was killed has not taken the time it would have.
        own_time, peer_time = f"{own_s:.1f}" if own else "", f"{peer_s:.1f}" if peer else ""
        print(f"{tokens:>7} {own_told:>9} {peer_told:>9} {ratio:>6} {own_time:>8} {peer_time:>8}")


if __name__ == "__main__":
    main()
