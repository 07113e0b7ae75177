"""Real Fourier transform of maps and volumes, orthonormal, on half of the spectrum.

Two forms of the same numbers: `torch.fft`, and products with cosine and sine rows, in real
arithmetic only, which is also how the lowest frequencies alone are computed. The inverse of a half
spectrum that is not Hermitian is defined here, not left to the FFT library: it is the real part of
the inverse of the whole plane, whose other half mirrors the stored columns and whose columns 0 and
W/2 are taken as they are.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import unknown_name
from .base import Factors, Modes, Size, Transform, full_precision
from .bases import constant, cosines_and_sines, interpolate, waves

METHODS = ("fft", "matmul")


class FourierTransform(Transform):
    """Real Fourier transform of maps (H, W): columns 0 to W // 2, real and imaginary parts.

    With modes, odd numbers m = 2 r + 1, the frequencies -r to r of an axis, in cycles per map, and
    no others: rows 0 to r and then -r to -1, columns 0 to r. The inverse is then that of a plane
    which is 0 at all other frequencies.

    Parameters
    ----------
    method : {"fft", "matmul"}
        ``"fft"`` calls `torch.fft`; ``"matmul"`` multiplies by cosine and sine rows, which needs
        no complex tensors. Both give the same numbers up to rounding. Compiled, exported and traced
        graphs always have ``"matmul"``, and so has a transform with modes.
    modes, size
        See `Transform`.

    Raises
    ------
    ValueError
        If a number of modes is even.
    """

    parts = 2
    default_groups = 8

    def __init__(self, method: str = "fft", modes: Modes = None, size: Size | None = None) -> None:
        super().__init__(modes, size)
        if method not in METHODS:
            raise unknown_name("method of the Fourier transform", method, METHODS)
        self.method = method if self.modes is None else "matmul"
        for m in self.modes or ():
            if m is not None and m % 2 == 0:
                raise ValueError(
                    "modes of the Fourier transform must be odd, as frequencies come in pairs -k "
                    f"and k: expected {m - 1} or {m + 1}, got {m}"
                )

    def stored(self, rows: Size) -> Size:
        """The last axis cut to half: (rows, columns // 2 + 1)."""
        return (*rows[:-1], rows[-1] // 2 + 1)

    def forward(self, x: Tensor) -> Tensor:
        """Transform (N, C, H, W) to (N, 2, C, Hs, Ws); see `Transform.forward`."""
        if not self._uses_fft() or not x.shape[0]:
            return super().forward(x)
        with full_precision(x.device):
            axes = tuple(range(x.dim() - self.axes, x.dim()))
            spectrum = torch.fft.rfftn(x.to(self._dtype(x)), dim=axes, norm="ortho")
            return torch.stack((spectrum.real, spectrum.imag), dim=1).to(x.dtype)

    def inverse(self, spectrum: Tensor, size: Size) -> Tensor:
        """Transform (N, 2, C, Hs, Ws) back; see `Transform.inverse` and the module."""
        if not self._uses_fft() or not spectrum.shape[0]:
            return super().inverse(spectrum, size)
        with full_precision(spectrum.device):
            whole = torch.complex(*spectrum.to(self._dtype(spectrum)).unbind(1))
            others = tuple(range(whole.dim() - self.axes, whole.dim() - 1))
            rows = torch.fft.ifftn(whole, dim=others, norm="ortho")
            return inverse_over_width(rows, size[-1]).to(spectrum.dtype)

    def fork(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """A map and its spectrum; see `Transform.fork`."""
        return (x, self(x)) if self._uses_fft() else super().fork(x)

    def add_inverse(self, x: Tensor, spectrum: Tensor) -> Tensor:
        """Add the inverse of (N, 2, C, Hs, Ws) to (N, C, H, W); see `Transform.add_inverse`."""
        if not self._uses_fft():
            return super().add_inverse(x, spectrum)
        return x + self.inverse(spectrum, tuple(x.shape[2:])).to(x.dtype)

    def _uses_fft(self) -> bool:
        """Compilers and exporters, which do not know complex numbers, get products."""
        return self.method == "fft" and not (
            torch.compiler.is_compiling() or torch.jit.is_tracing()
        )

    def factors(self, size: Size, like: Tensor, *, back: bool = False) -> Factors:
        """Cosine and sine rows for the last axis, then for the others; see `Transform.factors`.

        Where few rows of height are kept, they are taken first, as cosines and sines of the real
        map, and its matrix in the order of axes pairs these to frequencies.
        """
        rows = self.row_builder(size, like, back)
        kept, last = self.spectral_size(size), self.axes - 1
        few = self.modes is not None and self.modes[last - 1] is not None
        factors = [(rows(last - 1, cosines_and_sines), size[last])] if few else []
        factors.append((rows(last, _half_back if back else _half), 1))
        for axis in reversed(range(last)):
            pairs = few and axis == last - 1
            matrix = constant(_pairs, like, kept[axis]) if pairs else rows(axis, _whole)
            factors.append((matrix, math.prod(kept[axis + 1 :])))
        return factors

    def resample(self, weights: Tensor, size: Size, new_size: Size) -> Tensor:
        """Periodic linear interpolation over frequency; see `Transform.resample`.

        The filter is first extended to the whole plane, or volume (a real map has the same
        energy at a frequency and at its mirror image), where it is periodic in all axes.
        """
        if self.modes is None:
            return _resample_whole(weights, size, new_size)
        for axis, (n, new, m) in enumerate(zip(size, new_size, self.modes, strict=True)):
            position = axis - self.axes
            if m is None:
                weights = _resample_mirrored(weights, position, n, new, axis == self.axes - 1)
            elif new < m:
                kept = [weights.narrow(position, 0, new // 2 + 1)]
                if axis < self.axes - 1:
                    behind = (new - 1) // 2
                    kept.append(weights.narrow(position, m - behind, behind))
                weights = torch.cat(kept, dim=position)
        return weights

    def operations(self, channels: int, size: Size) -> float:
        """``C P log2(P)`` with P positions, H * W; with modes see `Transform.operations`.

        Where an FFT of everything would take less than the products, its operations.
        """
        positions = math.prod(size)
        whole = channels * positions * math.log2(positions)
        return whole if self.modes is None else min(whole, super().operations(channels, size))

    def extra_repr(self) -> str:
        """How it is computed, and modes."""
        return ", ".join(filter(None, (f"method={self.method!r}", super().extra_repr())))


class FourierVolume(FourierTransform):
    """`FourierTransform` of volumes (T, H, W), over all three axes.

    The spectrum has the size (T, H, W // 2 + 1). A frequency is a pattern that moves one way; the
    pattern that moves the other way is another frequency.

    Parameters
    ----------
    method, modes, size
        As for `FourierTransform`; one number of modes keeps all of time.
    """

    axes = 3


def _half(n: int, m: int) -> Tensor:
    """Real and imaginary parts of frequencies 0 to m // 2 of a real axis, (2 (m // 2 + 1), n)."""
    cosine, sine = waves(m // 2 + 1, n)
    return torch.cat((cosine, -sine))


def _half_back(n: int, m: int) -> Tensor:
    """Rows of `_half` as often as the frequency stands in the whole plane."""
    rows = _half(n, m)
    return rows * column_weights(n, rows)[: m // 2 + 1].repeat(2)[:, None]


def _whole(n: int, m: int) -> Tensor:
    """The m lowest frequencies of a complex axis, (2 m, 2 n); see `Transform.factors`."""
    return _complex_rows(*waves(m // 2 + 1, n), m)


def _pairs(m: int) -> Tensor:
    """Frequencies of a complex axis from its m cosine and sine rows, (2 m, 2 m)."""
    rows = torch.eye(m, dtype=torch.float64)
    pairs = (m - 1) // 2
    sine = torch.zeros(m // 2 + 1, m, dtype=torch.float64)
    sine[1 : pairs + 1] = rows[m - pairs :]
    return _complex_rows(rows[: m // 2 + 1], sine, m)


def _complex_rows(cosine: Tensor, sine: Tensor, m: int) -> Tensor:
    """Rows for frequencies 0, 1, .. -2, -1 from those of cosines and sines of 0 to m // 2."""
    negative = slice(1, (m + 1) // 2)
    cosine = torch.cat((cosine, cosine[negative].flip(0)))
    sine = torch.cat((sine, -sine[negative].flip(0)))
    real, imaginary = torch.stack((cosine, sine), -1), torch.stack((-sine, cosine), -1)
    return torch.cat((real, imaginary)).flatten(1)


def _resample_whole(weights: Tensor, size: Size, new_size: Size) -> Tensor:
    if size == new_size:
        return weights
    *others, last = range(-len(size), 0)
    mirrored = weights.flip(others).roll([1] * len(others), others)
    half = mirrored[..., 1 : (size[last] + 1) // 2].flip(last)
    whole = torch.cat((weights, half), dim=last)
    for axis, m in zip((*others, last), new_size, strict=True):
        keep = m // 2 + 1 if axis == last else None
        whole = interpolate(whole, axis, m, periodic=True, keep=keep)
    return whole


def _resample_mirrored(weights: Tensor, position: int, n: int, new: int, last: bool) -> Tensor:
    """Interpolation over one axis of which all is kept, beside others of which a part is."""
    if n == new:
        return weights
    if last:
        half = weights.narrow(position, 1, (n + 1) // 2 - 1).flip(position)
        weights = torch.cat((weights, half), dim=position)
    return interpolate(weights, position, new, periodic=True, keep=new // 2 + 1 if last else None)


def column_weights(width: int, like: Tensor) -> Tensor:
    """How often each stored column stands in the whole plane, (W // 2 + 1,): once or twice.

    Columns 0 and, for even W, W / 2 are their own mirror images. With these weights the stored
    half has the norm and inner product of the whole plane.
    """
    columns = torch.arange(width // 2 + 1, device=like.device)
    own_mirror = (columns == 0) | (2 * columns == width)
    return torch.where(own_mirror, 1.0, 2.0).to(like.dtype)


def inverse_over_width(rows: Tensor, width: int) -> Tensor:
    """Real inverse over the last axis, (..., W), when the inverse over all others is done.

    Imaginary parts of columns of (..., W // 2 + 1) that are their own mirror images have no part
    in a real map and are set to 0, in place.
    """
    own_mirrors = slice(None, None, width if width % 2 else width // 2)
    torch.view_as_real(rows)[..., own_mirrors, 1].zero_()
    return torch.fft.irfft(rows, n=width, dim=-1, norm="ortho")


def inverse_half_spectrum(spectrum: Tensor, width: int) -> Tensor:
    """Real inverse of complex spectra (..., H, W // 2 + 1), any values; W is `width`."""
    return inverse_over_width(torch.fft.ifft(spectrum, dim=-2, norm="ortho"), width)
