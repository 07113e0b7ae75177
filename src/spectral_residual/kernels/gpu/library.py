"""Registration of the Triton kernels as PyTorch operators, with fakes and gradients.

`ops` is the way to call them: nothing is checked here. Gradients are not differentiable
again.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .launch import launch, programs

Planes = tuple[int, int, int, int]


@torch.library.custom_op("spectral_residual::filter_planes", mutates_args=())
def filter_planes(
    h: Tensor,
    scale: Tensor,
    shift: Tensor,
    weight: Tensor,
    bias: Tensor,
    precision: str,
    spectrum: bool,
) -> Tensor:
    """`ops.filter_planes` or, if `spectrum`, `triton_ops.spectral_planes`."""
    from .kernels import filter_kernel

    planes = _planes(h)
    out = h.new_empty(_spectra(planes) if spectrum else planes)
    inputs = (h, scale, shift, weight, bias)
    launch(filter_kernel, (*inputs, out), planes, h.dtype, precision, SPECTRUM=spectrum)
    return out


@filter_planes.register_fake
def _(
    h: Tensor,
    scale: Tensor,
    shift: Tensor,
    weight: Tensor,
    bias: Tensor,
    precision: str,
    spectrum: bool,
) -> Tensor:
    planes = _planes(h)
    return h.new_empty(_spectra(planes) if spectrum else planes)


@torch.library.custom_op("spectral_residual::filter_planes_backward", mutates_args=())
def filter_planes_backward(
    grad: Tensor,
    h: Tensor,
    scale: Tensor,
    shift: Tensor,
    weight: Tensor,
    bias: Tensor,
    precision: str,
    spectrum: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of h, scale, shift, weight and bias from that of the output of `filter_planes`."""
    from .kernels import filter_backward_kernel

    planes = _planes(h)
    per_channel = programs(planes, h.device)
    grad_h = h.new_empty(planes)
    half_sums = weight.new_empty(2, per_channel * planes[1], *weight.shape)
    channel_sums = scale.new_empty(2, per_channel, *scale.shape)
    tensors = (grad, h, scale, shift, weight, bias, grad_h, half_sums, channel_sums)
    launch(filter_backward_kernel, tensors, planes, h.dtype, precision, SPECTRUM=spectrum)
    of_scale, of_shift = channel_sums
    of_weight, of_bias = half_sums
    return grad_h, of_scale.sum(0), of_shift.sum(0), of_weight.sum(0), of_bias.sum(0)


@filter_planes_backward.register_fake
def _(
    grad: Tensor,
    h: Tensor,
    scale: Tensor,
    shift: Tensor,
    weight: Tensor,
    bias: Tensor,
    precision: str,
    spectrum: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    of_scale, of_shift = scale.new_empty(scale.shape), shift.new_empty(shift.shape)
    of_weight, of_bias = weight.new_empty(weight.shape), bias.new_empty(bias.shape)
    return h.new_empty(h.shape), of_scale, of_shift, of_weight, of_bias


def _filter_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.precision, ctx.spectrum = inputs
    ctx.save_for_backward(*tensors)


def _filter_gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    gradients = filter_planes_backward(grad, *ctx.saved_tensors, ctx.precision, ctx.spectrum)
    return *gradients, None, None


filter_planes.register_autograd(_filter_gradients, setup_context=_filter_setup)


@torch.library.custom_op("spectral_residual::inverse_planes", mutates_args=())
def inverse_planes(z: Tensor, width: int, precision: str) -> Tensor:
    """`ops.inverse_planes`."""
    from .kernels import inverse_kernel

    planes = (z.shape[0], z.shape[2], z.shape[3], width)
    out = z.new_empty(planes)
    launch(inverse_kernel, (z, out), planes, z.dtype, precision)
    return out


@inverse_planes.register_fake
def _(z: Tensor, width: int, precision: str) -> Tensor:
    return z.new_empty(z.shape[0], z.shape[2], z.shape[3], width)


@torch.library.custom_op("spectral_residual::inverse_planes_backward", mutates_args=())
def inverse_planes_backward(grad: Tensor, precision: str) -> Tensor:
    """Gradient of z from that of the output of `inverse_planes`."""
    from .kernels import inverse_backward_kernel

    planes = _planes(grad)
    grad_z = grad.new_empty(_spectra(planes))
    launch(inverse_backward_kernel, (grad, grad_z), planes, grad.dtype, precision)
    return grad_z


@inverse_planes_backward.register_fake
def _(grad: Tensor, precision: str) -> Tensor:
    return grad.new_empty(_spectra(_planes(grad)))


def _inverse_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.precision = inputs[2]


def _inverse_gradients(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
    return inverse_planes_backward(grad, ctx.precision), None, None


inverse_planes.register_autograd(_inverse_gradients, setup_context=_inverse_setup)


@torch.library.custom_op("spectral_residual::plane_statistics", mutates_args=())
def plane_statistics(h: Tensor, precision: str) -> Tensor:
    """`ops.plane_statistics`."""
    from .kernels import statistics_kernel

    planes = _planes(h)
    per_channel = programs(planes, h.device)
    sums = h.new_empty(per_channel, 2, 2, planes[1], dtype=torch.float32)
    launch(statistics_kernel, (h, sums), planes, h.dtype, precision)
    return sums.sum(0)


@plane_statistics.register_fake
def _(h: Tensor, precision: str) -> Tensor:
    return h.new_empty(2, 2, h.shape[1], dtype=torch.float32)


@torch.library.custom_op("spectral_residual::plane_statistics_backward", mutates_args=())
def plane_statistics_backward(grad: Tensor, h: Tensor, precision: str) -> Tensor:
    """Gradient of h from that of the output of `plane_statistics`."""
    from .kernels import statistics_backward_kernel

    planes = _planes(h)
    grad_h = h.new_empty(planes)
    launch(statistics_backward_kernel, (grad, h, grad_h), planes, h.dtype, precision)
    return grad_h


@plane_statistics_backward.register_fake
def _(grad: Tensor, h: Tensor, precision: str) -> Tensor:
    return h.new_empty(h.shape)


def _statistics_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    h, ctx.precision = inputs
    ctx.save_for_backward(h)


def _statistics_gradients(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
    return plane_statistics_backward(grad, *ctx.saved_tensors, ctx.precision), None


plane_statistics.register_autograd(_statistics_gradients, setup_context=_statistics_setup)


def _planes(h: Tensor) -> Planes:
    samples, channels, height, width = h.shape
    return samples, channels, height, width


def _spectra(planes: Planes) -> tuple[int, int, int, int, int]:
    samples, channels, height, width = planes
    return samples, 2, channels, height, width // 2 + 1
