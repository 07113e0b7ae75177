"""Self-attention over all positions of a map, by softmax and in linear time.

Vaswani et al., "Attention Is All You Need", NeurIPS 2017, through PyTorch's fused kernels; and the
ReLU linear attention of Cai, Li, Hu, Gan, Han, "EfficientViT: Multi-Scale Linear Attention for
High-Resolution Dense Prediction", ICCV 2023, at one scale.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..transforms.base import full_precision
from .base import Block, Shape, divide


class _Attention(Block):
    """Heads of queries, keys and values from one convolution, and one convolution out."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__(channels)
        self.width = divide("channels", channels, "heads", heads)
        self.heads = heads
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.out = nn.Conv2d(channels, channels, 1, bias=False)

    def _heads(self, x: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values, (N, heads, H * W, C / heads) each."""
        # Rows of positions, one copy: the fused kernels want the features side by side.
        rows = self.qkv(x).flatten(2).mT.contiguous()
        z = rows.unflatten(2, (3, self.heads, self.width)).permute(2, 0, 3, 1, 4)
        return z.unbind(0)

    def _maps(self, z: Tensor, like: Tensor) -> Tensor:
        return z.mT.flatten(1, 2).unflatten(2, like.shape[2:])

    def extra_repr(self) -> str:
        """What `repr` shows."""
        return f"channels={self.channels}, heads={self.heads}"


class SelfAttentionBlock(_Attention):
    """Multi-head self-attention for images, with a residual connection.

    ``x + out(softmax(Q K^T / sqrt(d)) V)``; `out` starts at 0, so that the block returns its input
    unchanged. Positions have no encoding.

    Parameters
    ----------
    channels : int
        Channels C of the feature map.
    heads : int, default 4
        Heads, of C / heads channels each.

    Raises
    ------
    ValueError
        If channels are not divisible by heads.
    """

    def __init__(self, channels: int, *, heads: int = 4) -> None:
        super().__init__(channels, heads)
        nn.init.zeros_(self.out.weight)

    def branch(self, x: Tensor) -> Tensor:
        """What every position attends to."""
        query, key, value = self._heads(x)
        return self.out(self._maps(F.scaled_dot_product_attention(query, key, value), x))

    def operations(self, size: Shape) -> float:
        """``2 C (H W)^2``: of both matrix products."""
        return 2 * self.channels * math.prod(size) ** 2


class LinearAttentionBlock(_Attention):
    """ReLU linear attention for images, with a residual connection.

    ``x + norm(out(r(Q) (r(K)^T V) / (r(Q) sum r(K))))`` with r the ReLU, keys and values first, so
    that it is linear in the positions. The normalisation starts with scale 0, so that the block
    returns its input unchanged.

    Parameters
    ----------
    channels : int
        Channels C of the feature map.
    heads : int, default 8
        Heads, of C / heads channels each.

    Raises
    ------
    ValueError
        If channels are not divisible by heads.
    """

    eps = 1e-6

    def __init__(self, channels: int, *, heads: int = 8) -> None:
        super().__init__(channels, heads)
        self.norm = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.norm.weight)

    def branch(self, x: Tensor) -> Tensor:
        """What every position attends to; sums are in float32, inside autocast too."""
        heads = self._heads(x)
        with full_precision(x.device):
            wide = torch.float64 if x.dtype == torch.float64 else torch.float32
            query, key, value = (z.to(wide) for z in heads)
            query, key = query.relu(), key.relu()
            total = query @ key.sum(dim=2).unsqueeze(3)
            z = (query @ (key.mT @ value)) / (total + self.eps)
        return self.norm(self.out(self._maps(z.to(heads[0].dtype), x)))

    def operations(self, size: Shape) -> float:
        """``2 C^2 H W / heads`` of the matrix products, and C H W of the normalisation."""
        return self.channels * (2 * self.width + 1) * math.prod(size)
