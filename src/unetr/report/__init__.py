"""An evaluation as one page that opens anywhere, without a network."""

from unetr.report.page import write_report

__all__ = ["write_report"]
