"""The double attention block: gather global descriptors, then hand them out.

Chen, Kalantidis, Li, Yan, Feng, "A^2-Nets: Double Attention Networks", NeurIPS 2018.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from .base import (
    Block,
    Shape,
    convolve_together,
    divide,
    fold_frames,
    is_channels_last,
    is_plain,
    joint_weight,
)


class DoubleAttentionBlock(Block):
    """Double attention block (A2) for images and videos.

    The last convolution starts at 0, so that the block returns its input unchanged; there is no
    normalisation and no bias.

    Parameters
    ----------
    channels : int
        Channels C of the feature map.
    reduction : int, default 4
        C / m and C / n: the block gathers n = m descriptors of m features each.

    Raises
    ------
    ValueError
        If channels are not divisible by reduction.
    """

    axes = (2, 3)

    def __init__(self, channels: int, *, reduction: int = 4) -> None:
        super().__init__(channels)
        inner = divide("channels", channels, "reduction", reduction)
        self.features, self.gather, self.distribute = (
            nn.Conv2d(channels, inner, 1, bias=False) for _ in range(3)
        )
        self.out = nn.Conv2d(inner, channels, 1, bias=False)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Add a mixture of the global descriptors to every position; see `Block`."""
        self.check_input(tuple(x.shape))
        in_rows = is_channels_last(x) and is_plain(*self.children())
        return self._attend_in_rows(x) if in_rows else super().forward(x)

    def branch(self, x: Tensor) -> Tensor:
        """The descriptors, distributed; see `double_attention`."""
        positions = fold_frames(x)
        convs = (self.features, self.gather, self.distribute)
        z = double_attention(*(y.flatten(2) for y in convolve_together(positions, convs)))
        return self.out(z.unflatten(2, positions.shape[2:]))

    def _attend_in_rows(self, x: Tensor) -> Tensor:
        """The same with positions as rows of matrices, as ``channels_last`` has them in memory."""
        convs = (self.features, self.gather, self.distribute)
        rows = x.movedim(1, -1).flatten(1, -2)
        features, gather, distribute = F.linear(rows, joint_weight(convs)).chunk(3, dim=2)
        descriptors = gather.softmax(dim=1).mT.to(features.dtype) @ features
        promoted = F.linear(descriptors, self.out.weight.flatten(1))
        branch = distribute.softmax(dim=2).to(promoted.dtype) @ promoted
        return branch.to(x.dtype).add_(rows).unflatten(1, x.shape[2:]).movedim(-1, 1)

    def operations(self, size: Shape) -> float:
        """``2 m n L`` for L positions: of the matrix products."""
        return 2 * self.features.out_channels * self.gather.out_channels * math.prod(size)


def double_attention(features: Tensor, gather: Tensor, distribute: Tensor) -> Tensor:
    """Gather features into descriptors and distribute these to the positions.

    Of L positions there are m features, (N, m, L), and two times n logits, (N, n, L): softmax over
    the *positions* gives the weights that each of the n descriptors is the mean with; softmax over
    the *descriptors* what each position receives. The result, (N, m, L), is a convex mixture of the
    features at every position.
    """
    descriptors = features @ gather.softmax(dim=2).mT.to(features.dtype)
    return descriptors @ distribute.softmax(dim=1).to(descriptors.dtype)
