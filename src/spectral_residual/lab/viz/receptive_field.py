"""The effective receptive field: which input pixels an output really depends on.

After Luo, Li, Urtasun, Zemel, "Understanding the Effective Receptive Field in Deep Convolutional
Neural Networks", NeurIPS 2016.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from torch import Tensor, nn

from ...report.figures import render

_LEAST = 1e-4
_COLUMNS = 4
_BATCH = 8


@dataclass(frozen=True, eq=False)
class ReceptiveField:
    """Gradient of one position of a map over the input pixels.

    Attributes
    ----------
    absolute : ndarray
        (H, W) float64: absolute gradient, summed over the colours, mean over the images.
    energy : ndarray
        (H, W) float64: squared gradient, summed over the colours, mean over the images.
    """

    absolute: NDArray[np.float64]
    energy: NDArray[np.float64]

    def shares(self) -> dict[str, float]:
        """Shares outside the central 25 % of the image, of energy and of absolute gradient."""
        return {
            "energy_outside": _share_outside(self.energy),
            "absolute_outside": _share_outside(self.absolute),
        }


def effective_receptive_field(
    model: nn.Module,
    images: Tensor,
    layer: str | None = None,
    at: tuple[int, int] | None = None,
) -> ReceptiveField:
    """Gradient of the sum of all channels at one position of a map, over the input.

    Parameters
    ----------
    model : nn.Module
        Network for images, used in evaluation mode; neither its weights nor its mode change.
    images : Tensor
        Its input, (N, 3, H, W).
    layer : str, optional
        Module whose output is looked at, as in ``model.named_modules()``; by default the
        network's output. It must be a map (N, C, h, w).
    at : (int, int), optional
        Row and column in that map; by default its centre (h // 2, w // 2).

    Returns
    -------
    ReceptiveField
        Means over the images.

    Raises
    ------
    ValueError
        If there are no images, what is looked at is no map, or the position is outside of it.
    """
    if images.dim() != 4 or len(images) == 0:
        raise ValueError(f"expected images of shape (N, 3, H, W), got {tuple(images.shape)}")
    seen: list[object] = []
    watched = model if layer is None else model.get_submodule(layer)
    handle = watched.register_forward_hook(lambda module, args, output: seen.append(output))
    was_training = model.training
    model.eval()
    absolute = torch.zeros(images.shape[2:], dtype=torch.float64)
    energy = torch.zeros_like(absolute)
    try:
        with torch.enable_grad():
            for batch in images.split(_BATCH):
                pixels = batch.detach().clone().requires_grad_()
                seen.clear()
                model(pixels)
                (gradient,) = torch.autograd.grad(_position(seen, layer, at), pixels)
                gradient = gradient.double().cpu()
                absolute += gradient.abs().sum(dim=(0, 1))
                energy += gradient.square().sum(dim=(0, 1))
    finally:
        handle.remove()
        model.train(was_training)
    return ReceptiveField((absolute / len(images)).numpy(), (energy / len(images)).numpy())


def receptive_field_figure(fields: Mapping[str, ReceptiveField]) -> bytes:
    """Draw receptive fields side by side, each relative to its greatest value, logarithmically.

    Parameters
    ----------
    fields : mapping
        Receptive fields by the names to be shown.

    Returns
    -------
    bytes
        PNG. The frame marks the central 25 % of the image.
    """
    if not fields:
        raise ValueError("expected at least one receptive field")
    height, width = next(iter(fields.values())).absolute.shape
    columns = min(len(fields), _COLUMNS)
    rows = -(-len(fields) // columns)
    inches = (0.8 + 3 * columns, 0.4 + rows * (0.6 + 2.7 * height / width))
    figure = Figure(figsize=inches, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(fields) :]:
        axes.set_axis_off()
    for axes, (name, field) in zip(panels, fields.items(), strict=False):
        relative = field.absolute / max(field.absolute.max(), np.finfo(np.float64).tiny)
        image = axes.imshow(
            np.log10(np.maximum(relative, _LEAST)), vmin=np.log10(_LEAST), vmax=0, cmap="magma"
        )
        top, left, bottom, right = _central(field.absolute.shape)
        frame = Rectangle((left - 0.5, top - 0.5), right - left, bottom - top)
        frame.set(fill=False, edgecolor="white", linestyle="--")
        axes.add_patch(frame)
        axes.set_title(name, fontsize=12, parse_math=False)
        axes.set_xlabel(f"outside: {100 * _share_outside(field.energy):.1f} % of the energy")
        axes.set_xticks([])
        axes.set_yticks([])
    bar = figure.colorbar(image, ax=list(panels), shrink=0.8)
    bar.set_label("gradient / greatest, log10")
    return render(figure)


def _position(seen: list[object], layer: str | None, at: tuple[int, int] | None) -> Tensor:
    name = "the network" if layer is None else f"module {layer!r}"
    if len(seen) != 1:
        raise ValueError(f"{name} must be called once for an input, got {len(seen)} calls")
    (maps,) = seen
    if not isinstance(maps, Tensor) or maps.dim() != 4:
        shape = tuple(maps.shape) if isinstance(maps, Tensor) else type(maps).__name__
        raise ValueError(f"the output of {name} must be a map (N, C, h, w), got {shape}")
    height, width = maps.shape[2:]
    row, column = (height // 2, width // 2) if at is None else at
    if not (0 <= row < height and 0 <= column < width):
        raise ValueError(f"at: got {at}, expected a row and column of a map of {height}x{width}")
    return maps[:, :, row, column].sum()


def _central(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Top, left, bottom, right of the central half of each side."""
    height, width = shape
    top, left = round(height / 4), round(width / 4)
    return top, left, height - top, width - left


def _share_outside(values: NDArray[np.float64]) -> float:
    top, left, bottom, right = _central(values.shape)
    total = values.sum()
    return float(1 - values[top:bottom, left:right].sum() / total) if total > 0 else float("nan")
