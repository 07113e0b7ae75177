"""Time and peak memory of blocks, side by side in one run: ``srl bench``."""

from __future__ import annotations

from .measure import Job, Measurement, Measurements, Spread, measure_blocks, run_rounds
from .memory import peak_memory
from .report import BenchReport, Change, compare, read_report
from .rows import Row, load_rows, select_rows

__all__ = [
    "BenchReport",
    "Change",
    "Job",
    "Measurement",
    "Measurements",
    "Row",
    "Spread",
    "compare",
    "load_rows",
    "measure_blocks",
    "peak_memory",
    "read_report",
    "run_rounds",
    "select_rows",
]
