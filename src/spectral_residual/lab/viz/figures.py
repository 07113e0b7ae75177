"""Figures of a report, drawn by matplotlib without its global state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from torch import Tensor, nn

from ...blocks import SpectralReLU
from ...report.figures import COLOURS, MARKERS, plain, render
from ...transforms import FourierTransform
from ..demo.summary import RunSummary, check_runs, known

_MARKERS_PER_CURVE = 16
_LEGEND_CHARACTERS = 140
_MODULES_PER_ROW = 3
_TALLEST_PANEL = 3.0
_SMALLEST_RANGE = 0.01


@dataclass(frozen=True, eq=False)
class FilterPanel:
    """The filter of one `SpectralReLU` as it is drawn.

    Attributes
    ----------
    name : str
        Name of the module in its model.
    weight, bias : ndarray
        W and B, (Hs, Ws) float64, the first row drawn on top, the first column on the left. For
        the Fourier transform the rows are in rising order of frequency: zero is in row H // 2.
    extent : (float, float, float, float)
        Left, right, bottom and top edge: cycles per pixel of the feature map for the Fourier
        transform, per map for its lowest frequencies alone, otherwise indices. Cells are centred on
        their frequency or index, and the vertical axis points down as in the map itself.
    fourier : bool
        Whether the frequencies are those of the whole Fourier transform.
    unit : str
        What the axes count.
    """

    name: str
    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    extent: tuple[float, float, float, float]
    fourier: bool
    unit: str


def loss_figure(runs: Sequence[RunSummary]) -> bytes:
    """Draw training loss (logarithmic) and validation AP, side by side.

    Parameters
    ----------
    runs : sequence of RunSummary
        One curve each; a curve without points is left out.

    Returns
    -------
    bytes
        PNG.

    Raises
    ------
    ValueError
        If there are no runs, or two of one name.
    """
    check_runs(runs)
    figure = Figure(figsize=(13, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    losses = [[(x, y if y > 0 else math.nan) for x, y in run.losses] for run in runs]
    _draw_curves(left, losses)
    left.set_yscale("log")
    _label(left, "Training loss", "epoch or step", "training loss (log scale)")
    _draw_curves(right, [[(x, 100 * known(y)) for x, y in run.validation] for run in runs])
    _label(right, "Validation AP", "epoch", "AP (%)")
    longest = max(len(run.name) for run in runs)
    legend = figure.legend(
        left.get_lines(),
        ["run"] * len(runs),
        loc="outside lower center",
        frameon=False,
        ncols=max(1, min(len(runs), _LEGEND_CHARACTERS // (longest + 9))),
        fontsize=11,
    )
    for text, run in zip(legend.get_texts(), runs, strict=True):
        text.set_parse_math(False)
        text.set_text(run.name)
    return render(figure)


def filter_figure(model: nn.Module) -> bytes | None:
    """Draw W and B over frequency for every spectral ReLU of a network.

    Colours diverge from 1 for W and from 0 for B, each panel with a scale of its own; values
    that are not finite are grey.

    Parameters
    ----------
    model : nn.Module
        Any network; it is not changed.

    Returns
    -------
    bytes or None
        PNG, or None if the network has no `SpectralReLU`.
    """
    panels = filter_panels(model)
    if not panels:
        return None
    columns = min(len(panels), _MODULES_PER_ROW)
    rows = -(-len(panels) // columns)
    height = 1.1 + 1.15 * min(max(map(_height_to_width, panels)), _TALLEST_PANEL)
    figure = Figure(figsize=(4.5 * columns, height * rows), layout="constrained")
    grid = figure.subfigures(rows, columns, squeeze=False)
    for panel, part in zip(panels, grid.flat, strict=False):
        part.suptitle(panel.name, fontsize=12, parse_math=False)
        part.supxlabel(f"horizontal {panel.unit}", fontsize=10)
        part.supylabel(f"vertical {panel.unit}", fontsize=10)
        left, right = part.subplots(1, 2)
        _draw_filter(left, panel, panel.weight, "weight W", 1.0)
        _draw_filter(right, panel, panel.bias, "bias B", 0.0)
    return render(figure)


def filter_panels(model: nn.Module) -> list[FilterPanel]:
    """Arrange W and B of every `SpectralReLU` of a network for drawing.

    Parameters
    ----------
    model : nn.Module
        Any network; it is not changed.

    Returns
    -------
    list of FilterPanel
        In the order of ``model.named_modules()``; a filter over (T, H, W) has one for every
        temporal frequency.
    """
    panels = []
    for name, module in model.named_modules():
        if isinstance(module, SpectralReLU):
            panels += _module_panels(name or type(module).__name__, module)
    return panels


def _module_panels(name: str, module: SpectralReLU) -> list[FilterPanel]:
    """One panel, or one for every temporal frequency of a filter over (T, H, W)."""
    weight, bias = _array(module.weight), _array(module.bias)
    if weight.ndim > len(module.size):  # of every plane: their mean is drawn
        weight, bias = weight.mean(axis=0), bias.mean(axis=0)
    if weight.ndim == 2:
        return [_panel(name, module, weight, bias)]
    frames = len(weight)
    signed = [t if 2 * t < frames else t - frames for t in range(frames)]
    return [
        _panel(f"{name}\n{t}/{frames} cycles per frame", module, weight[t], bias[t]) for t in signed
    ]


def _panel(
    name: str, module: SpectralReLU, weight: NDArray[np.float64], bias: NDArray[np.float64]
) -> FilterPanel:
    transform = module.transform
    lowest = transform.modes is not None and isinstance(transform, FourierTransform)
    fourier = transform.modes is None and isinstance(transform, FourierTransform)
    if fourier or lowest:
        weight, bias = np.fft.fftshift(weight, axes=0), np.fft.fftshift(bias, axes=0)
    rows, columns = weight.shape
    if fourier:
        height, width = module.size[-2:]
        top = -(height // 2 + 0.5) / height
        extent = (-0.5 / width, (width // 2 + 0.5) / width, top + 1, top)
        unit = "frequency (cycles per pixel)"
    elif lowest:
        extent = (-0.5, columns - 0.5, rows / 2, -rows / 2)
        unit = "frequency (cycles per map)"
    else:
        extent = (-0.5, columns - 0.5, rows - 0.5, -0.5)
        unit = "index"
    return FilterPanel(name, weight, bias, extent, fourier, unit)


def _array(parameter: Tensor) -> NDArray[np.float64]:
    return parameter.detach().to("cpu", torch.float64).numpy().copy()


def _height_to_width(panel: FilterPanel) -> float:
    left, right, bottom, top = panel.extent
    return (bottom - top) / (right - left)


def _draw_curves(axes: Axes, curves: Sequence[Sequence[tuple[float, float]]]) -> None:
    """Draw one line per curve, also for empty ones, so that the legend can list all."""
    for index, curve in enumerate(curves):
        points = np.asarray(curve, dtype=np.float64).reshape(-1, 2)
        points[~np.isfinite(points[:, 1]), 1] = np.nan
        axes.plot(
            points[:, 0],
            points[:, 1],
            color=COLOURS[index % len(COLOURS)],
            marker=MARKERS[index % len(MARKERS)],
            markevery=-(-len(points) // _MARKERS_PER_CURVE) or 1,
            markersize=5,
            linewidth=1.8,
        )
    if not any(np.isfinite(line.get_ydata()).any() for line in axes.get_lines()):
        axes.text(0.5, 0.5, "not recorded", transform=axes.transAxes, ha="center", fontsize=11)
        axes.tick_params(which="both", length=0, labelbottom=False, labelleft=False)


def _label(axes: Axes, title: str, horizontal: str, vertical: str) -> None:
    axes.set_title(title, fontsize=13, loc="left")
    axes.set_xlabel(horizontal, fontsize=11)
    axes.set_ylabel(vertical, fontsize=11)
    axes.xaxis.set_major_locator(
        MaxNLocator(nbins=8, integer=True, steps=(1, 2, 5, 10), min_n_ticks=1)
    )
    axes.tick_params(labelsize=10)
    plain(axes)


def _draw_filter(
    axes: Axes, panel: FilterPanel, values: NDArray[np.float64], title: str, centre: float
) -> None:
    finite = values[np.isfinite(values)]
    reach = np.abs(finite - centre).max(initial=_SMALLEST_RANGE)
    image = axes.imshow(
        values,
        cmap=colormaps["RdBu_r"].with_extremes(bad="#808080"),
        vmin=centre - reach,
        vmax=centre + reach,
        extent=panel.extent,
        interpolation="nearest",
    )
    bar = axes.inset_axes((1.06, 0, 0.07, 1))
    axes.figure.colorbar(image, cax=bar)
    bar.tick_params(labelsize=9)
    axes.set_title(title, fontsize=11)
    axes.tick_params(labelsize=9)
    if panel.fourier:
        _, right, bottom, top = panel.extent
        quarters = (-0.5, -0.25, 0.0, 0.25, 0.5)
        axes.set_xticks([f for f in quarters if 0 <= f <= right])
        axes.set_yticks([f for f in quarters if top <= f <= bottom])
