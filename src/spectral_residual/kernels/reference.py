"""The spectral branch, step by step as the paper draws it (Chi et al. 2019, figure 2)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ..transforms import Transform

Layer = Callable[[Tensor], Tensor]


def spectral_branch(
    x: Tensor,
    transform: Transform,
    reduce: Layer,
    filter: Layer,
    promote: Layer,
    *,
    interleaved: bool,
) -> Tensor:
    """``f^-1(phi(f(x)))`` of Eqn. (1), without the residual connection.

    Parameters
    ----------
    x : Tensor
        Feature map, (N, C, H, W), or (N, C, T, H, W) for a transform of volumes.
    transform : Transform
        `f` and its inverse.
    reduce, filter, promote : callable
        Convolution with batch normalisation from parts * C to parts * K planes, spectral ReLU,
        and convolution with batch normalisation and alpha back to parts * C; all act on
        (N, planes, Hs, Ws), or (N, planes, Ts, Hs, Ws).
    interleaved : bool
        Order of the planes: False puts all real parts before all imaginary parts
        (concatenated), True puts the parts of a channel side by side.

    Returns
    -------
    Tensor
        Shape of `x`.
    """
    planes = _stack_parts(transform(x), interleaved)
    planes = promote(filter(reduce(planes)))
    return transform.inverse(_split_parts(planes, transform.parts, interleaved), tuple(x.shape[2:]))


def _stack_parts(spectrum: Tensor, interleaved: bool) -> Tensor:
    """(N, parts, C, Hs, Ws) to (N, parts * C, Hs, Ws)."""
    return (spectrum.transpose(1, 2) if interleaved else spectrum).flatten(1, 2)


def _split_parts(planes: Tensor, parts: int, interleaved: bool) -> Tensor:
    """(N, parts * C, Hs, Ws) to (N, parts, C, Hs, Ws)."""
    if interleaved:
        return planes.unflatten(1, (-1, parts)).transpose(1, 2)
    return planes.unflatten(1, (parts, -1))
