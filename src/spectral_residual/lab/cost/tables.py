"""``srl tables``: the cost columns of the paper's tables 2, 3 and 8, recomputed.

Every number is counted in real networks, run on the meta device: SimpleBaseline and, for table 8,
C2D, without and with blocks.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from ...cost import measure_cost
from ...pose.network import PoseNetwork
from ...video.network import VideoNetwork
from .tables_data import REMARKS, PrintedCell, printed_cells

PRINTED_DIGITS = 0.01
"""The tables print two decimals."""

_VIDEO_OPTIONS: dict[str, dict[str, Any]] = {"non-local": {"subsample": True}}


@dataclass(frozen=True)
class Cell:
    """A printed cell beside the recomputed one.

    Attributes
    ----------
    printed : PrintedCell
        What the paper prints, and where.
    ours : float
        The same quantity in the same unit, not rounded.
    remark : str
        Why they differ; empty where they agree.
    """

    printed: PrintedCell
    ours: float
    remark: str

    @property
    def difference(self) -> float:
        """Ours less the printed one."""
        return self.ours - self.printed.value

    def as_json(self) -> dict[str, object]:
        """Fields of ``srl tables --json``; ``ours`` is rounded to four decimals."""
        cell = self.printed
        fields: dict[str, object] = {"table": cell.table, "input": cell.input}
        if cell.table == 2:
            fields["backbone"] = cell.backbone
        return fields | {
            "block": cell.block,
            "column": cell.column,
            "paper": cell.value,
            "ours": round(self.ours, 4),
        }


def recompute_tables() -> list[Cell]:
    """Recompute every cell that the paper prints.

    Returns
    -------
    list of Cell
        In the order of the paper: tables 2, 3 and 8.
    """
    return [_recompute(printed) for printed in printed_cells()]


def _recompute(printed: PrintedCell) -> Cell:
    units = {"gflops": 2.0**30, "params": 1024.0 if printed.table == 8 else 1e6}
    column = ("gflops", "params").index(printed.column)
    count = _COUNTS[printed.table](printed)[column]
    key = (printed.table, printed.input, printed.block, printed.column, printed.backbone)
    return Cell(printed, count / units[printed.column], REMARKS.get(key, ""))


def _count_network(cell: PrintedCell) -> tuple[float, int]:
    return _pose_cost(cell.backbone, cell.input, cell.block)


def _count_added(cell: PrintedCell) -> tuple[float, int]:
    network_cost = _video_cost if cell.table == 8 else _pose_cost
    operations, parameters = network_cost(cell.backbone, cell.input, cell.block)
    base_operations, base_parameters = network_cost(cell.backbone, cell.input, "base")
    return operations - base_operations, parameters - base_parameters


_COUNTS: dict[int, Callable[[PrintedCell], tuple[float, int]]] = {
    2: _count_network,
    3: _count_added,
    8: _count_added,
}


@cache
def _pose_cost(backbone: str, size: str, block: str) -> tuple[float, int]:
    """Operations and parameters of SimpleBaseline, with a block after every deconvolution."""
    height, width = map(int, size.split("x"))
    with torch.device("meta"):
        network = PoseNetwork(backbone, block=None if block == "base" else block)
        model = network.build(17, (height, width))
    cost = measure_cost(model, (3, height, width), "paper")
    return cost.operations, cost.parameters


@cache
def _video_cost(backbone: str, size: str, block: str) -> tuple[float, int]:
    """Operations and parameters of C2D, with a block after each residual block of res3 and res4."""
    frames, height, width = map(int, size.split("x"))
    with torch.device("meta"):
        network = VideoNetwork(
            backbone,
            block=None if block == "base" else block,
            block_options=dict(_VIDEO_OPTIONS.get(block, {})),
        )
        model = network.build(400, frames, (height, width))
    cost = measure_cost(model, (3, frames, height, width), "paper+bn")
    return cost.operations, cost.parameters


def tables(*, json_: bool = False) -> int:
    """Recompute the cost columns of the paper's tables 2, 3 and 8 from real networks.

    Each cell stands beside the printed one. The exit code is 1 if a cell without a stated reason
    differs from the printed one.

    Parameters
    ----------
    json_ : bool
        Print a list of cells as JSON.
    """
    cells = recompute_tables()
    if json_:
        print(json.dumps([cell.as_json() for cell in cells], indent=1))
    else:
        _print_cells(cells)
    return int(any(_is_off(cell) and not cell.remark for cell in cells))


def _is_off(cell: Cell) -> bool:
    return abs(cell.difference) > PRINTED_DIGITS


_CAPTIONS = {
    2: "Table 2: SimpleBaseline, with SRL blocks after the three deconvolutions "
    "(parameters in millions)",
    3: "Table 3: what three blocks add to SimpleBaseline with ResNet-50 (parameters in millions)",
    8: "Table 8: what four blocks add to C2D with ResNet-18 (parameters in units of 1024, "
    "batch normalisations at 2 operations per element)",
}


def _print_cells(cells: list[Cell]) -> None:
    remarks: list[str] = []
    for table, caption in _CAPTIONS.items():
        print(f"{caption}\n")
        print(f"{'backbone':<10} {'input':<10} {'block':<10} {'column':<6} "
              f"{'paper':>8} {'ours':>9} {'difference':>11}")  # fmt: skip
        for cell in cells:
            if cell.printed.table != table:
                continue
            note = ""
            if cell.remark:
                remarks.append(cell.remark)
                note = f"  [{len(remarks)}]"
            row = cell.printed
            print(
                f"{row.backbone:<10} {row.input:<10} {row.block:<10} {row.column:<6} "
                f"{row.value:>8.2f} {cell.ours:>9.4f} {cell.difference:>+11.4f}{note}"
            )
        print()
    for number, remark in enumerate(remarks, 1):
        print(f"[{number}] {remark}")
    within = sum(not _is_off(cell) for cell in cells)
    print(f"\n{within} of {len(cells)} cells are within {PRINTED_DIGITS} of the printed value.")
    print("GFLOPs are multiply-accumulates / 2^30 by the paper's accounting.")
