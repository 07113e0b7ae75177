"""Comparison of trained pose models: a table for the terminal, and one self-contained HTML page."""

from __future__ import annotations

from .figures import FilterPanel, filter_figure, filter_panels, loss_figure
from .html import filter_section, write_report
from .page import Picture, gallery, note, plot, table, write_page
from .summary import RunSummary, summary_table
from .table import format_table

__all__ = [
    "FilterPanel",
    "Picture",
    "RunSummary",
    "filter_figure",
    "filter_panels",
    "filter_section",
    "format_table",
    "gallery",
    "loss_figure",
    "note",
    "plot",
    "summary_table",
    "table",
    "write_page",
    "write_report",
]
