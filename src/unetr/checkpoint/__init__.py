"""One file holds a trained network: weights, plan and provenance.

`header` needs no torch, so that a model file can be described in a moment; the names below import
torch on first use.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unetr.checkpoint.model import Model, load_model, save_model
    from unetr.checkpoint.networks import build_network

__all__ = ["Model", "build_network", "load_model", "save_model"]


def __getattr__(name: str) -> Any:
    if name in ("Model", "load_model", "save_model"):
        from unetr.checkpoint import model

        return getattr(model, name)
    if name == "build_network":
        from unetr.checkpoint.networks import build_network

        return build_network
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
