"""The contract of all transforms, and the resampling of filters between map sizes.

A transform maps a feature map to its spectrum and back: the functions `f` and `f^-1` of
Chi et al., "Fast Non-Local Neural Networks with Spectral Residual Learning", ACM MM 2019,
Eqn. (1). All transforms here are orthonormal and act on each channel alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

Size = tuple[int, ...]
"""Height and width (H, W) of a map, or (T, H, W) of a volume."""


def check_size(size: object) -> tuple[int, int]:
    """Return `size` as (H, W), two positive ints, or raise ValueError."""
    if (
        not isinstance(size, (tuple, list))
        or len(size) != 2
        or not all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in size)
    ):
        raise ValueError(f"size must be two positive integers (H, W), got {size!r}")
    return int(size[0]), int(size[1])


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
    """Orthonormal two-dimensional transform of every channel of a feature map.

    Half-precision input is transformed in float32, inside autocast too, and returned in the
    caller's dtype.

    Attributes
    ----------
    parts : int
        Real planes a channel's spectrum has: 1 for real transforms, 2 (real, imaginary) for
        the Fourier transform.
    default_groups : int
        Groups of the spectral convolutions that the paper uses with this transform.
    """

    parts: int = 1
    default_groups: int = 2

    @abstractmethod
    def spectral_size(self, size: Size) -> Size:
        """Height and width of the stored spectrum of a map of `size` (H, W)."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Transform a map.

        Parameters
        ----------
        x : Tensor
            Feature map, (N, C, H, W), real floating point.

        Returns
        -------
        Tensor
            Spectrum, (N, parts, C, Hs, Ws), dtype of `x`.
        """

    @abstractmethod
    def inverse(self, spectrum: Tensor, size: Size) -> Tensor:
        """Transform a spectrum back.

        Parameters
        ----------
        spectrum : Tensor
            (N, parts, C, Hs, Ws), real floating point; need not be the transform of a map.
        size : (int, int)
            Height and width (H, W) of the map.

        Returns
        -------
        Tensor
            Feature map, (N, C, H, W), dtype of `spectrum`.
        """

    @staticmethod
    @abstractmethod
    def resample(weights: Tensor, size: Size, new_size: Size) -> Tensor:
        """Carry a filter over frequencies from one map size to another.

        The filter is taken as a function of normalised frequency (cycles per pixel), so that
        it keeps its meaning in pixels; differentiable.

        Parameters
        ----------
        weights : Tensor
            One value per frequency, of shape ``spectral_size(size)``.
        size, new_size : (int, int)
            Map size (H, W) it belongs to, and the one it is wanted for.

        Returns
        -------
        Tensor
            Shape ``spectral_size(new_size)``.
        """

    @abstractmethod
    def operations(self, channels: int, size: Size) -> float:
        """Operations of one direction for one map, by the paper's accounting (table 1)."""


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
