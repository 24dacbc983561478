"""Small cases that can be learnt in seconds, in memory, and a job over them.

Tests import this; the scripts that tests start as processes of their own do, too.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from unetr.checkpoint.model import Model
from unetr.data.plan import Label, Normalisation, Plan
from unetr.model import UNETR
from unetr.training.loop import Job
from unetr.training.progress import Validated
from unetr.training.recipe import Recipe
from unetr.training.schedule import Clock

PATCH = (16, 16, 16)


@dataclass
class ArrayCase:
    """A preprocessed case, as `unetr.data.cache` gives it."""

    image: np.ndarray
    labels: np.ndarray
    foreground: list[np.ndarray]

    @property
    def labelled(self) -> np.ndarray:
        return np.concatenate([np.zeros((0, 3), int), *self.foreground])


def array_case(seed: int = 0, size: tuple[int, int, int] = (24, 20, 22)) -> ArrayCase:
    """A bright ball (1) and a dark block (2) in noise."""
    rng = np.random.default_rng(seed)
    x, y, z = np.indices(size)
    ball = (x - 8) ** 2 + (y - 8) ** 2 + (z - 8) ** 2 < 25
    labels = np.zeros(size, np.uint8)
    labels[15:21, 10:16, 10:17] = 2
    labels[ball] = 1
    image = rng.normal(0, 0.1, (1, *size)) + (labels == 1) - (labels == 2)
    foreground = [np.argwhere(labels == label) for label in (1, 2)]
    return ArrayCase(image.astype(np.float32), labels, foreground)


def tiny_plan() -> Plan:
    """1 mm, patches of 16^3 in tokens of 8^3."""
    return Plan(
        channels=("MR",),
        labels=(Label(id=0, name="background"), Label(id=1, name="ball"), Label(id=2, name="box")),
        spacing_mm=(1.0, 1.0, 1.0),
        patch_voxels=PATCH,
        token_voxels=(8, 8, 8),
        normalisation=(Normalisation(kind="zscore"),),
        mirror_axes=(0, 1, 2),
    )


def tiny_unetr(dropout: float = 0.1) -> UNETR:
    """5 ms a step; with dropout, so that its random numbers matter too."""
    torch.manual_seed(0)
    return UNETR(
        1, 3, PATCH, patch_size=8, feature_size=4, hidden_size=16, mlp_dim=32, num_heads=2,
        num_layers=4, skip_layers=(1, 2, 3), dropout=dropout,
    )  # fmt: skip


def recipe(**training: object) -> Recipe:
    """Everything at once: augmentation, EMA, clipping, accumulation."""
    defaults = {
        "lr": 1e-2, "batch": 2, "accumulate": 2, "warmup": 0.1, "clip_norm": 1.0, "ema": 0.9,
        "max_steps": 8, "precision": "fp32", "log_steps": 2,
    }  # fmt: skip
    return Recipe.model_validate(
        {
            "name": "test",
            "augmentation": {"flip_p": 0.5, "rotate_p": 0.5, "noise_p": 0.5, "gamma_p": 0.3},
            "training": defaults | training,
            "validation": {"times": 2},
        }
    )


def tiny_job(run: Path, *, resume=False, cases=None, plan=None, network=None, **training) -> Job:
    """A job over three cases whose validations all give the same."""
    cases = cases or [array_case(seed) for seed in range(3)]
    made = recipe(**training)
    run.mkdir(exist_ok=True, parents=True)
    return Job(
        made,
        Model(network or tiny_unetr(), plan or tiny_plan()),
        torch.device("cpu"),
        "fp32",
        [f"case{k}" for k in range(len(cases))],
        cases.__getitem__,
        validate=lambda folder: Validated(0.5, {"ball": 0.4, "box": None}, {"a": 0.5}, 0.0),
        run=run,
        clock=Clock(made.training.max_steps, made.training.max_minutes),
        resume=resume,
    )
