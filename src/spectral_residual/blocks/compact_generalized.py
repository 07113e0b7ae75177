"""The compact generalized non-local block: channels attend to each other too.

Yue, Sun, Yuan, Zhou, Ding, Xu, "Compact Generalized Non-local Network", NeurIPS 2018. Positions
and channels of a group are flattened together into vectors theta, phi and g of length L. A
pairwise function that is a polynomial ``sum_p k_p (theta_a phi_b)^p`` makes the L x L attention
separable::

    y_a = sum_b sum_p k_p (theta_a phi_b)^p g_b = sum_p k_p theta_a^p (phi^p . g)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..errors import unknown_name
from ..transforms.base import computing_dtype, full_precision
from .base import Block, Shape, check_positive, convolve_together, divide, fold_frames

KERNELS = ("rbf", "dot_product")


class CompactGeneralizedBlock(Block):
    """Compact generalized non-local block (CGNL) for images and videos.

    The last normalisation starts with scale 0, so that the block returns its input unchanged.
    Convolutions have no biases and start from a normal distribution of deviation 0.01.
    Attention, output convolution and normalisation are computed in float32 inside autocast too:
    the RBF kernel differs from a constant by less than half precisions resolve.

    Parameters
    ----------
    channels : int
        Channels C of the feature map.
    kernel : {"rbf", "dot_product"}
        Pairwise function of two numbers: ``exp(-gamma (theta - phi)^2)`` for theta and phi of
        magnitude 1, that is ``exp(-2 gamma) exp(2 gamma theta phi)``, as its Taylor polynomial;
        or ``theta phi``.
    taylor_order : int, default 3
        Degree of the polynomial of the RBF kernel.
    gamma : float, default 1e-4
        Width of the RBF kernel.
    groups : int, default 8
        Groups of channels that attend apart, also of the last convolution and of its norm.
    reduction : int, default 2
        C / c, the bottleneck.

    Raises
    ------
    ValueError
        If the kernel is unknown, channels are not divisible by reduction or groups, or a number
        is out of range.
    """

    axes = (2, 3)

    def __init__(
        self,
        channels: int,
        *,
        kernel: str = "rbf",
        taylor_order: int = 3,
        gamma: float = 1e-4,
        groups: int = 8,
        reduction: int = 2,
    ) -> None:
        super().__init__(channels)
        if kernel not in KERNELS:
            raise unknown_name("kernel of the compact generalized block", kernel, KERNELS)
        check_positive("taylor_order", taylor_order)
        if not gamma > 0:
            raise ValueError(f"gamma must be positive, got {gamma!r}")
        inner = divide("channels", channels, "reduction", reduction)
        divide("channels / reduction", inner, "groups", groups)
        self.kernel = kernel
        self.groups = groups
        self.coefficients = rbf_coefficients(taylor_order, gamma) if kernel == "rbf" else (0.0, 1.0)
        self.theta, self.phi, self.g = (nn.Conv2d(channels, inner, 1, bias=False) for _ in range(3))
        self.out = nn.Conv2d(inner, channels, 1, groups=groups, bias=False)
        self.norm = nn.GroupNorm(groups, channels)
        for conv in (self.theta, self.phi, self.g, self.out):
            nn.init.normal_(conv.weight, std=0.01)
        nn.init.zeros_(self.norm.weight)

    def branch(self, x: Tensor) -> Tensor:
        """What every channel of every position attends to in its group."""
        positions = fold_frames(x)
        convs = (self.theta, self.phi, self.g)
        theta, phi, g = map(self._group_vectors, convolve_together(positions, convs))
        with full_precision(x.device):
            y = polynomial_attention(theta, phi, g, self.coefficients)
            y = y.unflatten(2, (-1, *positions.shape[2:])).flatten(1, 2)
            return self.norm(self.out(y.to(self.out.weight.dtype)))

    def _group_vectors(self, y: Tensor) -> Tensor:
        """(N, c, H, W) to (N, groups, L), in float32 at least."""
        return y.to(computing_dtype(y)).unflatten(1, (self.groups, -1)).flatten(2)

    def operations(self, size: Shape) -> float:
        """``2 c L`` for L positions and every term of the polynomial.

        That is the product with g and the one with theta; P + 1 terms for the RBF kernel, one for
        the dot product.
        """
        terms = sum(1 for k in self.coefficients if k)
        return 2 * terms * self.g.out_channels * math.prod(size)

    def extra_repr(self) -> str:
        """What `repr` shows."""
        return f"channels={self.channels}, kernel={self.kernel!r}, groups={self.groups}"


def rbf_coefficients(order: int, gamma: float) -> tuple[float, ...]:
    """Taylor coefficients of ``exp(-2 gamma) exp(2 gamma t)`` in t, from degree 0 to `order`."""
    beta = math.exp(-2 * gamma)
    return tuple(beta * (2 * gamma) ** p / math.factorial(p) for p in range(order + 1))


def polynomial_attention(
    theta: Tensor, phi: Tensor, g: Tensor, coefficients: Sequence[float]
) -> Tensor:
    """``y_a = sum_b sum_p k_p (theta_a phi_b)^p g_b``, in time and memory linear in L.

    Queries theta, keys phi, values g and the result are vectors, (..., L); the coefficients k_p
    start with degree 0, at least one.
    """
    sums = []
    for degree, coefficient in enumerate(coefficients):
        g = g * phi if degree else g
        sums.append(coefficient * g.sum(-1, keepdim=True))
    y = sums.pop().expand_as(theta)
    while sums:
        y = torch.addcmul(sums.pop(), theta, y)
    return y
