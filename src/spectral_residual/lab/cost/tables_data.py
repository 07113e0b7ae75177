"""The cost columns that the paper prints: its tables 2, 3 and 8.

Chi et al., "Fast Non-Local Neural Networks with Spectral Residual Learning", ACM MM 2019.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class PrintedCell:
    """One printed number.

    Attributes
    ----------
    table : int
        2, 3 or 8.
    input : str
        ``"256x192"`` (H x W), or ``"8x224x224"`` (T x H x W) for table 8.
    block : str
        ``"base"``, or a name for `spectral_residual.create_block`.
    column : str
        ``"gflops"``, or ``"params"``: millions in tables 2 and 3, units of 1024 in table 8. Those
        of tables 3 and 8 are what the blocks add.
    value : float
        As printed.
    backbone : str
        Trunk of the network; printed in a column of its own in table 2 only.
    """

    table: int
    input: str
    block: str
    column: str
    value: float
    backbone: str


POSE_INPUTS = ("256x192", "384x288", "512x384")
VIDEO_INPUT = "8x224x224"

# Backbone and block, GFLOPs at POSE_INPUTS, millions of parameters (printed once for all sizes).
_TABLE_2 = (
    ("resnet50", "base", (8.99, 20.23, 35.97), 34.00),
    ("resnet101", "base", (12.38, 27.85, 49.52), 52.99),
    ("resnet152", "base", (15.76, 35.47, 63.06), 68.64),
    ("resnet50", "srl-fft", (9.08, 20.43, 36.32), 34.10),
    ("resnet101", "srl-fft", (12.46, 28.05, 49.86), 53.09),
    ("resnet152", "srl-fft", (15.85, 35.67, 63.41), 68.74),
)

# Block, added GFLOPs at the first two of POSE_INPUTS, added millions of parameters.
_TABLE_3 = (
    ("base", (0.0, 0.0), 0.0),
    ("non-local", (2.90, 13.26), 0.39),
    ("a2", (0.28, 0.62), 0.20),
    ("cgnl", (0.39, 0.88), 0.31),
    ("rcca", (1.20, 2.76), 0.92),
    ("srl-fft", (0.09, 0.20), 0.10),
)

# Block, added GFLOPs, added parameters / 1024.
_TABLE_8 = (
    ("base", 0.0, 0.0),
    ("non-local", 1.23, 321.50),
    ("srl-lo", 0.21, 86.89),
    ("srl-fft", 0.08, 86.06),
)

REMARKS: dict[tuple[int, str, str, str, str], str] = {
    (2, "512x384", "base", "gflops", "resnet101"): (
        "All maps have four times the positions of those at 256x192, so the count is four times "
        "12.378; the printed cell is four times the rounded 12.38."
    ),
    (8, VIDEO_INPUT, "non-local", "gflops", "resnet18"): (
        "No reading gives the printed number while the parameters agree. Here keys and values "
        "are pooled 2x2 before their convolutions, as in the authors' code of the non-local "
        "block; pooled after them it is 1.04, not pooled 3.02."
    ),
}
"""Why a count differs: (table, input, block, column, backbone) to a sentence."""


def printed_cells() -> Iterator[PrintedCell]:
    """All printed cells, in the order of the paper.

    A number that is printed once for all input sizes is given for each of them.
    """
    for backbone, block, gflops, millions in _TABLE_2:
        for size, printed in zip(POSE_INPUTS, gflops, strict=True):
            yield PrintedCell(2, size, block, "gflops", printed, backbone)
            yield PrintedCell(2, size, block, "params", millions, backbone)
    for i, size in enumerate(POSE_INPUTS[:2]):
        for block, added, millions in _TABLE_3:
            yield PrintedCell(3, size, block, "gflops", added[i], "resnet50")
            yield PrintedCell(3, size, block, "params", millions, "resnet50")
    for block, printed, kilos in _TABLE_8:
        yield PrintedCell(8, VIDEO_INPUT, block, "gflops", printed, "resnet18")
        yield PrintedCell(8, VIDEO_INPUT, block, "params", kilos, "resnet18")
