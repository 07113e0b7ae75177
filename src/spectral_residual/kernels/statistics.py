"""Statistics of batch normalisation in the rewritten block.

Those of the second normalisation are of a convolution's result that is never computed: mean and
variance of ``U z`` are ``U mean`` and ``diag(U cov U^T)``, from mean and covariance of z in every
group of planes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from .again import differentiate_again, is_traced
from .grouped import chunks

Parts = tuple[Tensor, ...]


def uses_batch(norm: nn.BatchNorm2d) -> bool:
    """Whether it normalises by the statistics of the batch, and not by running ones."""
    return norm.training or norm.running_mean is None


def running_statistics(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Running mean and variance; raises ValueError if there are none."""
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("expected a normalisation with running statistics, got one without")
    return norm.running_mean, norm.running_var


@torch.no_grad()
def update_running(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, count: int) -> None:
    """Update running statistics as `nn.BatchNorm2d` does in training.

    Parameters
    ----------
    norm : nn.BatchNorm2d
        Changed if it is in training and tracks statistics.
    mean, variance : Tensor
        Of the batch, (planes,), the variance divided by `count`.
    count : int
        Values per plane.
    """
    if not (norm.training and norm.track_running_stats):
        return
    factor: Tensor | float = 0.0 if norm.momentum is None else norm.momentum
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
        if norm.momentum is None:
            factor = 1 / norm.num_batches_tracked.double()
    unbiased = variance * (count / (count - 1))
    for running, new in ((norm.running_mean, mean), (norm.running_var, unbiased)):
        if running is not None:
            running.copy_((1 - factor) * running + factor * new)


def convolved_statistics(
    parts: Parts, weight: Tensor, norm: nn.BatchNorm2d
) -> tuple[Tensor, Tensor]:
    """Scale and shift that normalise the result of a grouped convolution, without computing it.

    Parameters
    ----------
    parts : tuple of Tensor
        Input of the convolution, (N, groups * inputs, Hs, Ws) for every part, float32 or float64.
    weight : Tensor
        U, (parts, groups, outputs, inputs), dtype of the input.
    norm : nn.BatchNorm2d
        Of parts * groups * outputs planes, with weight and bias; its running statistics are
        updated as if it were called.

    Returns
    -------
    (Tensor, Tensor)
        (parts, groups, outputs) each: ``norm(U z) = scale * U z + shift``.
    """
    if not uses_batch(norm):
        return _by_running_statistics(weight, norm)
    each = [moments(planes, weight.shape[1]) for planes in parts]
    mean, covariance = (torch.stack(values) for values in zip(*each, strict=True))
    return normalise_convolved(mean, covariance, parts[0].shape, weight, norm)


def normalise_convolved(
    mean: Tensor, covariance: Tensor, shape: Sequence[int], weight: Tensor, norm: nn.BatchNorm2d
) -> tuple[Tensor, Tensor]:
    """`convolved_statistics` from moments of the convolution's input.

    Parameters
    ----------
    mean, covariance : Tensor
        (parts, groups, inputs) and (parts, groups, inputs, inputs).
    shape : sequence of int
        Of the planes that they are of, (N, planes, Hs, Ws).
    weight, norm
        See `convolved_statistics`.
    """
    if not uses_batch(norm):
        return _by_running_statistics(weight, norm)
    count = check_count(shape)
    of_result = (weight @ mean[..., None]).flatten()
    variance = (weight @ covariance * weight).sum(-1).clamp(min=0).flatten()
    update_running(norm, of_result, variance, count)
    scale, shift = scale_and_shift(norm, of_result, variance, weight.dtype)
    return scale.view(weight.shape[:3]), shift.view(weight.shape[:3])


def _by_running_statistics(weight: Tensor, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    scale, shift = scale_and_shift(norm, *running_statistics(norm), weight.dtype)
    return scale.view(weight.shape[:3]), shift.view(weight.shape[:3])


def scale_and_shift(
    norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """``norm(z) = scale * z + shift`` for statistics of z, (planes,) each."""
    scale = norm.weight.to(dtype) * torch.rsqrt(variance.to(dtype) + norm.eps)
    return scale, norm.bias.to(dtype) - mean.to(dtype) * scale


def check_count(shape: Sequence[int]) -> int:
    """Values per plane of (N, planes, Hs, Ws); raises ValueError if it is one, as PyTorch does."""
    count = shape[0] * shape[2] * shape[3]
    if count == 1:
        raise ValueError(
            "expected more than 1 value per plane for the statistics of a batch, got a spectrum "
            f"of shape {tuple(shape)}"
        )
    return count


def moments(planes: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Mean of every plane and covariance within groups, divided by the number of values.

    Parameters
    ----------
    planes : Tensor
        (N, groups * k, Hs, Ws).
    groups : int

    Returns
    -------
    (Tensor, Tensor)
        (groups, k) and (groups, k, k).
    """
    grouped = planes.flatten(2).unflatten(1, (groups, -1))
    if is_traced():
        return moments_plainly(grouped)
    mean, covariance = _Moments.apply(grouped)
    return mean, covariance


def moments_plainly(grouped: Tensor) -> tuple[Tensor, Tensor]:
    """`moments` in plain operations, of planes in groups, (N, groups, k, positions)."""
    mean = grouped.mean((0, 3))
    centred = grouped - mean[..., None]
    return mean, (centred @ centred.mT).mean(0) / grouped.shape[3]


class _Moments(Function):
    """`moments` of planes in groups, (N, groups, k, positions)."""

    @staticmethod
    def forward(grouped: Tensor) -> tuple[Tensor, Tensor]:
        mean = grouped.mean((0, 3))
        covariance = grouped.new_zeros(*mean.shape, mean.shape[1])
        for samples, _ in chunks(grouped, 1):
            centred = grouped[samples] - mean[..., None]
            covariance += (centred @ centred.mT).sum(0)
        return mean, covariance / (grouped.shape[0] * grouped.shape[3])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*inputs, output[0])

    @staticmethod
    def backward(ctx: Any, of_mean: Tensor, of_covariance: Tensor) -> Tensor | None:
        grouped, mean = ctx.saved_tensors
        if torch.is_grad_enabled():
            return differentiate_again(moments_plainly, (grouped,), (of_mean, of_covariance))[0]
        count = grouped.shape[0] * grouped.shape[3]
        factor = (of_covariance + of_covariance.mT) / count
        result = torch.empty_like(grouped)
        for samples, _ in chunks(grouped, 1):
            centred = grouped[samples] - mean[..., None]
            torch.add(factor @ centred, of_mean[..., None] / count, out=result[samples])
        return result
