"""Seconds a window of the BTCV network: our engines and MONAI's UNETR, in turn.

Each side is a process of its own. One window of 96^3, 1 -> 14 classes, 92.8 M weights, the same on
every side. Ours ends with the class scores, MONAI's with the logits. An engine that computes two
windows at a time is timed on two. The error is the largest of a score against MONAI's at fp32. Also
how long an engine takes to be ready: the first time, when the network is converted or compiled, and
in a second process.

    python benchmarks/forward.py [--rounds 7]
"""

import argparse
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from sides import Side, answer

THREADS = os.cpu_count() or 1
ENGINES = (
    "openvino bf16", "openvino fp32", "onnx fp32",
    "torch-compile bf16", "torch-compile fp32", "torch bf16", "torch fp32",
)  # fmt: skip
PEERS = ("MONAI fp32", "MONAI bf16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--serve", nargs=2)
    options = parser.parse_args()
    if options.serve:
        serve(*options.serve)
        return
    with tempfile.TemporaryDirectory() as folder:
        measure(options.rounds, folder)


def measure(rounds: int, folder: str) -> None:
    """Both tables."""
    import monai

    print(f"torch {torch.__version__}, MONAI {monai.__version__}, {THREADS} threads\n")
    print("| engine | ready the first time s | in a second process s |\n|---|---|---|")
    has_bf16 = torch.cpu._is_avx512_bf16_supported()
    sides = {}
    for name in (*PEERS, *ENGINES):
        if name.endswith("bf16") and not has_bf16:
            continue
        # The compiler is not told of spaces in a path.
        kept = f"{folder}/{name.replace(' ', '-')}"
        cache = dict.fromkeys(("XDG_CACHE_HOME", "TORCHINDUCTOR_CACHE_DIR"), kept)
        words = ["--serve", name, folder]
        if name in ENGINES:
            once = Side(__file__, words, THREADS, cache)
            once.close()
        sides[name] = Side(__file__, words, THREADS, cache)
        if name in ENGINES:
            (first,), (later,) = once.ready, sides[name].ready
            print(f"| {name} | {first:.1f} | {later:.2f} |", flush=True)
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds + 1):
        for name, side in sides.items():
            found[name].append(side.compute()[0])
    for side in sides.values():
        side.close()
    # The first round warms up.
    report({name: statistics.median(seconds[1:]) for name, seconds in found.items()}, folder)


def report(median: dict[str, float], folder: str) -> None:
    """Ratios to MONAI's, and how far the scores are from MONAI's at fp32."""
    scores = {name: np.load(f"{folder}/{name}.npy") for name in median}
    print(
        "\n| side | s a window | times MONAI fp32 | times MONAI bf16 | largest error of a score |"
    )
    print("|---|---|---|---|---|")
    for name, own in median.items():
        ratios = " | ".join(f"{median.get(peer, math.nan) / own:.2f}" for peer in PEERS)
        error = np.abs(scores[name] - scores[PEERS[0]]).max()
        print(f"| {name} | {own:.3f} | {ratios} | {error:.1e} |")


def serve(name: str, folder: str) -> None:
    """Answers with seconds a window; what it found is left in the folder."""
    from monai.networks.nets import UNETR

    torch.manual_seed(0)
    peer = UNETR(1, 14, (96, 96, 96)).eval()
    x = torch.randn(1, 1, 96, 96, 96, generator=torch.Generator().manual_seed(0))
    engine, precision = name.split()
    window, count, ready = (
        monai_window(peer, x, precision == "bf16")
        if name in PEERS
        else our_window(peer, x, engine, precision)
    )

    def timed() -> tuple[float]:
        began = time.perf_counter()
        found = window()
        seconds = (time.perf_counter() - began) / count
        scores = found[:1].float()
        np.save(f"{folder}/{name}.npy", scores.softmax(1) if name in PEERS else scores)
        return (seconds,)

    answer(ready, timed)


Window = Callable[[], torch.Tensor]


def monai_window(
    peer: torch.nn.Module, x: torch.Tensor, bf16: bool
) -> tuple[Window, int, list[float]]:
    """MONAI's network as it is used in prediction."""

    def window() -> torch.Tensor:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return peer(x)

    return window, 1, []


def our_window(
    peer: torch.nn.Module, x: torch.Tensor, name: str, precision: str
) -> tuple[Window, int, list[float]]:
    """An engine, and how long it took to be ready."""
    from unetr.inference.engines import make_engine

    model = our_model(peer)
    began = time.perf_counter()
    engine = make_engine(model, name, precision, "cpu")
    engine.ready()
    ready = [time.perf_counter() - began]
    windows = x.expand(engine.batch, -1, -1, -1, -1).contiguous()
    return (lambda: engine.forward(windows)), engine.batch, ready


def our_model(peer: torch.nn.Module) -> Any:
    """Our network with MONAI's weights, and a plan."""
    from unetr.checkpoint import Model
    from unetr.data.plan import Label, Normalisation, Plan
    from unetr.model import import_monai

    plan = Plan(
        channels=("CT",),
        labels=tuple(Label(id=i, name=f"organ {i}" if i else "background") for i in range(14)),
        spacing_mm=(1.5, 1.5, 2.0),
        patch_voxels=(96, 96, 96),
        normalisation=(Normalisation(kind="range", low=-175.0, high=250.0),),
    )
    return Model(import_monai(peer.state_dict()).eval(), plan)


if __name__ == "__main__":
    main()
