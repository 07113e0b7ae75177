"""``srl tables``: the cost columns of the paper's tables 2, 3 and 8, recomputed.

Chi et al., "Fast Non-Local Neural Networks with Spectral Residual Learning", ACM MM 2019. Every
number is counted in real networks, run on the meta device: SimpleBaseline and, for table 8, C2D,
without and with blocks.
"""

from __future__ import annotations

import importlib.resources
import json
from dataclasses import dataclass
from functools import cache

from ...cost import measure_cost
from ...report.table import format_table
from .command import create_network

PRINTED_DIGITS = 0.01
"""The tables print two decimals."""

_CAPTIONS = {
    2: "Table 2: SimpleBaseline, with SRL blocks after the three deconvolutions "
    "(parameters in millions)",
    3: "Table 3: what three blocks add to SimpleBaseline with ResNet-50 (parameters in millions)",
    8: "Table 8: what four blocks add to C2D with ResNet-18 (parameters in units of 1024, "
    "batch normalisations at 2 operations per element)",
}


@dataclass(frozen=True)
class PrintedCell:
    """One number that the paper prints.

    Attributes
    ----------
    table : int
        2, 3 or 8.
    backbone : str
        Trunk of the network; printed in a column of its own in table 2 only.
    input : str
        ``"256x192"`` (H x W), or ``"8x224x224"`` (T x H x W) for table 8.
    block : str
        ``"base"``, or a name for `create_block`.
    column : str
        ``"gflops"``, or ``"params"``: millions in tables 2 and 3, units of 1024 in table 8. Those
        of tables 3 and 8 are what the blocks add.
    value : float
        As printed.
    remark : str
        Why a count differs; empty where it agrees.
    """

    table: int
    backbone: str
    input: str
    block: str
    column: str
    value: float
    remark: str

    @property
    def ours(self) -> float:
        """The same quantity in the same unit, recomputed and not rounded."""
        of_network = _counts(self.table, self.backbone, self.input, self.block)
        of_base = _counts(self.table, self.backbone, self.input, "base")
        column = ("gflops", "params").index(self.column)
        count = of_network[column] - (0 if self.table == 2 else of_base[column])
        return count / (2**30, 1024 if self.table == 8 else 1e6)[column]

    @property
    def difference(self) -> float:
        """Ours less the printed one."""
        return self.ours - self.value

    def as_json(self) -> dict[str, object]:
        """Fields of ``srl tables --json``; ``ours`` is rounded to four decimals."""
        return {
            "table": self.table,
            "input": self.input,
            **({"backbone": self.backbone} if self.table == 2 else {}),
            "block": self.block,
            "column": self.column,
            "paper": self.value,
            "ours": round(self.ours, 4),
        }


def printed_cells() -> list[PrintedCell]:
    """All printed cells, in the order of the paper: tables 2, 3 and 8.

    A number that is printed once for all input sizes is given for each of them.
    """
    text = (importlib.resources.files(__package__) / "printed.json").read_text(encoding="utf-8")
    cells = []
    for row in json.loads(text):
        network = {name: row[name] for name in ("table", "backbone", "input", "block")}
        for column in ("gflops", "params"):
            remark = row.get("remarks", {}).get(column, "")
            cells.append(PrintedCell(**network, column=column, value=row[column], remark=remark))
    return cells


@cache
def _counts(table: int, backbone: str, size: str, block: str) -> tuple[float, int]:
    """Operations and parameters of a network, without blocks or with them where the paper does.

    SimpleBaseline has them after every deconvolution, C2D after each residual block of res3 and
    res4.
    """
    shape = (3, *map(int, size.split("x")))
    network = create_network(
        f"{'c2d' if table == 8 else 'simple_baseline'}_{backbone}",
        shape,
        block=None if block == "base" else block,
        options={"subsample": True} if (table, block) == (8, "non-local") else None,
    )
    cost = measure_cost(network, shape, "paper+bn" if table == 8 else "paper")
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
    cells = printed_cells()
    off = [cell for cell in cells if abs(cell.difference) > PRINTED_DIGITS]
    if json_:
        print(json.dumps([cell.as_json() for cell in cells], indent=1))
    else:
        _print_cells(cells)
        within = f"{len(cells) - len(off)} of {len(cells)} cells are within {PRINTED_DIGITS}"
        print(f"\n{within} of the printed value.")
        print("GFLOPs are multiply-accumulates / 2^30 by the paper's accounting.")
    return int(any(not cell.remark for cell in off))


def _print_cells(cells: list[PrintedCell]) -> None:
    remarks = [cell.remark for cell in cells if cell.remark]
    header = ("backbone", "input", "block", "column", "paper", "ours", "difference", "remark")
    for table, caption in _CAPTIONS.items():
        rows = []
        for cell in cells:
            if cell.table == table:
                number = f"[{remarks.index(cell.remark) + 1}]" if cell.remark else ""
                names = (cell.backbone, cell.input, cell.block, cell.column)
                values = (f"{cell.value:.2f}", f"{cell.ours:.4f}", f"{cell.difference:+.4f}")
                rows.append([*names, *values, number])
        print(f"{caption}\n\n{format_table(header, rows)}\n")
    print("\n".join(f"[{number}] {remark}" for number, remark in enumerate(remarks, 1)))
