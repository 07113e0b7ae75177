"""Transforms by real orthogonal matrices: DCT-II, Walsh-Hadamard, Haar and slant.

Eqn. (2) and (3) of the paper with real matrices: ``X -> P X Q`` and back ``P^T Y Q^T``.
"""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from .base import Size, Transform, computing_dtype, full_precision, linear_resampling
from .matrices import orthogonal_matrix


class OrthogonalTransform(Transform):
    """Transform ``X -> P X Q`` by real orthogonal matrices; the spectrum has the map's size."""

    parts = 1
    default_groups = 2

    @abstractmethod
    def matrices(self, size: Size, like: Tensor) -> tuple[Tensor, Tensor]:
        """Matrices P (H, H) and Q (W, W) for a map size, with device and dtype of `like`."""

    def spectral_size(self, size: Size) -> Size:
        """The map's own size."""
        return size

    def forward(self, x: Tensor) -> Tensor:
        """Transform (N, C, H, W) to (N, 1, C, H, W); see `Transform.forward`."""
        with full_precision(x.device):
            work = x.to(computing_dtype(x))
            P, Q = self.matrices((x.shape[-2], x.shape[-1]), work)
            return (P @ work @ Q).unsqueeze(1).to(x.dtype)

    def inverse(self, spectrum: Tensor, size: Size) -> Tensor:
        """Transform (N, 1, C, H, W) back to (N, C, H, W); see `Transform.inverse`."""
        with full_precision(spectrum.device):
            work = spectrum.squeeze(1).to(computing_dtype(spectrum))
            P, Q = self.matrices(size, work)
            return (P.mT @ work @ Q.mT).to(spectrum.dtype)

    @staticmethod
    def resample(weights: Tensor, size: Size, new_size: Size) -> Tensor:
        """Linear interpolation over the normalised index k / n; see `Transform.resample`."""
        rows = linear_resampling(size[0], new_size[0], periodic=False, like=weights)
        columns = linear_resampling(size[1], new_size[1], periodic=False, like=weights)
        return rows @ weights @ columns.mT

    def operations(self, channels: int, size: Size) -> float:
        """``C H W (H + W)``."""
        return float(channels * size[0] * size[1] * (size[0] + size[1]))


class FixedOrthogonalTransform(OrthogonalTransform):
    """A fixed transform named in `spectral_residual.transforms.matrices`, for any map size.

    Parameters
    ----------
    kind : {"dct", "wht", "haar", "slant"}
        Which matrix; its builder states how orders that are not powers of two are made.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def matrices(self, size: Size, like: Tensor) -> tuple[Tensor, Tensor]:
        """P of order H and Q of order W, transposed so that both axes use the same rows."""
        return (
            orthogonal_matrix(self.kind, size[0], like),
            orthogonal_matrix(self.kind, size[1], like).mT,
        )

    def extra_repr(self) -> str:
        """Name of the matrices."""
        return f"kind={self.kind!r}"
