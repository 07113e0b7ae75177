"""The contract of all transforms, and the resampling of filters between map sizes.

A transform maps a feature map to its spectrum and back: the functions `f` and `f^-1` of
Chi et al., "Fast Non-Local Neural Networks with Spectral Residual Learning", ACM MM 2019,
Eqn. (1). All transforms here are orthonormal and act on each channel alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

Size = tuple[int, ...]
"""Height and width (H, W) of a map, or (T, H, W) of a volume."""

Modes = int | Sequence[int | None] | None
"""Frequencies that a transform keeps of every axis: one number, one for each axis, or all."""


def check_size(size: object) -> tuple[int, int]:
    """Return `size` as (H, W), two positive ints, or raise ValueError."""
    if (
        not isinstance(size, (tuple, list))
        or len(size) != 2
        or not all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in size)
    ):
        raise ValueError(f"size must be two positive integers (H, W), got {size!r}")
    return int(size[0]), int(size[1])


def check_modes(modes: Modes, axes: int) -> tuple[int | None, ...] | None:
    """Return `modes` with one entry for each axis, or None if all frequencies are kept.

    Parameters
    ----------
    modes : int, sequence of int or None, or None
        One number stands for height and width; of a third axis, time, all is then kept. In a
        sequence None keeps all of an axis.
    axes : int
        2 for maps (H, W), 3 for volumes (T, H, W).

    Raises
    ------
    ValueError
        If a number is no positive integer, or there is not one for each axis.
    """
    if modes is None:
        return None
    several = isinstance(modes, (tuple, list))
    given = tuple(modes) if isinstance(modes, (tuple, list)) else (modes, modes)
    if not several:
        given = (None,) * (axes - 2) + given
    if len(given) != axes:
        raise ValueError(f"modes must be one number or one for each of {axes} axes, got {modes!r}")
    for m in given:
        if m is not None and (not isinstance(m, int) or isinstance(m, bool) or m < 1):
            raise ValueError(f"modes must be positive integers, got {modes!r}")
    return None if all(m is None for m in given) else given


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Context in which autocast is off, where the device has autocast at all."""
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def computing_dtype(x: Tensor) -> torch.dtype:
    """Dtype to transform `x` in: float32 for half precisions, otherwise its own."""
    if not x.is_floating_point():
        raise TypeError(f"expected a real floating-point tensor, got {x.dtype}")
    return torch.float32 if x.dtype in (torch.float16, torch.bfloat16) else x.dtype


class Transform(nn.Module, ABC):
    """Orthonormal transform of every channel of a feature map, or its lowest frequencies alone.

    With all frequencies, half-precision input is transformed in float32, inside autocast too, and
    returned in the caller's dtype. With few, see `modes`, it is transformed by matrix products in
    its own dtype.

    Parameters
    ----------
    modes : int, or one for each axis, optional
        Rows m that are kept of each axis, from the coarsest on; an axis that is shorter than m
        keeps what it has. None keeps all. A number is for height and width, all of time is kept.
    size : tuple of int, optional
        Map size (H0, W0) or (T0, H0, W0) to scale kept coefficients to: those of a map of size
        (H, W) are multiplied by sqrt(H0 W0 / (H W)), so that the same picture has the same
        coefficients at every size. By default nothing is scaled. Axes of which all is kept are
        not scaled either.

    Attributes
    ----------
    parts : int
        Real planes a channel's spectrum has: 1 for real transforms, 2 (real, imaginary) for
        the Fourier transform.
    default_groups : int
        Groups of the spectral convolutions that the paper uses with this transform.
    axes : int
        Axes that are transformed: 2 for maps, 3 for volumes.
    modes : tuple of int or None, or None
        The option with one entry for each axis.

    Raises
    ------
    ValueError
        If modes are not positive integers, or not one for each axis.
    """

    parts: int = 1
    default_groups: int = 2
    axes: int = 2

    def __init__(self, modes: Modes = None, size: Size | None = None) -> None:
        super().__init__()
        self.modes = check_modes(modes, self.axes)
        self.reference_size = None if size is None else tuple(size)

    def rows(self, size: Size) -> Size:
        """Basis functions of each axis that are kept at a map size."""
        if self.modes is None:
            return tuple(size)
        return tuple(n if m is None else min(m, n) for m, n in zip(self.modes, size, strict=True))

    def filter_rows(self, size: Size) -> Size:
        """Basis functions of each axis that a filter has weights for: m also on shorter axes."""
        if self.modes is None:
            return tuple(size)
        return tuple(n if m is None else m for m, n in zip(self.modes, size, strict=True))

    def scaled_to(self, axis: int) -> int | None:
        """Length n0 whose coefficients those of an axis of n positions are scaled to.

        They are multiplied by sqrt(n0 / n), and divided by it on the way back; None if not.
        """
        if self.modes is None or self.modes[axis] is None or self.reference_size is None:
            return None
        return self.reference_size[axis]

    def spectral_size(self, size: Size) -> Size:
        """Size of the stored spectrum of a map of `size`, with as many axes."""
        return self.stored(self.rows(size))

    def filter_size(self, size: Size) -> Size:
        """Size of a filter over frequencies for maps of `size` and, with modes, of all others."""
        return self.stored(self.filter_rows(size))

    def stored(self, rows: Size) -> Size:
        """Coefficients that are stored for so many basis functions of each axis."""
        return rows

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Transform a map.

        Parameters
        ----------
        x : Tensor
            Feature map, (N, C, H, W) or (N, C, T, H, W), real floating point.

        Returns
        -------
        Tensor
            Spectrum, (N, parts, C, Hs, Ws) or (N, parts, C, Ts, Hs, Ws), dtype of `x`.
        """

    @abstractmethod
    def inverse(self, spectrum: Tensor, size: Size) -> Tensor:
        """Transform a spectrum back.

        Parameters
        ----------
        spectrum : Tensor
            (N, parts, C, Hs, Ws) or (N, parts, C, Ts, Hs, Ws), real floating point; need not be
            the transform of a map.
        size : tuple of int
            Size (H, W) or (T, H, W) of the map.

        Returns
        -------
        Tensor
            Feature map, (N, C, H, W) or (N, C, T, H, W), dtype of `spectrum`.
        """

    def beside(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """A map and its spectrum, `forward`, for `add_inverse` to add to."""
        return x, self(x)

    def add_inverse(self, x: Tensor, spectrum: Tensor) -> Tensor:
        """Add the inverse of a spectrum to a map, in the map's dtype; see `inverse`."""
        return x + self.inverse(spectrum, tuple(x.shape[2:])).to(x.dtype)

    @abstractmethod
    def resample(self, weights: Tensor, size: Size, new_size: Size) -> Tensor:
        """Carry a filter over frequencies from one map size to another.

        With all frequencies of an axis the filter is taken as a function of normalised frequency
        (cycles per pixel), so that it keeps its meaning in pixels. With modes it stays as it is,
        cut to the frequencies that the new size has: the same functions over the field of view.
        Differentiable.

        Parameters
        ----------
        weights : Tensor
            One value per frequency, of shape ``(..., *filter_size(size))``.
        size, new_size : tuple of int
            Map size that it belongs to, and the one it is wanted for.

        Returns
        -------
        Tensor
            Shape ``(..., *spectral_size(new_size))``.
        """

    @abstractmethod
    def operations(self, channels: int, size: Size) -> float:
        """Operations of one direction for one map, by the paper's accounting (table 1).

        With modes those of the products with m rows, ``C m W (H + m)`` for a map.
        """

    def kept_operations(self, channels: int, size: Size) -> float:
        """Multiply-accumulates of products with the kept rows: over H, then W, then T."""
        rows = self.rows(size)
        frames = 1 if self.axes == 2 else size[0]
        height, width = size[-2:]
        operations = frames * rows[-2] * height * width + frames * rows[-2] * rows[-1] * width
        if self.axes == 3:
            operations += rows[0] * rows[1] * rows[2] * frames
        return float(channels * operations)

    def extra_repr(self) -> str:
        """Modes, if not all are kept."""
        return "" if self.modes is None else f"modes={self.modes}"


def linear_resampling(n: int, m: int, *, periodic: bool, like: Tensor) -> Tensor:
    """Matrix (m, n) that samples n values linearly at the positions ``j * n / m``.

    Parameters
    ----------
    n, m : int
        Number of given and of wanted values; both cover the same range of frequency.
    periodic : bool
        Whether value n is value 0 again; otherwise positions past the last value take it.
    like : Tensor
        Gives device and dtype.
    """
    position = torch.arange(m, dtype=torch.float64) * n / m
    if not periodic:
        position = position.clamp(max=n - 1)
    lower = position.floor().long()
    fraction = position - lower
    upper = (lower + 1) % n if periodic else (lower + 1).clamp(max=n - 1)
    matrix = torch.zeros(m, n, dtype=torch.float64)
    rows = torch.arange(m)
    matrix.index_put_((rows, lower), 1 - fraction, accumulate=True)
    matrix.index_put_((rows, upper), fraction, accumulate=True)
    return matrix.to(device=like.device, dtype=like.dtype)
