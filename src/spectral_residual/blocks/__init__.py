"""Blocks with a full-image receptive field, found by name. Only torch is imported."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from ..errors import unknown_name
from ..transforms import create_transform
from ..transforms.base import Size, check_size
from .compact_generalized import CompactGeneralizedBlock
from .criss_cross import CrissCrossAttention, RecurrentCrissCrossBlock
from .double_attention import DoubleAttentionBlock
from .fast_fourier import FastFourierBlock
from .global_filter import GlobalFilterBlock
from .non_local import NonLocalBlock
from .spectral import SpectralReLU, SRLBlock


def _srl(transform: str) -> Callable[..., nn.Module]:
    @functools.wraps(SRLBlock, updated=())
    def construct(channels: int, size: Size, **options: Any) -> nn.Module:
        return SRLBlock(channels, size, create_transform(transform, size), **options)

    return construct


_CONSTRUCTORS: dict[str, Callable[..., nn.Module]] = {
    "srl-fft": _srl("fft"),
    "srl-lo": _srl("lo"),
    "srl-dct": _srl("dct"),
    "srl-wht": _srl("wht"),
    "srl-haar": _srl("haar"),
    "srl-slant": _srl("slant"),
    "non-local": NonLocalBlock,
    "a2": DoubleAttentionBlock,
    "cgnl": CompactGeneralizedBlock,
    "rcca": RecurrentCrissCrossBlock,
    "ffc": FastFourierBlock,
    "gfnet": GlobalFilterBlock,
}

BLOCKS: tuple[str, ...] = tuple(_CONSTRUCTORS)


def create_block(name: str, channels: int, size: Size, **options: Any) -> nn.Module:
    """Build a block by name.

    Parameters
    ----------
    name : str
        One of `BLOCKS`. Spectral residual learning, `SRLBlock`: ``srl-fft`` (Fourier),
        ``srl-lo`` (learnable orthogonal), ``srl-dct``, ``srl-wht`` (Walsh-Hadamard),
        ``srl-haar``, ``srl-slant``. For comparison: ``non-local`` (`NonLocalBlock`), ``a2``
        (`DoubleAttentionBlock`), ``cgnl`` (`CompactGeneralizedBlock`), ``rcca``
        (`RecurrentCrissCrossBlock`), ``ffc`` (`FastFourierBlock`), ``gfnet``
        (`GlobalFilterBlock`).
    channels : int
        Channels C of the feature map (N, C, H, W) it will get.
    size : (int, int)
        Height and width (H, W) of that map, or of the frames of a video. Only the SRL blocks
        and ``gfnet`` have weights that depend on it.
    **options
        Keyword-only arguments of the block's class, e.g. for `SRLBlock`: ``reduction``,
        ``groups``, ``kernel_size``, ``order``, ``alpha``.

    Returns
    -------
    nn.Module
        Maps (N, C, H, W) to the same shape, and ``non-local``, ``a2`` and ``cgnl`` also videos
        (N, C, T, H, W); the identity at the start. Its ``extra_operations(input_shape)`` gives
        the operations per sample that none of its layers accounts for.

    Raises
    ------
    ValueError
        If the name or an option is unknown (the nearest is suggested), or a value is invalid.
    """
    check_options(name, options)
    return _CONSTRUCTORS[name](channels, check_size(size), **options)


def check_options(name: str, options: dict[str, Any]) -> None:
    """Raise ValueError for a block that does not exist, or an option that it does not have."""
    if name not in _CONSTRUCTORS:
        raise unknown_name("block", name, BLOCKS)
    parameters = inspect.signature(_CONSTRUCTORS[name]).parameters.values()
    known = [p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
    for option in options:
        if option not in known:
            raise unknown_name(f"option of block {name!r}", option, known)


__all__ = [
    "BLOCKS",
    "CompactGeneralizedBlock",
    "CrissCrossAttention",
    "DoubleAttentionBlock",
    "FastFourierBlock",
    "GlobalFilterBlock",
    "NonLocalBlock",
    "RecurrentCrissCrossBlock",
    "SRLBlock",
    "SpectralReLU",
    "check_options",
    "create_block",
]
