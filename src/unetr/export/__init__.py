"""Networks for other runtimes, with their plan inside."""

from unetr.export.export import export_model

__all__ = ["export_model"]
