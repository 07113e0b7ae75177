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
from ..transforms.base import Size, computing_dtype, full_precision
from .checks import Shape, check_feature_map, check_positive, divide, fold_frames
from .fused import add_residual, convolve_together

KERNELS = ("rbf", "dot_product")


class CompactGeneralizedBlock(nn.Module):
    """Compact generalized non-local block (CGNL) for images and videos.

    The last normalisation starts with scale 0, so that the block returns its input unchanged.
    Convolutions have no biases and start from a normal distribution of deviation 0.01.
    Attention, output convolution and normalisation are computed in float32 inside autocast too:
    the RBF kernel differs from a constant by less than half precisions resolve.

    Parameters
    ----------
    channels : int
        Channels C of the feature map.
    size : (int, int), optional
        Not used: the block takes maps of any size. It is here because all blocks are built with
        the same arguments.
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

    def __init__(
        self,
        channels: int,
        size: Size | None = None,
        *,
        kernel: str = "rbf",
        taylor_order: int = 3,
        gamma: float = 1e-4,
        groups: int = 8,
        reduction: int = 2,
    ) -> None:
        super().__init__()
        if kernel not in KERNELS:
            raise unknown_name("kernel of the compact generalized block", kernel, KERNELS)
        check_positive("taylor_order", taylor_order)
        if not gamma > 0:
            raise ValueError(f"gamma must be positive, got {gamma!r}")
        inner = divide("channels", channels, "reduction", reduction)
        divide("channels", channels, "groups", groups)
        divide("channels / reduction", inner, "groups", groups)
        self.channels = channels
        self.kernel = kernel
        self.groups = groups
        self.coefficients = rbf_coefficients(taylor_order, gamma) if kernel == "rbf" else (0.0, 1.0)
        self.theta = nn.Conv2d(channels, inner, 1, bias=False)
        self.phi = nn.Conv2d(channels, inner, 1, bias=False)
        self.g = nn.Conv2d(channels, inner, 1, bias=False)
        self.out = nn.Conv2d(inner, channels, 1, groups=groups, bias=False)
        self.norm = nn.GroupNorm(groups, channels)
        for conv in (self.theta, self.phi, self.g, self.out):
            nn.init.normal_(conv.weight, std=0.01)
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Add to every channel of every position what it attends to in its group.

        Parameters
        ----------
        x : Tensor
            Feature map, (N, C, H, W) or (N, C, T, H, W), floating point; autocast and half
            precisions work.

        Returns
        -------
        Tensor
            Shape and dtype of `x`.

        Raises
        ------
        ValueError
            If `x` has another number of axes or channels.
        """
        check_feature_map(tuple(x.shape), self.channels, videos=True)
        positions = fold_frames(x)
        convs = (self.theta, self.phi, self.g)
        theta, phi, g = map(self._group_vectors, convolve_together(positions, convs))
        with full_precision(x.device):
            y = polynomial_attention(theta, phi, g, self.coefficients)
            y = y.unflatten(2, (-1, *positions.shape[2:])).flatten(1, 2)
            branch = self.norm(self.out(y.to(self.out.weight.dtype)))
        return add_residual(x, branch, self.norm)

    def _group_vectors(self, y: Tensor) -> Tensor:
        """(N, c, H, W) to (N, groups, L), in float32 at least."""
        return y.to(computing_dtype(y)).unflatten(1, (self.groups, -1)).flatten(2)

    def extra_operations(self, input_shape: Shape) -> float:
        """Multiply-accumulates of the products, which no layer of the block accounts for.

        Parameters
        ----------
        input_shape : tuple of int
            Shape of the input, (N, C, H, W) or (N, C, T, H, W).

        Returns
        -------
        float
            For one sample and L positions: ``2 c L`` for every term of the polynomial, that is
            the product with g and the one with theta; P + 1 terms for the RBF kernel, one for
            the dot product.
        """
        check_feature_map(input_shape, self.channels, videos=True)
        terms = sum(1 for k in self.coefficients if k)
        return float(2 * terms * self.g.out_channels * math.prod(input_shape[2:]))

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

    Parameters
    ----------
    theta, phi, g : Tensor
        (..., L): vectors of queries, keys and values.
    coefficients : sequence of float
        ``k_p``, from degree 0; at least one.

    Returns
    -------
    Tensor
        (..., L).
    """
    sums = []
    for degree, coefficient in enumerate(coefficients):
        g = g * phi if degree else g
        sums.append(coefficient * g.sum(-1, keepdim=True))
    y = sums.pop().expand_as(theta)
    while sums:
        y = torch.addcmul(sums.pop(), theta, y)
    return y
