"""The Fourier transform between sides of hidden maps and planes of a spectrum.

The numbers are those of `FourierTransform`, computed in one of three forms:

``"fft"``
    `torch.fft` on whole maps.
``"separable"``
    Products with cosine and sine matrices over H and over W, on half of the rows.
``"dense"``
    One product with a matrix over all positions, for small maps.

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
from .mirror import add_own_mirrors, fold, transpose_unfold, unfold

FORMS = ("fft", "separable", "dense")

Pair = tuple[Tensor, Tensor]


def to_planes(sides: Pair, height: int, form: str) -> Pair:
    """Real and imaginary parts of the transform.

    Parameters
    ----------
    sides : (Tensor, Tensor)
        Even and odd maps, (N, K, H // 2 + 1, W), float32 or float64.
    height : int
        H.
    form : {"fft", "separable", "dense"}
        See the module.

    Returns
    -------
    (Tensor, Tensor)
        (N, K, H, W // 2 + 1) each: transforms of the sums of both maps.
    """
    if form == "fft":
        real, imag = _ToPlanes.apply(*sides, height, False)
        return real, imag
    even, odd = sides
    size = height, even.shape[3]
    rows = column_weights(height, even)
    if form == "dense":
        cos, sin = _dense_waves(size, even)
        rows = rows.repeat_interleave(size[1])
        planes = even.flatten(2) @ (cos * rows).mT, odd.flatten(2) @ (-sin * rows).mT
    else:
        cos_h, sin_h, cos_w, sin_w = _separable_waves(size, even)
        cos_h, sin_h = cos_h * rows, sin_h * rows
        planes = (
            cos_h @ (even @ cos_w.mT) - sin_h @ (even @ sin_w.mT),
            -(sin_h @ (odd @ cos_w.mT) + cos_h @ (odd @ sin_w.mT)),
        )
    real, imag = (plane.view(*even.shape[:2], height, -1) for plane in planes)
    return real, imag


def to_sides(planes: Pair, width: int, form: str) -> Pair:
    """Sides of the inverse transform.

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
    (Tensor, Tensor)
        (N, K, H // 2 + 1, W) each: the result of `fold`.
    """
    if form == "fft":
        even, odd = _ToSides.apply(*planes, width, False)
        return even, odd
    real, imag = planes
    height = real.shape[2]
    twice = 2 * column_weights(width, real)
    if form == "dense":
        cos, sin = _dense_waves((height, width), real)
        columns = twice.repeat(height)[:, None]
        sides = real.flatten(2) @ (cos * columns), imag.flatten(2) @ (-sin * columns)
    else:
        cos_h, sin_h, cos_w, sin_w = _separable_waves((height, width), real)
        cos_h, sin_h = cos_h.mT, sin_h.mT
        cos_w, sin_w = cos_w * twice[:, None], sin_w * twice[:, None]
        sides = (
            cos_h @ (real @ cos_w) - sin_h @ (real @ sin_w),
            -(sin_h @ (imag @ cos_w) + cos_h @ (imag @ sin_w)),
        )
    even, odd = (side.view(*real.shape[:2], -1, width) for side in sides)
    return even, odd


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
    """`to_planes` by FFT or, if `transposed`, the transpose of `to_sides`."""

    @staticmethod
    def forward(even: Tensor, odd: Tensor, height: int, transposed: bool) -> Pair:
        samples, count, _, width = even.shape
        real = even.new_empty(samples, count, height, width // 2 + 1)
        imag = torch.empty_like(real)
        weights = column_weights(width, even)
        for some in chunks(even, count):
            maps = unfold(even[some], odd[some], height)
            if transposed:
                add_own_mirrors(maps, even[some], odd[some], height)
            spectrum = torch.fft.rfft2(maps, norm="ortho")
            if transposed:
                spectrum *= weights
            real[some], imag[some] = spectrum.real, spectrum.imag
        return real, imag

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Pair) -> None:
        even, _, _, ctx.transposed = inputs
        ctx.width = even.shape[3]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        return *_ToSides.apply(*gradients, ctx.width, not ctx.transposed), None, None


class _ToSides(Function):
    """`to_sides` by FFT or, if `transposed`, the transpose of `to_planes`."""

    @staticmethod
    def forward(real: Tensor, imag: Tensor, width: int, transposed: bool) -> Pair:
        samples, count, height, _ = real.shape
        even = real.new_empty(samples, count, height // 2 + 1, width)
        odd = torch.empty_like(even)
        weights = column_weights(width, real)
        for some in chunks(even, count):
            spectrum = torch.complex(real[some], imag[some])
            if transposed:
                spectrum /= weights
            maps = spectrum_to_maps(spectrum, width)
            even[some], odd[some] = transpose_unfold(maps) if transposed else fold(maps)
        return even, odd

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Pair) -> None:
        real, _, _, ctx.transposed = inputs
        ctx.height = real.shape[2]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        return *_ToPlanes.apply(*gradients, ctx.height, not ctx.transposed), None, None
