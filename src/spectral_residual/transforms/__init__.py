"""Local-to-global transforms of feature maps, all orthonormal, found by name."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import unknown_name
from .base import Modes, Size, Transform
from .bases import basis
from .fourier import FourierTransform, FourierVolume
from .learnable import LearnableOrthogonal, orthogonal_factor, orthogonality_error
from .orthogonal import FixedOrthogonalTransform, OrthogonalTransform

_BUILDERS: dict[str, Callable[[Size, Modes], Transform]] = {
    "fft": lambda size, modes: FourierTransform(modes=modes, size=size),
    "lo": LearnableOrthogonal,
    "dct": lambda size, modes: FixedOrthogonalTransform("dct", modes, size),
    "wht": lambda size, modes: FixedOrthogonalTransform("wht", modes, size),
    "haar": lambda size, modes: FixedOrthogonalTransform("haar", modes, size),
    "slant": lambda size, modes: FixedOrthogonalTransform("slant", modes, size),
}

TRANSFORMS: tuple[str, ...] = tuple(_BUILDERS)


def create_transform(name: str, size: Size, modes: Modes = None) -> Transform:
    """Build a transform.

    Parameters
    ----------
    name : {"fft", "lo", "dct", "wht", "haar", "slant"}
        Fourier, learnable orthogonal, DCT-II, Walsh-Hadamard, Haar, slant.
    size : (int, int)
        Map size (H, W). The learnable transform is bound to it; with modes the coefficients of
        other sizes are scaled to those of this one.
    modes : int or (int, int), optional
        Lowest frequencies to keep of each axis; see `Transform`. By default all.

    Raises
    ------
    ValueError
        If the name is unknown, modes are no positive integers, or even for ``"fft"``.
    """
    if name not in _BUILDERS:
        raise unknown_name("transform", name, TRANSFORMS)
    return _BUILDERS[name](size, modes)


__all__ = [
    "TRANSFORMS",
    "FixedOrthogonalTransform",
    "FourierTransform",
    "FourierVolume",
    "LearnableOrthogonal",
    "Modes",
    "OrthogonalTransform",
    "Transform",
    "basis",
    "create_transform",
    "orthogonal_factor",
    "orthogonality_error",
]
