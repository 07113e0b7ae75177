"""Sums and differences of a map with its mirror image, on the rows that hold all of them.

The mirror image of a map u is ``u(-n)``, indices modulo H and W. The sides of u, ``u(n) + u(-n)``
and ``u(n) - u(-n)``, are even and odd, so that rows 0 to H // 2 determine the others. For real u
the Fourier transform of the former is real and that of the latter imaginary: what is to become
the real part of a spectrum only has to be computed from even maps, at half of the positions.
"""

from __future__ import annotations

import torch
from torch import Tensor


def fold(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Sides of maps.

    Parameters
    ----------
    maps : Tensor
        u, (N, C, H, W).

    Returns
    -------
    (Tensor, Tensor)
        Rows 0 to H // 2 of ``u(n) + u(-n)`` and ``u(n) - u(-n)``, both (N, C, H // 2 + 1, W),
        in the memory format of `maps`.
    """
    rows = maps.shape[2] // 2 + 1
    wrapped = torch.cat((maps[:, :, maps.shape[2] - rows + 1 :], maps[:, :, :1]), dim=2)
    mirrored = wrapped.flip((2, 3)).roll(1, dims=3)
    top = maps[:, :, :rows]
    return top + mirrored, top - mirrored


def unfold(even: Tensor, odd: Tensor, height: int) -> Tensor:
    """Sum of an even and an odd map on all rows; of the sides of u it is 2 u.

    Parameters
    ----------
    even, odd : Tensor
        Rows 0 to H // 2, (N, C, H // 2 + 1, W).
    height : int
        Rows H of the map.

    Returns
    -------
    Tensor
        (N, C, H, W).
    """
    return torch.cat((even + odd, _rows_below(even, odd, height)), dim=2)


def unfold_into(out: Tensor, even: Tensor, odd: Tensor, residual: Tensor | None = None) -> None:
    """Write the result of `unfold`, added to a residual if there is one.

    Parameters
    ----------
    out : Tensor
        (N, C, H, W), overwritten.
    even, odd : Tensor
        As in `unfold`; `even` is overwritten.
    residual : Tensor, optional
        (N, C, H, W).
    """
    rows = even.shape[2]
    below = _rows_below(even, odd, out.shape[2])
    if residual is None:
        torch.add(even, odd, out=out[:, :, :rows])
        out[:, :, rows:] = below
    else:
        torch.add(residual[:, :, :rows], even.add_(odd), out=out[:, :, :rows])
        torch.add(residual[:, :, rows:], below, out=out[:, :, rows:])


def _rows_below(even: Tensor, odd: Tensor, height: int) -> Tensor:
    paired = slice(1, (height + 1) // 2)
    return (even[:, :, paired] - odd[:, :, paired]).flip((2, 3)).roll(1, dims=3)
