"""The rewritten SRL-FFT block on Triton kernels: as `rewrite`, with fewer passes over the maps.

With statistics that are fixed, three kernels: read x, write the hidden maps; read and write
these; read both, write the output. With statistics of the batch in the second normalisation the
filtered spectra are stored too, see `ops`, and their covariance is left to PyTorch.

Hidden maps and spectra have the dtype that products have, everything else is float32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from ...transforms.base import Size, full_precision
from ..again import is_traced
from ..grouped import is_channels_last, product_dtype
from ..layers import Layers
from ..statistics import (
    check_count,
    convolved_statistics,
    running_statistics,
    scale_and_shift,
    update_running,
    uses_batch,
)
from . import ops
from .mixing_ops import mix_maps, weight_gradient

PRECISION = ops.PRECISIONS[0]


def triton_block(x: Tensor, layers: Layers) -> Tensor:
    """Output of a spectral residual block with the Fourier transform, as `rewritten_block`.

    Parameters
    ----------
    x : Tensor
        Feature map, (N, C, H, W), float32, bfloat16 or float16, in either memory format; on a
        CUDA device, or with Triton's interpreter on the CPU.
    layers : Layers
        Running statistics are updated as if the normalisations were called.

    Returns
    -------
    Tensor
        (N, C, H, W), dtype and memory format of `x`. Gradients are not differentiable again.

    Raises
    ------
    ValueError
        If `ops.unavailable_reason` gives a reason, which is not asked for in compiled
        graphs, or if statistics are to be taken of a single value.
    """
    size = (x.shape[2], x.shape[3])
    dtype = product_dtype(x)
    reason = None if is_traced() else ops.unavailable_reason(x.device, size, dtype)
    if reason is not None:
        raise ValueError(f"kernel='triton' is not possible: {reason}")
    with full_precision(x.device):
        reduce, promote = layers.grouped_weights(torch.float32)
        hidden, x = _reduce_maps(x, reduce / 2, dtype)
        filters = (*_normalisation(hidden, layers.bn1), *layers.filters)
        if uses_batch(layers.bn2):
            z = ops.spectral_planes(hidden, *filters)
            parts = tuple(z.float().unbind(1))
            scale, shift = convolved_statistics(parts, promote, layers.bn2)
            hidden = ops.inverse_planes(z, size[1])
        else:
            hidden = ops.filter_planes(hidden, *filters)
            scale, shift = convolved_statistics((), promote, layers.bn2)
        promote = promote * (layers.alpha * scale)[..., None] / 2
        field = layers.field(layers.alpha * shift, size)
        return mix_maps(hidden, promote, x.dtype, is_channels_last(x), x, field, PRECISION)


def describe_triton(size: Size, device: torch.device, dtype: torch.dtype) -> str:
    """What `triton_block` does with maps of a size (H, W), or why it cannot, in one line."""
    reason = ops.unavailable_reason(device, (size[0], size[1]), dtype)
    if reason is not None:
        return f"triton: not possible, {reason}"
    return (
        "triton: two kernels for the convolutions; between them one kernel, or with statistics of "
        "the batch the transforms apart and covariances in PyTorch"
    )


def _normalisation(hidden: Tensor, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Scale and shift of the spectra of hidden maps, (2, K) each."""
    if uses_batch(norm):
        samples, channels, height, width = hidden.shape
        count = check_count((samples, channels, height, width // 2 + 1))
        mean, square = ops.plane_statistics(hidden).flatten(1) / count
        # Little cancels: a spectrum's mean is near u(0) / sqrt(H W), its mean square that of u.
        variance = (square - mean.square()).clamp(min=0)
        update_running(norm, mean, variance, count)
    else:
        mean, variance = running_statistics(norm)
    scale, shift = scale_and_shift(norm, mean, variance, torch.float32)
    return scale.view(2, -1), shift.view(2, -1)


def _reduce_maps(x: Tensor, weight: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Hidden maps, and x for further use, so that its gradients are added in the kernel."""
    if is_traced():
        return mix_maps(x, weight, dtype, False, None, None, PRECISION), x
    hidden, residual = _Reduce.apply(x, weight, dtype)
    return hidden, residual


class _Reduce(Function):
    """`_reduce_maps`."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        return mix_maps(x, weight, dtype, False, None, None, PRECISION), x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_hidden: Tensor, of_residual: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            last = is_channels_last(x)
            of_x = mix_maps(of_hidden, weight.mT, x.dtype, last, of_residual, None, PRECISION)
        if ctx.needs_input_grad[1]:
            of_weight = weight_gradient(of_hidden, x, weight.shape[1], PRECISION)
        return of_x, of_weight, None
