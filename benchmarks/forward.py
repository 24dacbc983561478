"""Seconds a window of the BTCV network: our engines and MONAI's UNETR, in turn in one process.

One window of 96^3, 1 -> 14 classes, 92.8 M weights, the same on every side. Ours ends with the
class scores, MONAI's with the logits. An engine that computes two windows at a time is timed on
two. The error is the largest of a score against MONAI's at fp32. Also how long an engine takes to
be ready: the first time, when the network is converted, and any later time.

    python benchmarks/forward.py [--rounds 7]
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch

THREADS = os.cpu_count() or 1
ENGINES = (("openvino", "bf16"), ("openvino", "fp32"), ("onnx", "fp32"), ("torch", "bf16"),
           ("torch", "fp32"))  # fmt: skip
PEERS = ("MONAI fp32", "MONAI bf16")


def monai_window(network: torch.nn.Module, bf16: bool) -> tuple[Callable[[], torch.Tensor], int]:
    """MONAI's network as it is used in prediction."""
    x = torch.randn(1, 1, 96, 96, 96, generator=torch.Generator().manual_seed(0))

    def window() -> torch.Tensor:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return network(x)

    return window, 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        measure(rounds, folder)


def measure(rounds: int, folder: str) -> None:
    """Both tables."""
    import monai
    from monai.networks.nets import UNETR

    from unetr.inference.engines import make_engine

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    peer = UNETR(1, 14, (96, 96, 96)).eval()
    model = our_model(peer)
    print(f"torch {torch.__version__}, MONAI {monai.__version__}, {THREADS} threads\n")
    sides = {name: monai_window(peer, name.endswith("bf16")) for name in PEERS}
    print("| engine | ready the first time s | later s |\n|---|---|---|")
    has_bf16 = torch.cpu._is_avx512_bf16_supported()
    for name, precision in ENGINES:
        if precision == "bf16" and not has_bf16:
            continue
        ready = []
        os.environ["XDG_CACHE_HOME"] = f"{folder}/{name}-{precision}"
        for _ in range(2):
            began = time.perf_counter()
            engine = make_engine(model, name, precision, "cpu")
            ready.append(time.perf_counter() - began)
        x = torch.randn(1, 1, 96, 96, 96, generator=torch.Generator().manual_seed(0))
        windows = x.expand(engine.batch, -1, -1, -1, -1).contiguous()
        sides[f"{name} {precision}"] = (lambda e=engine, w=windows: e.forward(w)), engine.batch
        print(f"| {name} {precision} | {ready[0]:.1f} | {ready[1]:.2f} |", flush=True)
    compare(sides, rounds)


def compare(sides: dict[str, tuple[Callable[[], torch.Tensor], int]], rounds: int) -> None:
    """Medians, ratios to MONAI's, and how far the scores are from MONAI's at fp32."""
    truth = sides["MONAI fp32"][0]().float().softmax(1)
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    error = {}
    for number in range(rounds + 1):
        for name, (window, count) in sides.items():
            began = time.perf_counter()
            found = window()
            spent = (time.perf_counter() - began) / count
            if number:  # The first round warms up.
                seconds[name].append(spent)
            scores = found[:1].float()
            scores = scores.softmax(1) if name in PEERS else scores
            error[name] = float((scores - truth).abs().max())
    median = {name: statistics.median(times) for name, times in seconds.items()}
    print(
        "\n| side | s a window | times MONAI fp32 | times MONAI bf16 | largest error of a score |"
    )
    print("|---|---|---|---|---|")
    for name, own in median.items():
        ratios = " | ".join(f"{median[peer] / own:.2f}" for peer in PEERS)
        print(f"| {name} | {own:.3f} | {ratios} | {error[name]:.1e} |")


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
