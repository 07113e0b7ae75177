"""Operations of all blocks against the map size, beside the formulas of the paper's table 1."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from ...blocks import BLOCKS, create_block
from ...cost import measure_cost
from ...report.figures import COLOURS, MARKERS, save_figure
from ...transforms.base import Size

FORMULAS: dict[str, tuple[str, Callable[[int, int, int], float]]] = {
    "non-local": ("C H²W²", lambda c, h, w: c * (h * w) ** 2),
    "a2": ("C² H W", lambda c, h, w: c * c * h * w),
    "cgnl": ("C H W (P+1)", lambda c, h, w: c * h * w),
    "rcca": ("C H W (H+W)", lambda c, h, w: c * h * w * (h + w)),
    "srl-lo": ("C H W (H+W)", lambda c, h, w: c * h * w * (h + w)),
    "srl-fft": ("C H W log(HW)", lambda c, h, w: c * h * w * math.log2(h * w)),
}
"""Table 1: the formula in words, and up to a constant as a function of C, H and W."""

_SCALES = (0.25, 0.5, 1.0, 1.5, 2.0)
_SMALLEST = 8


class Growth(NamedTuple):
    """Operations of one block, or of several with the same, at several map sizes.

    ``products`` are those of transforms and matrix products alone, without layers: what table 1
    is about; ``total`` those of the whole block.
    """

    blocks: tuple[str, ...]
    total: tuple[float, ...]
    products: tuple[float, ...]


def measure_growth(channels: int, sizes: Sequence[Size], accounting: str = "paper") -> list[Growth]:
    """Count the operations of all blocks at map sizes (H, W); those with equal ones are together.

    `accounting` is as for `measure_cost`.
    """
    names: dict[tuple[tuple[float, ...], tuple[float, ...]], list[str]] = {}
    for name in BLOCKS:
        total, products = [], []
        for size in sizes:
            with torch.device("meta"):
                block: Any = create_block(name, channels, size)
            total.append(measure_cost(block, (channels, *size), accounting).operations)
            products.append(block.extra_operations((1, channels, *size)))
        names.setdefault((tuple(total), tuple(products)), []).append(name)
    return [Growth(tuple(group), *counted) for counted, group in names.items()]


def draw_growth(channels: int, size: Size, accounting: str, path: Path) -> None:
    """Draw operations against the map size, from a quarter to twice `size`, into a file.

    Parameters
    ----------
    channels : int
        Channels C of the maps.
    size : (int, int)
        Map size (H, W) that is scaled.
    accounting : str
        As for `measure_cost`.
    path : Path
        Picture; its suffix gives the format.

    Raises
    ------
    ValueError
        If the suffix is not that of a picture, or height or width are below 8.
    """
    height, width = size
    if min(size) < _SMALLEST:
        raise ValueError(
            f"a plot from a quarter to twice the size needs maps of at least "
            f"{_SMALLEST}x{_SMALLEST}, got {height}x{width} (H x W)"
        )
    sizes = [(max(1, round(s * height)), max(1, round(s * width))) for s in _SCALES]
    figure = Figure(figsize=(13, 6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for i, growth in enumerate(measure_growth(channels, sizes, accounting)):
        style = {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)]}
        _draw_curve(left, growth.blocks, growth.products, channels, sizes, style)
        _draw_curve(right, growth.blocks, growth.total, channels, sizes, style)
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks([h * w for h, w in sizes], [f"{h}x{w}" for h, w in sizes])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("map size H x W (log scale of positions)")
        axes.grid(visible=True, which="major", alpha=0.25)
    left.set_title("Transforms and matrix products alone")
    right.set_title("Whole block, with its convolutions")
    left.set_ylabel(f"operations, {accounting} accounting (log scale)")
    figure.suptitle(
        f"Blocks for {channels} channels: counted (markers), and table 1's formula "
        f"scaled to the first point (dashed)"
    )
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    save_figure(path, figure)


def _draw_curve(
    axes: Axes,
    blocks: Sequence[str],
    operations: Sequence[float],
    channels: int,
    sizes: Sequence[Size],
    style: dict[str, Any],
) -> None:
    positions = [height * width for height, width in sizes]
    words, formula = next((FORMULAS[b] for b in blocks if b in FORMULAS), ("not in table 1", None))
    label = f"{', '.join(blocks)}:  {words}"
    if formula is None:
        style = {**style, "linestyle": ":", "markersize": 4}
    else:
        style = {**style, "linestyle": "-", "markersize": 7}
        values = [formula(channels, *size) for size in sizes]
        scaled = [value * operations[0] / values[0] for value in values]
        axes.plot(positions, scaled, "--", color=style["color"], linewidth=2.5, alpha=0.45)
    axes.plot(positions, operations, linewidth=1, label=label, **style)
