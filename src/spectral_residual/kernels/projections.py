"""Both ends of the rewritten block: from feature map to hidden maps, and back with the residual.

`reduce_maps` makes K hidden maps whose spectrum is what the first convolution would make of the
spectrum of C maps; `promote_maps` is the second convolution, after the transform back.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from ..transforms.base import computing_dtype, full_precision
from .again import differentiate_again, is_traced
from .mixing import derive, mix, mix_into, padded


def reduce_maps(x: Tensor, weight: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """First convolution.

    Parameters
    ----------
    x : Tensor
        Feature map, (N, C, H, W).
    weight : Tensor
        (parts, groups, K / groups, C / groups), at least float32.
    dtype : torch.dtype
        Of the factors of products, see `product_dtype`.

    Returns
    -------
    (Tensor, Tensor)
        Hidden maps, (N, K, H, W), dtype of `weight`; and `x`, which any further use should take
        from here, so that its gradients are added in one place.
    """
    if is_traced():
        return mix(x, weight, dtype), x
    hidden, residual = _Reduce.apply(x, weight, dtype)
    return hidden, residual


def promote_maps(
    hidden: Tensor, weight: Tensor, field: Tensor, x: Tensor, dtype: torch.dtype
) -> Tensor:
    """Second convolution, and sum with the feature map.

    Parameters
    ----------
    hidden : Tensor
        Hidden maps, (N, K, H, W), dtype of `weight`.
    weight : Tensor
        (parts, groups, C / groups, K / groups).
    field : Tensor
        What is added to the first rows of every sample, (C, some rows, W).
    x : Tensor
        Feature map, (N, C, H, W).
    dtype : torch.dtype
        Of the factors of products.

    Returns
    -------
    Tensor
        (N, C, H, W), dtype and memory format of `x`.
    """
    if is_traced():
        return x + _branch(hidden, weight, field, dtype=dtype).to(x.dtype)
    output: Tensor = _Promote.apply(x, hidden, weight, field, dtype)
    return output


def _branch(hidden: Tensor, weight: Tensor, field: Tensor, *, dtype: torch.dtype) -> Tensor:
    return mix(hidden, weight, dtype) + padded(field, hidden.shape[2])


def _reduce_plainly(x: Tensor, weight: Tensor, *, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return mix(x, weight, dtype), x


class _Reduce(Function):
    """`reduce_maps`."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        shape = (x.shape[0], weight.shape[1] * weight.shape[2], *x.shape[2:])
        hidden = x.new_empty(shape, dtype=computing_dtype(x))
        mix_into(hidden, x, weight, dtype)
        return hidden, x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        x, weight, ctx.dtype = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx: Any, of_hidden: Tensor, of_residual: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        with full_precision(x.device):
            if torch.is_grad_enabled():
                plain = partial(_reduce_plainly, dtype=ctx.dtype)
                return *differentiate_again(plain, (x, weight), (of_hidden, of_residual)), None
            of_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
            of_weight = derive(of_x, of_hidden, x, weight, ctx.dtype, residual=of_residual)
        return of_x, of_weight, None


class _Promote(Function):
    """`promote_maps`."""

    @staticmethod
    def forward(
        x: Tensor, hidden: Tensor, weight: Tensor, field: Tensor, dtype: torch.dtype
    ) -> Tensor:
        output = torch.empty_like(x)
        mix_into(output, hidden, weight, dtype, residual=x, field=field)
        return output

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, hidden, weight, field, ctx.dtype = inputs
        ctx.save_for_backward(hidden, weight, field)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, field = ctx.saved_tensors
        with full_precision(gradient.device):
            if torch.is_grad_enabled():
                plain = partial(_branch, dtype=ctx.dtype)
                of_branch = gradient.to(hidden.dtype)
                return gradient, *differentiate_again(plain, ctx.saved_tensors, (of_branch,)), None
            of_hidden = torch.empty_like(hidden)
            of_weight = derive(of_hidden, gradient, hidden, weight, ctx.dtype)
            of_field = gradient[:, :, : field.shape[1]].sum(0, dtype=field.dtype)
        return gradient, of_hidden, of_weight, of_field, None
