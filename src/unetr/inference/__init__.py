"""From a scan to its segmentation."""

from unetr.inference.predictor import Prediction, Predictor

__all__ = ["Prediction", "Predictor"]
