"""From a data set to a trained model."""

from unetr.training.prepare import prepare

__all__ = ["prepare"]
