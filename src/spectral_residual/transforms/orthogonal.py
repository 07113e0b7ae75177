"""Transforms by real orthogonal matrices: DCT-II, Walsh-Hadamard, Haar and slant.

Eqn. (2) and (3) of the paper with real matrices: ``X -> P X Q`` and back ``P^T Y Q^T``. With modes
P and Q have m orthonormal rows each.
"""

from __future__ import annotations

from torch import Tensor

from .base import Factors, Modes, Size, Transform
from .bases import BASES, basis, interpolate


class OrthogonalTransform(Transform):
    """Transform ``X -> P X Q`` by real matrices with orthonormal rows; see `Transform`."""

    def resample(self, weights: Tensor, size: Size, new_size: Size) -> Tensor:
        """Linear interpolation over the normalised index k / n; see `Transform.resample`."""
        for axis, (n, new) in enumerate(zip(size, new_size, strict=True)):
            position = axis - self.axes
            if self.modes is not None and self.modes[axis] is not None:
                weights = weights.narrow(position, 0, min(weights.shape[position], new))
            elif n != new:
                weights = interpolate(weights, position, new, periodic=False)
        return weights


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

    def factors(self, size: Size, like: Tensor, *, back: bool = False) -> Factors:
        """The lowest rows of the matrices of order H and W; see `Transform.factors`."""
        rows = self.row_builder(size, like, back)
        return [(rows(0, basis, self.kind), size[1]), (rows(1, basis, self.kind), 1)]

    def extra_repr(self) -> str:
        """Name of the matrices, and modes."""
        return ", ".join(filter(None, (f"kind={self.kind!r}", super().extra_repr())))
