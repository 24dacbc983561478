"""UNETR for real scans: train, predict, evaluate. See the README for a first run."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unetr.checkpoint import load_model
    from unetr.evaluation import evaluate
    from unetr.image import read_image
    from unetr.inference import Predictor
    from unetr.model import UNETR

__version__ = "0.1.0"
__all__ = ["UNETR", "Predictor", "evaluate", "load_model", "read_image"]

# Loaded when asked for: torch costs seconds, which `unetr --help` must not spend.
_ROOMS = {
    "UNETR": "unetr.model",
    "Predictor": "unetr.inference",
    "load_model": "unetr.checkpoint",
    "evaluate": "unetr.evaluation",
    "read_image": "unetr.image",
}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module 'unetr' has no attribute {name!r}")
    return getattr(import_module(_ROOMS[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
