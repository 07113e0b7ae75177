"""Local-to-global transforms of feature maps, all orthonormal, found by name."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import unknown_name
from .base import Size, Transform
from .fourier import FourierTransform
from .fourier_modes import FourierModes
from .fourier_volume import FourierVolume
from .learnable import LearnableOrthogonal, orthogonal_factor, orthogonality_error
from .orthogonal import FixedOrthogonalTransform, OrthogonalTransform

_BUILDERS: dict[str, Callable[[Size], Transform]] = {
    "fft": lambda size: FourierTransform(),
    "lo": LearnableOrthogonal,
    "dct": lambda size: FixedOrthogonalTransform("dct"),
    "wht": lambda size: FixedOrthogonalTransform("wht"),
    "haar": lambda size: FixedOrthogonalTransform("haar"),
    "slant": lambda size: FixedOrthogonalTransform("slant"),
}

TRANSFORMS: tuple[str, ...] = tuple(_BUILDERS)


def create_transform(name: str, size: Size) -> Transform:
    """Build a transform.

    Parameters
    ----------
    name : {"fft", "lo", "dct", "wht", "haar", "slant"}
        Fourier, learnable orthogonal, DCT-II, Walsh-Hadamard, Haar, slant.
    size : (int, int)
        Map size (H, W); only the learnable transform is bound to it.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    if name not in _BUILDERS:
        raise unknown_name("transform", name, TRANSFORMS)
    return _BUILDERS[name](size)


__all__ = [
    "TRANSFORMS",
    "FixedOrthogonalTransform",
    "FourierModes",
    "FourierTransform",
    "FourierVolume",
    "LearnableOrthogonal",
    "OrthogonalTransform",
    "Transform",
    "create_transform",
    "orthogonal_factor",
    "orthogonality_error",
]
