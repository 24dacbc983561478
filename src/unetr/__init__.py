"""UNETR for real scans: train, predict, evaluate. See the README for a first run."""

__version__ = "0.1.0"
