"""The Fourier transform between hidden maps and planes of a spectrum.

The numbers are those of `FourierTransform`, computed in one of three forms:

``"fft"``
    `torch.fft`.
``"separable"``
    Products with cosine and sine matrices over H and over W, on the sides of the maps.
``"dense"``
    One product for each side with a matrix over its positions, for small maps.

The inverse of the transform multiplies columns by `column_weights` and applies the transposed
transform. So each direction is, up to weights, the derivative of the other, which spares the
transform of a padded plane that autograd would do.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from ..transforms.base import Size
from ..transforms.fourier import column_weights, waves
from .grouped import chunks
from .mirror import fold, unfold

FORMS = ("fft", "separable", "dense")

Pair = tuple[Tensor, Tensor]


def to_planes(maps: Tensor, form: str) -> Pair:
    """Real and imaginary parts of the transform.

    Parameters
    ----------
    maps : Tensor
        (N, K, H, W), float32 or float64.
    form : {"fft", "separable", "dense"}
        See the module.

    Returns
    -------
    (Tensor, Tensor)
        (N, K, H, W // 2 + 1) each.
    """
    if form == "fft":
        real, imag = _ToPlanes.apply(maps, False)
        return real, imag
    even, odd = fold(maps)
    size = height, width = maps.shape[2], maps.shape[3]
    # Every row stands for its mirror image too, and a side is twice the part of the map.
    rows = column_weights(height, maps) / 2
    if form == "dense":
        cos, sin = _dense_waves(size, maps)
        rows = rows.repeat_interleave(width)
        planes = even.flatten(2) @ (cos * rows).mT, odd.flatten(2) @ (-sin * rows).mT
    else:
        cos_h, sin_h, cos_w, sin_w = _separable_waves(size, maps)
        cos_h, sin_h = cos_h * rows, sin_h * rows
        planes = (
            cos_h @ (even @ cos_w.mT) - sin_h @ (even @ sin_w.mT),
            -(sin_h @ (odd @ cos_w.mT) + cos_h @ (odd @ sin_w.mT)),
        )
    real, imag = (plane.view(*maps.shape[:3], -1) for plane in planes)
    return real, imag


def to_maps(planes: Pair, width: int, form: str) -> Tensor:
    """Inverse transform.

    Parameters
    ----------
    planes : (Tensor, Tensor)
        Real and imaginary parts, (N, K, H, W // 2 + 1), float32 or float64.
    width : int
        W.
    form : {"fft", "separable", "dense"}
        See the module.

    Returns
    -------
    Tensor
        (N, K, H, W).
    """
    if form == "fft":
        maps: Tensor = _ToMaps.apply(*planes, width, False)
        return maps
    real, imag = planes
    height = real.shape[2]
    columns = column_weights(width, real)
    if form == "dense":
        cos, sin = _dense_waves((height, width), real)
        columns = columns.repeat(height)[:, None]
        sides = real.flatten(2) @ (cos * columns), imag.flatten(2) @ (-sin * columns)
    else:
        cos_h, sin_h, cos_w, sin_w = _separable_waves((height, width), real)
        cos_h, sin_h = cos_h.mT, sin_h.mT
        cos_w, sin_w = cos_w * columns[:, None], sin_w * columns[:, None]
        sides = (
            cos_h @ (real @ cos_w) - sin_h @ (real @ sin_w),
            -(sin_h @ (imag @ cos_w) + cos_h @ (imag @ sin_w)),
        )
    even, odd = (side.view(*real.shape[:2], -1, width) for side in sides)
    return unfold(even, odd, height)


def spectrum_to_maps(spectrum: Tensor, width: int) -> Tensor:
    """Inverse transform of a complex half spectrum, without gradients.

    Parameters
    ----------
    spectrum : Tensor
        (N, K, H, W // 2 + 1), complex.
    width : int
        W.

    Returns
    -------
    Tensor
        (N, K, H, W).
    """
    rows = torch.fft.ifft(spectrum, dim=-2, norm="ortho")
    parts = torch.view_as_real(rows)
    parts[..., 0, 1] = 0
    if width % 2 == 0:
        parts[..., -1, 1] = 0
    return torch.fft.irfft(rows, n=width, norm="ortho")


def of_constants(size: Size, like: Tensor) -> Tensor:
    """First rows of the inverse transforms of the constant spectra 1 and i; other rows are 0.

    Parameters
    ----------
    size : (int, int)
        (H, W).
    like : Tensor
        Gives device and dtype.

    Returns
    -------
    Tensor
        (2, 1, W).
    """
    height, width = size
    _, sines = waves(width // 2 + 1, width, like)
    rows = torch.stack((torch.zeros_like(sines[0]), sines.sum(0) * (-2 * math.sqrt(height))))
    rows[0, 0] = math.sqrt(height * width)
    return rows[:, None]


def _separable_waves(size: Size, like: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Cosines and sines over rows, (H, H // 2 + 1), and over columns, (W // 2 + 1, W)."""
    height, width = size
    cos_h, sin_h = (wave[:, : height // 2 + 1] for wave in waves(height, height, like))
    return cos_h, sin_h, *waves(width // 2 + 1, width, like)


def _dense_waves(size: Size, like: Tensor) -> Pair:
    """Cosines and sines of two-dimensional waves, (frequencies, positions on half of the rows)."""
    cos_h, sin_h, cos_w, sin_w = _separable_waves(size, like)
    cos = torch.kron(cos_h, cos_w) - torch.kron(sin_h, sin_w)
    sin = torch.kron(sin_h, cos_w) + torch.kron(cos_h, sin_w)
    return cos, sin


class _ToPlanes(Function):
    """`to_planes` by FFT or, if `transposed`, the transpose of `to_maps`."""

    @staticmethod
    def forward(maps: Tensor, transposed: bool) -> Pair:
        samples, count, height, width = maps.shape
        real = maps.new_empty(samples, count, height, width // 2 + 1)
        imag = torch.empty_like(real)
        weights = column_weights(width, maps)
        for some in chunks(maps, count):
            spectrum = torch.fft.rfft2(maps[some], norm="ortho")
            for part, target in ((spectrum.real, real[some]), (spectrum.imag, imag[some])):
                if transposed:
                    torch.mul(part, weights, out=target)
                else:
                    target.copy_(part)
        return real, imag

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Pair) -> None:
        maps, ctx.transposed = inputs
        ctx.width = maps.shape[3]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _ToMaps.apply(*gradients, ctx.width, not ctx.transposed), None


class _ToMaps(Function):
    """`to_maps` by FFT or, if `transposed`, the transpose of `to_planes`."""

    @staticmethod
    def forward(real: Tensor, imag: Tensor, width: int, transposed: bool) -> Tensor:
        samples, count, height, _ = real.shape
        maps = real.new_empty(samples, count, height, width)
        weights = 1 / column_weights(width, real)
        for some in chunks(maps, count):
            if transposed:
                spectrum = torch.complex(real[some] * weights, imag[some] * weights)
            else:
                spectrum = torch.complex(real[some], imag[some])
            maps[some] = spectrum_to_maps(spectrum, width)
        return maps

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, _, _, ctx.transposed = inputs

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        return *_ToPlanes.apply(gradient, not ctx.transposed), None, None
