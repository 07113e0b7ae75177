"""Blocks for networks that make their own layers, as those of timm do with an ``attn_layer``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from .blocks import create_block, size_for_all
from .transforms.base import Size


def attn_layer(block: str = "srl", **options: Any) -> Callable[..., nn.Module]:
    """Give timm a block as the attention layer of its networks.

    >>> import timm
    >>> timm.create_model("resnet26", block_args={"attn_layer": attn_layer("srl")})
    ... # doctest: +SKIP

    ResNets take it in ``block_args``, ByobNets and NFNets as ``attn_layer`` (some with
    ``attn_kwargs={}``), EfficientNets in place of squeeze-and-excitation as ``se_layer``. timm does
    not say what size the maps will have. With ``modes`` SRL blocks have the same weights at every
    size; coefficients are scaled to those of a map of modes x modes.

    Most of timm's networks draw the weights of all convolutions anew when they are made, some those
    of normalisations. SRL blocks are the identity at the start all the same, because of their
    alpha; others, as ``a2``, are not.

    Parameters
    ----------
    block : str, default "srl"
        Name of a block for images, see `create_block`.
    **options
        Its options.

    Returns
    -------
    callable
        ``layer(channels)`` returns the block; keywords that timm adds are ``act_layer``, which a
        block has no use for, ``device`` and ``dtype``.

    Raises
    ------
    ValueError
        If the block or an option is unknown, or the block has weights for one size of maps:
        ``gfnet``, ``srl-lo``, and the others without ``modes``.
    """
    return functools.partial(_layer, block, size_for_all(block, options), options)


def _layer(
    block: str,
    size: Size,
    options: Mapping[str, Any],
    channels: int,
    *,
    act_layer: object = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> nn.Module:
    return create_block(block, channels, size, **options).to(device=device, dtype=dtype)
