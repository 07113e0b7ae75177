"""Operations of all blocks against the map size, beside the formulas of the paper's table 1."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True)
class Growth:
    """Operations of one block, or of several with the same, at several map sizes.

    Attributes
    ----------
    blocks : tuple of str
        Names of the blocks.
    sizes : tuple of (int, int)
        Map sizes (H, W).
    total : tuple of float
        Operations of the whole block at each size.
    products : tuple of float
        Those of its transforms or matrix products alone, without layers: what table 1 is about.
    """

    blocks: tuple[str, ...]
    sizes: tuple[Size, ...]
    total: tuple[float, ...]
    products: tuple[float, ...]


def measure_growth(channels: int, sizes: Sequence[Size], accounting: str = "paper") -> list[Growth]:
    """Count the operations of all blocks at several map sizes.

    Parameters
    ----------
    channels : int
        Channels C of the maps.
    sizes : sequence of (int, int)
        Map sizes (H, W).
    accounting : str
        See `spectral_residual.cost`.

    Returns
    -------
    list of Growth
        Blocks with equal numbers are one entry.
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
    return [Growth(tuple(group), tuple(sizes), *counted) for counted, group in names.items()]


def draw_growth(channels: int, size: Size, accounting: str, path: Path) -> None:
    """Draw operations against the map size, from a quarter to twice `size`, into a file.

    Parameters
    ----------
    channels : int
        Channels C of the maps.
    size : (int, int)
        Map size (H, W) that is scaled.
    accounting : str
        See `spectral_residual.cost`.
    path : Path
        Picture; its suffix gives the format.

    Raises
    ------
    ValueError
        If the suffix is not that of a picture, or height or width are below 8.
    OSError
        If the file cannot be written.
    """
    height, width = size
    if min(size) < _SMALLEST:
        raise ValueError(
            f"a plot from a quarter to twice the size needs maps of at least "
            f"{_SMALLEST}x{_SMALLEST}, got {height}x{width} (H x W)"
        )
    scaled = [(max(1, round(s * height)), max(1, round(s * width))) for s in _SCALES]
    growths = measure_growth(channels, scaled, accounting)
    figure = Figure(figsize=(13, 6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, what in ((left, "products"), (right, "total")):
        for i, growth in enumerate(growths):
            colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
            _draw_curve(axes, growth, getattr(growth, what), channels, colour, marker)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks([h * w for h, w in scaled], [f"{h}x{w}" for h, w in scaled])
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
    growth: Growth,
    operations: Sequence[float],
    channels: int,
    colour: str,
    marker: str,
) -> None:
    positions = [height * width for height, width in growth.sizes]
    named = next((name for name in growth.blocks if name in FORMULAS), None)
    words, formula = FORMULAS.get(named or "", ("not in table 1", None))
    if formula is not None:
        values = [formula(channels, *size) for size in growth.sizes]
        scaled = [value * operations[0] / values[0] for value in values]
        axes.plot(positions, scaled, "--", color=colour, linewidth=2.5, alpha=0.45)
    axes.plot(
        positions,
        operations,
        color=colour,
        marker=marker,
        markersize=7 if named else 4,
        linewidth=1,
        linestyle="-" if named else ":",
        label=f"{', '.join(growth.blocks)}:  {words}",
    )
