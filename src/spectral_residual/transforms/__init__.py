"""Local-to-global transforms of feature maps, all orthonormal, found by name."""

from __future__ import annotations

from ..errors import unknown_name
from .base import Modes, Size, Transform
from .bases import BASES, basis
from .fourier import FourierTransform, FourierVolume
from .learnable import LearnableOrthogonal, orthogonal_factor, orthogonality_error
from .orthogonal import FixedOrthogonalTransform, OrthogonalTransform

TRANSFORMS: tuple[str, ...] = ("fft", "lo", *BASES)


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
    if name == "fft":
        return FourierTransform(modes=modes, size=size)
    if name == "lo":
        return LearnableOrthogonal(size, modes)
    if name in BASES:
        return FixedOrthogonalTransform(name, modes, size)
    raise unknown_name("transform", name, TRANSFORMS)


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
