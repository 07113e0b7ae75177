"""Two-dimensional real Fourier transform, orthonormal, on half of the spectrum.

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
        """(H, W // 2 + 1)."""
        return size[0], size[1] // 2 + 1

    def forward(self, x: Tensor) -> Tensor:
        """Transform (N, C, H, W) to (N, 2, C, H, W // 2 + 1); see `Transform.forward`."""
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
            return inverse(work, size[1]).to(spectrum.dtype)

    @staticmethod
    def resample(weights: Tensor, size: Size, new_size: Size) -> Tensor:
        """Periodic linear interpolation over frequency; see `Transform.resample`.

        The filter is first extended to the whole plane (a real map has the same energy at a
        frequency and at its mirror image), where it is periodic in both axes.
        """
        height, width = size
        mirrored = weights.flip(0).roll(1, 0)
        plane = torch.cat((weights, mirrored[:, 1 : (width + 1) // 2].flip(1)), dim=1)
        rows = linear_resampling(height, new_size[0], periodic=True, like=weights)
        columns = linear_resampling(width, new_size[1], periodic=True, like=weights)
        return rows @ plane @ columns[: new_size[1] // 2 + 1].mT

    def operations(self, channels: int, size: Size) -> float:
        """``C H W log2(H W)``."""
        positions = size[0] * size[1]
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


def _inverse_fft(spectrum: Tensor, width: int) -> Tensor:
    rows = torch.fft.ifft(torch.complex(spectrum[:, 0], spectrum[:, 1]), dim=-2, norm="ortho")
    hermitian = rows.imag * (column_weights(width, spectrum) - 1)
    return torch.fft.irfft(torch.complex(rows.real, hermitian), n=width, dim=-1, norm="ortho")


def _forward_matmul(x: Tensor) -> Tensor:
    cos_h, sin_h = _waves(x.shape[-2], x.shape[-2], x)
    cos_w, sin_w = _waves(x.shape[-1] // 2 + 1, x.shape[-1], x)
    real, imag = x @ cos_w.mT, -(x @ sin_w.mT)
    return torch.stack((cos_h @ real + sin_h @ imag, cos_h @ imag - sin_h @ real), dim=1)


def _inverse_matmul(spectrum: Tensor, width: int) -> Tensor:
    real, imag = spectrum[:, 0], spectrum[:, 1]
    cos_h, sin_h = _waves(spectrum.shape[-2], spectrum.shape[-2], spectrum)
    cos_w, sin_w = _waves(spectrum.shape[-1], width, spectrum)
    weights = column_weights(width, spectrum)[:, None]
    rows_real, rows_imag = cos_h @ real - sin_h @ imag, cos_h @ imag + sin_h @ real
    return rows_real @ (weights * cos_w) - rows_imag @ (weights * sin_w)


def _waves(frequencies: int, n: int, like: Tensor) -> tuple[Tensor, Tensor]:
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
