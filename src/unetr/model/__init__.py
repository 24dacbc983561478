"""The network: UNETR in torch, one file per part of the paper's figure 2."""

from unetr.model.factories import unetr_base, unetr_small, unetr_tiny
from unetr.model.monai_weights import export_monai, import_monai
from unetr.model.unetr import UNETR

__all__ = ["UNETR", "export_monai", "import_monai", "unetr_base", "unetr_small", "unetr_tiny"]
