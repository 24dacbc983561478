"""Predictions against references: scores per case and label, their means, and what changed."""

from unetr.evaluation.comparison import Comparison, Difference, compare
from unetr.evaluation.records import read_evaluation, summary, write_evaluation
from unetr.evaluation.result import Evaluation
from unetr.evaluation.scoring import evaluate
from unetr.evaluation.structures import Structure

__all__ = [
    "Comparison",
    "Difference",
    "Evaluation",
    "Structure",
    "compare",
    "evaluate",
    "read_evaluation",
    "summary",
    "write_evaluation",
]
