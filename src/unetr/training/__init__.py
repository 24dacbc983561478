"""From a data set to a trained model."""

from unetr.training.ready import prepare

__all__ = ["prepare"]
