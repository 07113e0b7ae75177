"""Comparison of trained pose models: a table for the terminal, and one self-contained HTML page."""

from __future__ import annotations

from .figures import FilterPanel, filter_figure, filter_panels, loss_figure
from .html import Picture, write_report
from .summary import RunSummary, summary_table
from .table import format_table

__all__ = [
    "FilterPanel",
    "Picture",
    "RunSummary",
    "filter_figure",
    "filter_panels",
    "format_table",
    "loss_figure",
    "summary_table",
    "write_report",
]
