"""When and by what versions something was computed, for the records that are kept of it."""

import importlib.metadata
import platform
from datetime import UTC, datetime

_PACKAGES = ("unetr", "torch", "monai", "numpy", "nibabel", "openvino", "onnxruntime")


def now() -> str:
    """The time in ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Of what computes, by package; packages that are not installed are left out."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
