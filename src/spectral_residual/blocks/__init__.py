"""Blocks with a full-image receptive field, found by name. Only torch is imported."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from ..errors import unknown_name
from ..transforms import create_transform
from ..transforms.base import Size, check_size
from .spectral import SpectralReLU, SRLBlock

_SRL_NAMES: dict[str, str] = {
    "srl-fft": "fft",
    "srl-lo": "lo",
    "srl-dct": "dct",
    "srl-wht": "wht",
    "srl-haar": "haar",
    "srl-slant": "slant",
}

_OPTIONS: dict[str, Callable[..., nn.Module]] = dict.fromkeys(_SRL_NAMES, SRLBlock)

BLOCKS: tuple[str, ...] = tuple(_OPTIONS)


def create_block(name: str, channels: int, size: Size, **options: Any) -> nn.Module:
    """Build a block by name.

    Parameters
    ----------
    name : str
        One of `BLOCKS`: ``srl-fft`` (Fourier), ``srl-lo`` (learnable orthogonal), ``srl-dct``,
        ``srl-wht`` (Walsh-Hadamard), ``srl-haar``, ``srl-slant``.
    channels : int
        Channels C of the feature map (N, C, H, W) it will get.
    size : (int, int)
        Height and width (H, W) of that map.
    **options
        Options of `SRLBlock`: ``reduction``, ``groups``, ``kernel_size``, ``order``, ``alpha``.

    Returns
    -------
    nn.Module
        Maps (N, C, H, W) to the same shape; the identity at the start.

    Raises
    ------
    ValueError
        If the name or an option is unknown (the nearest is suggested), or a value is invalid.
    """
    if name not in _OPTIONS:
        raise unknown_name("block", name, BLOCKS)
    check_options(name, options)
    size = check_size(size)
    return SRLBlock(channels, size, create_transform(_SRL_NAMES[name], size), **options)


def check_options(name: str, options: dict[str, Any]) -> None:
    """Raise ValueError for an option that the block `name` does not have."""
    parameters = inspect.signature(_OPTIONS[name]).parameters.values()
    known = [p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
    for option in options:
        if option not in known:
            raise unknown_name(f"option of block {name!r}", option, known)


__all__ = ["BLOCKS", "SRLBlock", "SpectralReLU", "check_options", "create_block"]
