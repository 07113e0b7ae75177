"""Criss-cross attention, applied repeatedly.

Huang, Wang, Huang, Huang, Wei, Liu, "CCNet: Criss-Cross Attention for Semantic Segmentation",
ICCV 2019. A position attends to its row and its column; two passes reach the whole image.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .base import Block, Shape, check_positive, divide

_MOST_PASSES = 16


class CrissCrossAttention(Block):
    """One pass: every position attends to the H + W - 1 positions of its row and column.

    One softmax over all of them, not scaled; returns ``gamma * attended + input``.

    Parameters
    ----------
    channels : int
        Channels C' of the feature map.
    reduction : int, default 8
        C' by the number of features of queries and keys.

    Attributes
    ----------
    gamma : nn.Parameter
        Scale of what is attended to, a scalar; 0 at the start.

    Raises
    ------
    ValueError
        If channels are not divisible by reduction.
    """

    def __init__(self, channels: int, *, reduction: int = 8) -> None:
        super().__init__(channels)
        inner = divide("channels", channels, "reduction", reduction)
        self.query = nn.Conv2d(channels, inner, 1)
        self.key = nn.Conv2d(channels, inner, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(()))

    def branch(self, x: Tensor) -> Tensor:
        """What every position attends to, times gamma."""
        return self.gamma * criss_cross_attention(self.query(x), self.key(x), self.value(x))

    def operations(self, size: Shape) -> float:
        """``H W (H + W)`` times the features of a key and of a value: of the matrix products."""
        height, width = size
        features = self.key.out_channels + self.value.out_channels
        return height * width * (height + width) * features


class RecurrentCrissCrossBlock(Block):
    """Recurrent criss-cross attention block (RCCA) for images::

        x -> conv 3x3 (C to C') -> BN -> leaky ReLU -> criss-cross, twice with the same weights
          -> conv 3x3 (C' to C) -> BN -> + x

    The last normalisation starts with scale 0, so that the block returns its input unchanged.
    The leaky ReLU (slope 0.01) is the activation of the authors' code; their concatenation with
    the input is left out, as in the costs that the SRL paper prints.

    For C = 256 it has 300,753 parameters. Tools that take a module anew at every call, as the one
    behind the SRL paper's tables, count the criss-cross twice and gamma not at all: 305,952.

    Parameters
    ----------
    channels : int
        Channels C of the feature map.
    reduction : int, default 4
        C / C', the bottleneck; a divisor of C / 8, as C' must be divisible by 8.
    recurrence : int, default 2
        Number of criss-cross passes, up to 16; two reach every position from every other.

    Raises
    ------
    ValueError
        If channels are not divisible by 8 times reduction, or recurrence is none of these.
    """

    def __init__(self, channels: int, *, reduction: int = 4, recurrence: int = 2) -> None:
        super().__init__(channels)
        eighth = divide("channels", channels, "8, the reduction of queries and keys", 8)
        inner = 8 * divide("channels / 8", eighth, "reduction", reduction)
        check_positive("recurrence", recurrence)
        if recurrence > _MOST_PASSES:
            raise ValueError(f"recurrence must be at most {_MOST_PASSES}, got {recurrence}")
        self.recurrence = recurrence
        self.conv1 = nn.Conv2d(channels, inner, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(inner)
        self.activation = nn.LeakyReLU(0.01)
        self.attention = CrissCrossAttention(inner)
        self.conv2 = nn.Conv2d(inner, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.norm2.weight)

    def branch(self, x: Tensor) -> Tensor:
        """What every position attends to in its row and column, and through these everywhere."""
        y = self.activation(self.norm1(self.conv1(x)))
        for _ in range(self.recurrence):
            y = self.attention(y)
        return self.norm2(self.conv2(y))

    def operations(self, size: Shape) -> float:
        """``recurrence * H W (H + W) (C' / 8 + C')``: of the matrix products of all passes."""
        return self.recurrence * self.attention.operations(size)

    def extra_repr(self) -> str:
        """What `repr` shows."""
        return f"channels={self.channels}, recurrence={self.recurrence}"


def criss_cross_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Softmax attention of every position to its row and column, itself counted once.

    Queries and keys are (N, d, H, W); values and the result (N, C, H, W).
    """
    height = query.shape[2]
    itself = torch.eye(height, dtype=torch.bool, device=query.device).unsqueeze(1)
    column = torch.einsum("ndhw,ndiw->nhwi", query, key).masked_fill(itself, float("-inf"))
    row = torch.einsum("ndhw,ndhj->nhwj", query, key)
    weights = torch.cat((column, row), dim=3).softmax(dim=3).to(value.dtype)
    return torch.einsum("nhwi,nciw->nchw", weights[..., :height], value) + torch.einsum(
        "nhwj,nchj->nchw", weights[..., height:], value
    )
