"""Two-dimensional real Fourier transform, orthonormal, on half of the spectrum.

`fourier_volume` has the three-dimensional one.

Two forms of the same numbers: `torch.fft`, and products with cosine and sine matrices, in real
arithmetic only. The inverse of a half spectrum that is not Hermitian is defined here, not left
to the FFT library: it is the real part of the inverse of the whole plane, whose other half
mirrors the stored columns and whose columns 0 and W/2 are taken as they are.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import unknown_name
from .base import Size, Transform, computing_dtype, full_precision, linear_resampling

METHODS = ("fft", "matmul")


class FourierTransform(Transform):
    """Real FFT of maps of any size: columns 0 to W // 2 of the spectrum, real and imaginary.

    Parameters
    ----------
    method : {"fft", "matmul"}
        ``"fft"`` calls `torch.fft`; ``"matmul"`` multiplies by cosine and sine matrices, which
        needs no complex tensors. Both give the same numbers up to rounding.
    """

    parts = 2
    default_groups = 8

    def __init__(self, method: str = "fft") -> None:
        super().__init__()
        if method not in METHODS:
            raise unknown_name("method of the Fourier transform", method, METHODS)
        self.method = method

    def spectral_size(self, size: Size) -> Size:
        """The last axis cut to half: (H, W // 2 + 1)."""
        return (*size[:-1], size[-1] // 2 + 1)

    def forward(self, x: Tensor) -> Tensor:
        """Transform (N, C, H, W) to (N, 2, C, H, W // 2 + 1); see `Transform.forward`.

        Axes between C and H are kept, as C is.
        """
        with full_precision(x.device):
            work = x.to(computing_dtype(x))
            if self.method == "fft":
                spectrum = torch.fft.rfft2(work, norm="ortho")
                parts = torch.stack((spectrum.real, spectrum.imag), dim=1)
            else:
                parts = _forward_matmul(work)
            return parts.to(x.dtype)

    def inverse(self, spectrum: Tensor, size: Size) -> Tensor:
        """Transform (N, 2, C, H, W // 2 + 1) back; see `Transform.inverse` and the module."""
        with full_precision(spectrum.device):
            work = spectrum.to(computing_dtype(spectrum))
            inverse = _inverse_fft if self.method == "fft" else _inverse_matmul
            return inverse(work, size[-1]).to(spectrum.dtype)

    @staticmethod
    def resample(weights: Tensor, size: Size, new_size: Size) -> Tensor:
        """Periodic linear interpolation over frequency; see `Transform.resample`.

        The filter is first extended to the whole plane, or volume (a real map has the same
        energy at a frequency and at its mirror image), where it is periodic in all axes.
        """
        *others, last = range(len(size))
        mirrored = weights.flip(others).roll([1] * len(others), others)
        half = mirrored[..., 1 : (size[last] + 1) // 2].flip(last)
        whole = torch.cat((weights, half), dim=last)
        for axis, (n, m) in enumerate(zip(size, new_size, strict=True)):
            matrix = linear_resampling(n, m, periodic=True, like=weights)
            if axis == last:
                matrix = matrix[: m // 2 + 1]
            whole = (whole.movedim(axis, -1) @ matrix.mT).movedim(-1, axis)
        return whole

    def operations(self, channels: int, size: Size) -> float:
        """``C P log2(P)`` with P positions, H * W."""
        positions = math.prod(size)
        return channels * positions * math.log2(positions)

    def extra_repr(self) -> str:
        """How it is computed."""
        return f"method={self.method!r}"


def column_weights(width: int, like: Tensor) -> Tensor:
    """How often each stored column stands in the whole plane, (W // 2 + 1,): once or twice.

    Columns 0 and, for even W, W / 2 are their own mirror images. With these weights the stored
    half has the norm and inner product of the whole plane.
    """
    columns = torch.arange(width // 2 + 1, device=like.device)
    own_mirror = (columns == 0) | (2 * columns == width)
    return torch.where(own_mirror, 1.0, 2.0).to(like.dtype)


def inverse_over_width(rows: Tensor, width: int) -> Tensor:
    """Real inverse over the last axis, when the inverse over all others is done.

    Parameters
    ----------
    rows : Tensor
        (..., W // 2 + 1), complex; imaginary parts of columns that are their own mirror images
        have no part in a real map and are set to 0, in place.
    width : int
        W.

    Returns
    -------
    Tensor
        (..., W), real.
    """
    own_mirrors = slice(None, None, width if width % 2 else width // 2)
    torch.view_as_real(rows)[..., own_mirrors, 1].zero_()
    return torch.fft.irfft(rows, n=width, dim=-1, norm="ortho")


def inverse_half_spectrum(spectrum: Tensor, width: int) -> Tensor:
    """Real inverse of complex spectra (..., H, W // 2 + 1), any values; W is `width`."""
    return inverse_over_width(torch.fft.ifft(spectrum, dim=-2, norm="ortho"), width)


def _inverse_fft(spectrum: Tensor, width: int) -> Tensor:
    return inverse_half_spectrum(torch.complex(spectrum[:, 0], spectrum[:, 1]), width)


def _forward_matmul(x: Tensor) -> Tensor:
    cos_h, sin_h = waves(x.shape[-2], x.shape[-2], x)
    cos_w, sin_w = waves(x.shape[-1] // 2 + 1, x.shape[-1], x)
    real, imag = x @ cos_w.mT, -(x @ sin_w.mT)
    return torch.stack((cos_h @ real + sin_h @ imag, cos_h @ imag - sin_h @ real), dim=1)


def _inverse_matmul(spectrum: Tensor, width: int) -> Tensor:
    real, imag = spectrum[:, 0], spectrum[:, 1]
    cos_h, sin_h = waves(spectrum.shape[-2], spectrum.shape[-2], spectrum)
    cos_w, sin_w = waves(spectrum.shape[-1], width, spectrum)
    weights = column_weights(width, spectrum)[:, None]
    rows_real, rows_imag = cos_h @ real - sin_h @ imag, cos_h @ imag + sin_h @ real
    return rows_real @ (weights * cos_w) - rows_imag @ (weights * sin_w)


def waves(frequencies: int, n: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of ``2 pi k j / n`` over sqrt(n), both (frequencies, n).

    The sine is exactly 0 at multiples of half a turn.
    """
    k = torch.arange(frequencies, device=like.device)[:, None]
    j = torch.arange(n, device=like.device)[None, :]
    turns = (k * j) % n
    angle = turns.double() * (2 * math.pi / n)
    sine = torch.where(2 * turns % n == 0, 0.0, torch.sin(angle))
    scale = 1 / math.sqrt(n)
    return (torch.cos(angle) * scale).to(like.dtype), (sine * scale).to(like.dtype)
