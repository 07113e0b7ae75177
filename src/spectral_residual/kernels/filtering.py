"""First normalisation, spectral filter and ReLU of the rewritten block in one pass."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from .again import differentiate_again, is_traced
from .grouped import CHUNK_ELEMENTS
from .statistics import (
    Parts,
    check_count,
    running_statistics,
    update_running,
    uses_batch,
)


def normalised_filter(parts: Parts, norm: nn.BatchNorm2d, weight: Tensor, bias: Tensor) -> Parts:
    """``max(W * norm(z) + B, 0)``.

    Parameters
    ----------
    parts : tuple of Tensor
        z, (N, K, Hs, Ws) for every part, float32 or float64.
    norm : nn.BatchNorm2d
        Of parts * K planes, with weight and bias; its running statistics are updated as if it
        were called.
    weight, bias : Tensor
        W and B, (Hs, Ws).

    Returns
    -------
    tuple of Tensor
        (N, K, Hs, Ws) for every part.

    Raises
    ------
    ValueError
        If there is but one value per plane to take statistics of.
    """
    batch = uses_batch(norm)
    dtype = parts[0].dtype
    if batch:
        count = check_count(parts[0].shape)
        each = [_mean_and_variance(planes) for planes in parts]
        mean, variance = (torch.cat(values) for values in zip(*each, strict=True))
        update_running(norm, mean, variance, count)
    else:
        mean, variance = running_statistics(norm)
    per_plane = (norm.weight, norm.bias, mean, variance)
    split = zip(*(tensor.to(dtype).chunk(len(parts)) for tensor in per_plane), strict=True)
    weight, bias = weight.to(dtype), bias.to(dtype)
    results = []
    for planes, (gamma, beta, *statistics) in zip(parts, split, strict=True):
        tensors = (planes, gamma, beta, weight, bias, *statistics)
        if is_traced():
            results.append(filter_plainly(*tensors, eps=norm.eps, batch=False))
        else:
            results.append(_NormalisedFilter.apply(*tensors, norm.eps, batch))
    return tuple(results)


def _mean_and_variance(planes: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance, divided by the number of values, of every plane: (planes,) each."""
    mean = planes.mean((0, 2, 3))
    if is_traced():
        return mean, (planes - mean[:, None, None]).square().mean((0, 2, 3))
    variance = torch.empty_like(mean)
    with torch.no_grad():
        for some in _plane_chunks(planes):
            centred = planes[:, some] - mean[some, None, None]
            norms = torch.linalg.vector_norm(centred.flatten(2), dim=2)
            variance[some] = norms.square().sum(0) / (planes.numel() / planes.shape[1])
    return mean.detach(), variance


def _plane_chunks(planes: Tensor) -> Iterator[slice]:
    count = planes.shape[1]
    step = count
    if planes.device.type == "cpu":
        step = max(1, CHUNK_ELEMENTS * count // max(1, planes.numel()))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def filter_plainly(
    planes: Tensor,
    gamma: Tensor,
    beta: Tensor,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
    *,
    eps: float,
    batch: bool,
) -> Tensor:
    """`normalised_filter` of one part in plain operations; with `batch` by its own."""
    if batch:
        mean = planes.mean((0, 2, 3))
        variance = (planes - mean[:, None, None]).square().mean((0, 2, 3))
    scale = gamma * torch.rsqrt(variance + eps)
    normalised = (planes - mean[:, None, None]) * scale[:, None, None] + beta[:, None, None]
    return torch.relu(normalised * weight + bias)


class _NormalisedFilter(Function):
    """`normalised_filter` for given statistics, which with `batch` are those of the planes."""

    @staticmethod
    def forward(
        planes: Tensor,
        gamma: Tensor,
        beta: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        variance: Tensor,
        eps: float,
        batch: bool,
    ) -> Tensor:
        scale = gamma * torch.rsqrt(variance + eps)
        shift = beta - mean * scale
        result = torch.empty_like(planes)
        for some in _plane_chunks(planes):
            factor = scale[some, None, None] * weight
            summand = torch.addcmul(bias, shift[some, None, None], weight)
            torch.addcmul(summand, planes[:, some], factor, out=result[:, some]).relu_()
        return result

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        *tensors, ctx.eps, ctx.batch = inputs
        ctx.save_for_backward(*tensors, output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, result = ctx.saved_tensors
        if torch.is_grad_enabled():
            plain = partial(filter_plainly, eps=ctx.eps, batch=ctx.batch)
            return *differentiate_again(plain, inputs, (gradient,)), None, None
        planes, gamma, beta, weight, bias, mean, variance = inputs
        inverse = torch.rsqrt(variance + ctx.eps)
        count = planes.numel() // planes.shape[1]
        of_planes = torch.empty_like(planes)
        of_gamma, of_beta = torch.empty_like(gamma), torch.empty_like(beta)
        of_weight, of_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        for some in _plane_chunks(planes):
            centred = (planes[:, some] - mean[some, None, None]).mul_(inverse[some, None, None])
            before = result[:, some].sign().mul_(gradient[:, some])
            by_frequency = before.sum(0).flatten(1)
            with_centred = (before * centred).sum(0).flatten(1)
            of_bias += by_frequency.sum(0).view_as(bias)
            of_weight += (gamma[some] @ with_centred + beta[some] @ by_frequency).view_as(weight)
            of_beta[some] = by_frequency @ weight.flatten()
            of_gamma[some] = with_centred @ weight.flatten()
            scale = gamma[some] * inverse[some]
            through = before.mul_(scale[:, None, None] * weight)
            if ctx.batch:
                through.addcmul_(centred, (scale * of_gamma[some] / -count)[:, None, None])
                through.sub_((scale * of_beta[some] / count)[:, None, None])
            of_planes[:, some] = through
        return of_planes, of_gamma, of_beta, of_weight, of_bias, None, None, None, None
