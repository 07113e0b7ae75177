"""Learnt filters: W and B of spectral ReLUs over frequency."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn

from ...blocks import SpectralReLU
from ...report.figures import render
from ...transforms import FourierTransform

_MODULES_PER_ROW = 3
_TALLEST_PANEL = 3.0
_SMALLEST_RANGE = 0.01
_PER_PIXEL = "frequency (cycles per pixel)"


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
        Left, right, bottom and top edge, in `unit`; cells are centred on their frequency or index.
    unit : str
        ``"frequency (cycles per pixel)"`` of the feature map, with few frequencies ``"frequency
        (cycles per map)"``; ``"index"`` if the transform is not Fourier's.
    """

    name: str
    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    extent: tuple[float, float, float, float]
    unit: str


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
    edges = [panel.extent for panel in panels]
    tallest = max((bottom - top) / (right - left) for left, right, bottom, top in edges)
    height = 1.1 + 1.15 * min(tallest, _TALLEST_PANEL)
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
    panels: list[FilterPanel] = []
    for path, module in model.named_modules():
        if not isinstance(module, SpectralReLU):
            continue
        name = path or type(module).__name__
        weight, bias = _array(module.weight), _array(module.bias)
        if weight.ndim > len(module.size):  # of every plane: their mean is drawn
            weight, bias = weight.mean(axis=0), bias.mean(axis=0)
        if weight.ndim == 2:
            panels.append(_panel(name, module, weight, bias))
            continue
        frames = len(weight)
        for t in (t if 2 * t < frames else t - frames for t in range(frames)):
            title = f"{name}\n{t}/{frames} cycles per frame"
            panels.append(_panel(title, module, weight[t], bias[t]))
    return panels


def _panel(
    name: str, module: SpectralReLU, weight: NDArray[np.float64], bias: NDArray[np.float64]
) -> FilterPanel:
    fourier = isinstance(module.transform, FourierTransform)
    if fourier:
        weight, bias = np.fft.fftshift(weight, axes=0), np.fft.fftshift(bias, axes=0)
    rows, columns = weight.shape
    if fourier and module.transform.modes is None:
        height, width = module.size[-2:]
        top = -(height // 2 + 0.5) / height
        return FilterPanel(
            name, weight, bias, (-0.5 / width, (width // 2 + 0.5) / width, top + 1, top), _PER_PIXEL
        )
    if fourier:
        extent = (-0.5, columns - 0.5, rows / 2, -rows / 2)
        return FilterPanel(name, weight, bias, extent, "frequency (cycles per map)")
    return FilterPanel(name, weight, bias, (-0.5, columns - 0.5, rows - 0.5, -0.5), "index")


def _array(parameter: Tensor) -> NDArray[np.float64]:
    return parameter.detach().to("cpu", torch.float64).numpy().copy()


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
    if panel.unit == _PER_PIXEL:
        _, right, bottom, top = panel.extent
        quarters = (-0.5, -0.25, 0.0, 0.25, 0.5)
        axes.set_xticks([f for f in quarters if 0 <= f <= right])
        axes.set_yticks([f for f in quarters if top <= f <= bottom])
