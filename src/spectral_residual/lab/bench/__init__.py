"""Time and peak memory of blocks and networks, side by side in one run: ``srl bench``."""

from __future__ import annotations

from .measure import Measurement, Measurements, measure_blocks
from .memory import peak_memory
from .network_rows import NetworkRow, load_networks
from .networks import measure_networks
from .ratios import Growth, PairRatio, growth, pair_ratios
from .report import BenchReport, Change, compare, read_report
from .rounds import Job, Spread, run_rounds
from .rows import Row, load_rows, select_rows
from .text import to_text

__all__ = [
    "BenchReport",
    "Change",
    "Growth",
    "Job",
    "Measurement",
    "Measurements",
    "NetworkRow",
    "PairRatio",
    "Row",
    "Spread",
    "compare",
    "growth",
    "load_networks",
    "load_rows",
    "measure_blocks",
    "measure_networks",
    "pair_ratios",
    "peak_memory",
    "read_report",
    "run_rounds",
    "select_rows",
    "to_text",
]
