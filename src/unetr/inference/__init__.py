"""From a scan to its segmentation."""

from unetr.inference.prediction import Prediction
from unetr.inference.predictor import Predictor

__all__ = ["Prediction", "Predictor"]
