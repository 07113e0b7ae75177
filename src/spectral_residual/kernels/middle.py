"""The spectrum of hidden maps in training, on CPU: `middle.cpp` between two FFTs.

The same numbers as `planes.to_planes`, `filtering.normalised_filter`, `statistics.moments` and
`planes.to_maps` one after the other, without the planes in between: the complex spectrum is
normalised, filtered and brought back, and its derivative by nothing but the spectrum is kept.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from ..transforms.fourier import column_weights
from . import native
from .again import differentiate_again
from .filtering import filter_plainly
from .planes import spectrum_to_maps, to_maps, to_planes
from .statistics import (
    check_count,
    moments_plainly,
    running_statistics,
    update_running,
    uses_batch,
)

Moments = tuple[Tensor, Tensor]


def filtered_maps(
    hidden: Tensor, norm: nn.BatchNorm2d, weight: Tensor, bias: Tensor, groups: int
) -> tuple[Tensor, Moments]:
    """Hidden maps whose spectrum is normalised and filtered.

    Parameters
    ----------
    hidden : Tensor
        (N, K, H, W), float32 or float64, contiguous, such that `native.takes` it.
    norm : nn.BatchNorm2d
        Of 2 * K planes, with weight and bias; its running statistics are updated as if it were
        called.
    weight, bias : Tensor
        W and B of the spectral ReLU, (H, W // 2 + 1).
    groups : int
        Groups of the K planes of either part.

    Returns
    -------
    (Tensor, (Tensor, Tensor))
        (N, K, H, W); and of the filtered spectrum the mean of every plane, (2, groups,
        K / groups), and the covariance within groups, (2, groups, K / groups, K / groups).

    Raises
    ------
    ValueError
        If there is but one value per plane to take statistics of.
    """
    dtype = hidden.dtype
    spectrum = torch.fft.rfft2(hidden.detach(), norm="ortho")
    batch = uses_batch(norm)
    if batch:
        count = check_count(spectrum.shape)
        mean, variance = native.spectral_statistics(spectrum)
        update_running(norm, mean, variance, count)
    else:
        mean, variance = (tensor.to(dtype) for tensor in running_statistics(norm))
    maps, mean, covariance = _Middle.apply(
        hidden,
        norm.weight.to(dtype),
        norm.bias.to(dtype),
        weight.to(dtype),
        bias.to(dtype),
        (spectrum, mean, variance, groups, norm.eps, batch),
    )
    return maps, (mean, covariance)


def _plainly(
    hidden: Tensor,
    gamma: Tensor,
    beta: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    mean: Tensor,
    variance: Tensor,
    groups: int,
    eps: float,
    batch: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    parts = []
    halves = (tensor.chunk(2) for tensor in (gamma, beta, mean, variance))
    for planes, g, b, m, v in zip(to_planes(hidden, "fft"), *halves, strict=True):
        parts.append(filter_plainly(planes, g, b, weight, bias, m, v, eps=eps, batch=batch))
    grouped = (planes.flatten(2).unflatten(1, (groups, -1)) for planes in parts)
    means, covariances = zip(*map(moments_plainly, grouped), strict=True)
    maps = to_maps((parts[0], parts[1]), hidden.shape[3], "fft")
    return maps, torch.stack(means), torch.stack(covariances)


class _Middle(Function):
    """`filtered_maps` of a spectrum with given statistics, which with `batch` are its own."""

    @staticmethod
    def forward(
        hidden: Tensor,
        gamma: Tensor,
        beta: Tensor,
        weight: Tensor,
        bias: Tensor,
        given: tuple[Tensor, Tensor, Tensor, int, float, bool],
    ) -> tuple[Tensor, Tensor, Tensor]:
        spectrum, mean, variance, groups, eps, _ = given
        scale = gamma * torch.rsqrt(variance + eps)
        filtered, means = native.spectral_filter(spectrum, scale, beta - mean * scale, weight, bias)
        covariance = native.spectral_covariance(filtered, means, groups)
        maps = spectrum_to_maps(filtered, hidden.shape[3])
        return maps, means.view(covariance.shape[:3]), covariance

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        hidden, *parameters, given = inputs
        spectrum, mean, variance, ctx.groups, ctx.eps, ctx.batch = given
        ctx.save_for_backward(hidden, *parameters, spectrum, mean, variance, output[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden, *parameters, spectrum, mean, variance, means = ctx.saved_tensors
        if torch.is_grad_enabled():
            plain = partial(
                _plainly,
                mean=mean,
                variance=variance,
                groups=ctx.groups,
                eps=ctx.eps,
                batch=ctx.batch,
            )
            return *differentiate_again(plain, (hidden, *parameters), gradients), None
        of_maps, of_mean, of_covariance = gradients
        height, width = hidden.shape[2:]
        count = hidden.shape[0] * height * (width // 2 + 1)
        found = torch.fft.rfft2(of_maps, norm="ortho")
        of_parameters = native.spectral_filter_backward(
            found,
            spectrum,
            mean,
            torch.rsqrt(variance + ctx.eps),
            parameters,
            column_weights(width, hidden).repeat(height),
            means,
            (of_covariance + of_covariance.mT) / count,
            of_mean / count,
            normalised=ctx.batch,
        )
        return spectrum_to_maps(found, width), *of_parameters, None
