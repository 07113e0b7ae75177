"""Transforms by real orthogonal matrices: DCT-II, Walsh-Hadamard, Haar and slant.

Eqn. (2) and (3) of the paper with real matrices: ``X -> P X Q`` and back ``P^T Y Q^T``. With modes
P and Q have m orthonormal rows each.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from .base import Modes, Size, Transform, computing_dtype, full_precision, linear_resampling
from .bases import BASES, basis, constant
from .products import analyse, analyse_beside, synthesise
from .watched import is_watched


class OrthogonalTransform(Transform):
    """Transform ``X -> P X Q`` by real matrices with orthonormal rows; see `Transform`."""

    parts = 1
    default_groups = 2

    @abstractmethod
    def analysis(self, size: Size, like: Tensor) -> list[Tensor]:
        """Scaled rows for every axis of a map size, (m, n), device and dtype of `like`."""

    @abstractmethod
    def synthesis(self, size: Size, like: Tensor) -> list[Tensor]:
        """Columns for the way back, (n, m), scaled by the inverse."""

    def forward(self, x: Tensor) -> Tensor:
        """Transform (N, C, H, W) to (N, 1, C, Hs, Ws); see `Transform.forward`."""
        with full_precision(x.device):
            work = x.to(self._dtype(x))
            size = tuple(x.shape[2:])
            return analyse(work, self.analysis(size, work)).unsqueeze(1).to(x.dtype)

    def inverse(self, spectrum: Tensor, size: Size) -> Tensor:
        """Transform (N, 1, C, Hs, Ws) back to (N, C, H, W); see `Transform.inverse`."""
        with full_precision(spectrum.device):
            work = spectrum.squeeze(1).to(self._dtype(spectrum))
            return synthesise(work, self.synthesis(size, work)).to(spectrum.dtype)

    def beside(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """A map and its spectrum; see `Transform.beside`."""
        if x.dtype != self._dtype(x) or is_watched(self):
            return super().beside(x)
        with full_precision(x.device):
            matrices = self.analysis(tuple(x.shape[2:]), x)
            x, spectrum = analyse_beside(x, matrices, analyse, synthesise)
            return x, spectrum.unsqueeze(1)

    def add_inverse(self, x: Tensor, spectrum: Tensor) -> Tensor:
        """Add the inverse of (N, 1, C, Hs, Ws) to (N, C, H, W); see `Transform.add_inverse`."""
        with full_precision(x.device):
            work = x.to(self._dtype(x))
            z = spectrum.squeeze(1).to(work.dtype)
            return synthesise(z, self.synthesis(tuple(x.shape[2:]), work), work).to(x.dtype)

    def _dtype(self, x: Tensor) -> torch.dtype:
        dtype = computing_dtype(x)
        return dtype if self.modes is None else x.dtype

    def resample(self, weights: Tensor, size: Size, new_size: Size) -> Tensor:
        """Linear interpolation over the normalised index k / n; see `Transform.resample`."""
        for axis, (n, new) in enumerate(zip(size, new_size, strict=True)):
            position = axis - self.axes
            if self.modes is not None and self.modes[axis] is not None:
                weights = weights.narrow(position, 0, min(weights.shape[position], new))
            elif n != new:
                matrix = linear_resampling(n, new, periodic=False, like=weights)
                weights = (weights.movedim(position, -1) @ matrix.mT).movedim(-1, position)
        return weights

    def operations(self, channels: int, size: Size) -> float:
        """``C H W (H + W)``; with modes see `Transform.kept_operations`."""
        if self.modes is not None:
            return self.kept_operations(channels, size)
        return float(channels * size[0] * size[1] * (size[0] + size[1]))


class FixedOrthogonalTransform(OrthogonalTransform):
    """A fixed transform named in `spectral_residual.transforms.bases`, for any map size.

    Parameters
    ----------
    kind : {"dct", "wht", "haar", "slant"}
        Which matrix; its builder states how orders that are not powers of two are made.
    modes, size
        See `Transform`.
    """

    def __init__(self, kind: str, modes: Modes = None, size: Size | None = None) -> None:
        super().__init__(modes, size)
        if kind not in BASES:
            raise ValueError(f"kind must be one of {', '.join(BASES)}, got {kind!r}")
        self.kind = kind

    def analysis(self, size: Size, like: Tensor) -> list[Tensor]:
        """The lowest rows of the matrices of order H and W."""
        return self._matrices(size, like, 1)

    def synthesis(self, size: Size, like: Tensor) -> list[Tensor]:
        """Transposed rows."""
        return [rows.mT for rows in self._matrices(size, like, -1)]

    def _matrices(self, size: Size, like: Tensor, power: int) -> list[Tensor]:
        kept = enumerate(zip(size, self.rows(size), strict=True))
        return [
            constant(_scaled_rows, like, self.kind, n, m, self.scaled_to(axis), power)
            for axis, (n, m) in kept
        ]

    def extra_repr(self) -> str:
        """Name of the matrices, and modes."""
        return ", ".join(filter(None, (f"kind={self.kind!r}", super().extra_repr())))


def _scaled_rows(kind: str, n: int, m: int, scaled_to: int | None, power: int) -> Tensor:
    rows = basis(kind, n, m)
    return rows if scaled_to is None else rows * (scaled_to / n) ** (power / 2)
