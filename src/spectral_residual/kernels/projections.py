"""Both ends of the rewritten block: from feature map to hidden maps, and back with the residual.

A 1x1 convolution acts on every position alone and a transform on every channel alone, so they
commute: `reduce_maps` makes K hidden maps whose spectrum is what the convolution would make of
the spectrum of C maps; `promote_maps` is the second convolution, after the transform back.

Weights are (parts, groups of one part, outputs, inputs). For the Fourier transform a group has
either real or imaginary parts; these are the spectra of even and of odd maps, so both functions
work on the two sides of `mirror`, each of which has its part of the weight. A real transform has
one part, whose one side is the map itself.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn.functional import pad

from ..transforms.base import computing_dtype, full_precision
from .again import differentiate_again, is_traced
from .grouped import (
    chunks,
    grouped_outer_product,
    grouped_product,
    is_channels_last,
    planes_of,
)
from .mirror import (
    add_own_mirrors,
    fold,
    transpose_unfold,
    unfold,
    unfold_into,
)

Sides = tuple[Tensor, ...]


def reduce_maps(x: Tensor, weight: Tensor, dtype: torch.dtype) -> tuple[Sides, Tensor]:
    """First convolution.

    Parameters
    ----------
    x : Tensor
        Feature map, (N, C, H, W).
    weight : Tensor
        (parts, groups, K / groups, C / groups).
    dtype : torch.dtype
        Of the factors of products, see `product_dtype`.

    Returns
    -------
    (tuple of Tensor, Tensor)
        Sides of the hidden maps, (N, K, rows, W) each and at least float32; and `x`, which any
        further use should take from here, so that its gradients are added in one place.
    """
    if is_traced():
        return products(sides_of(x, weight), weight, dtype, x), x
    *sides, residual = _Reduce.apply(x, weight, dtype)
    return tuple(sides), residual


def promote_maps(
    sides: Sides, weight: Tensor, field: Tensor, x: Tensor, dtype: torch.dtype
) -> Tensor:
    """Second convolution, and sum with the feature map.

    Parameters
    ----------
    sides : tuple of Tensor
        Of the hidden maps, (N, K, rows, W) each.
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
        return _promote_plainly(*sides, weight, field, x=x, dtype=dtype)
    output: Tensor = _Promote.apply(x, weight, field, dtype, *sides)
    return output


def sides_of(maps: Tensor, weight: Tensor) -> Sides:
    """As many sides of maps as the weight has parts."""
    return (maps,) if weight.shape[0] == 1 else fold(maps)


def products(
    sides: Sides, weight: Tensor, dtype: torch.dtype, like: Tensor, *, channels_last: bool = False
) -> Sides:
    """Grouped convolution of each side.

    Parameters
    ----------
    sides : tuple of Tensor
        (N, groups * inputs, rows, W) each.
    weight : Tensor
        (parts, groups, outputs, inputs).
    dtype : torch.dtype
        Of the factors of products.
    like : Tensor
        Gives the dtype of the results, at least float32.
    channels_last : bool, default False
        Memory format of the results.

    Returns
    -------
    tuple of Tensor
        (N, groups * outputs, rows, W) each.
    """
    result_dtype = computing_dtype(like)
    return tuple(
        grouped_product(part, side.to(dtype), channels_last=channels_last).to(result_dtype)
        for part, side in zip(weight.to(dtype).unbind(), sides, strict=True)
    )


def add_branch(
    out: Tensor, sides: Sides, weight: Tensor, field: Tensor, x: Tensor, dtype: torch.dtype
) -> None:
    """Write the result of `promote_maps` for some samples and groups to `out`."""
    branch = products(sides, weight, dtype, x, channels_last=is_channels_last(x))
    branch[0][:, :, : field.shape[1]] += field
    _add_maps(out, branch, x)


def _add_maps(out: Tensor, sides: Sides, residual: Tensor) -> None:
    """Write the maps with these sides, which may be overwritten, plus a residual to `out`."""
    if len(sides) == 2:
        unfold_into(out, sides[0], sides[1], residual)
    else:
        torch.add(residual, sides[0], out=out)


def _reduce_plainly(x: Tensor, weight: Tensor, dtype: torch.dtype) -> tuple[Tensor, ...]:
    return *products(sides_of(x, weight), weight, dtype, x), x


def _promote_plainly(*tensors: Tensor, x: Tensor, dtype: torch.dtype) -> Tensor:
    *sides, weight, field = tensors
    branch = products(tuple(sides), weight, dtype, x)
    height = x.shape[2]
    maps = unfold(branch[0], branch[1], height) if len(branch) == 2 else branch[0]
    return x + (maps + pad(field, (0, 0, 0, height - field.shape[1]))).to(x.dtype)


def _outer_products(left: Sides, right: Sides, part: slice, dtype: torch.dtype) -> Tensor:
    groups = part.stop - part.start
    pairs = zip(left, right, strict=True)
    return torch.stack([grouped_outer_product(a.to(dtype), b.to(dtype), groups) for a, b in pairs])


class _Reduce(Function):
    """`reduce_maps`, in chunks."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, dtype: torch.dtype) -> tuple[Tensor, ...]:
        parts, groups, outputs, inputs = weight.shape
        samples, _, height, width = x.shape
        rows = height if parts == 1 else height // 2 + 1
        shape = (samples, groups * outputs, rows, width)
        results = [x.new_empty(shape, dtype=computing_dtype(x)) for _ in range(parts)]
        for some, part in chunks(x, groups):
            piece = x[some, planes_of(part, inputs)]
            found = products(sides_of(piece, weight), weight[:, part], dtype, x)
            for result, side in zip(results, found, strict=True):
                result[some, planes_of(part, outputs)] = side
        return *results, x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        x, weight, ctx.dtype = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        *of_sides, residual = gradients
        with full_precision(x.device):
            if torch.is_grad_enabled():
                plain = partial(_reduce_plainly, dtype=ctx.dtype)
                return *differentiate_again(plain, (x, weight), gradients), None
            _, groups, outputs, inputs = weight.shape
            result = torch.empty_like(x)
            of_weight = torch.zeros_like(weight)
            for some, part in chunks(x, groups):
                channels = planes_of(part, inputs)
                piece = x[some, channels]
                sides = tuple(side[some, planes_of(part, outputs)] for side in of_sides)
                through = products(
                    sides, weight.mT[:, part], ctx.dtype, x, channels_last=is_channels_last(x)
                )
                if len(through) == 2:
                    add_own_mirrors(through[0], through[0], through[1], x.shape[2])
                _add_maps(result[some, channels], through, residual[some, channels])
                outer = sides_of(piece, weight)
                of_weight[:, part] += _outer_products(sides, outer, part, ctx.dtype)
        return result, of_weight, None


class _Promote(Function):
    """`promote_maps`, in chunks."""

    @staticmethod
    def forward(
        x: Tensor, weight: Tensor, field: Tensor, dtype: torch.dtype, *sides: Tensor
    ) -> Tensor:
        _, groups, outputs, inputs = weight.shape
        output = torch.empty_like(x)
        for some, part in chunks(x, groups):
            channels, planes = planes_of(part, outputs), planes_of(part, inputs)
            piece = tuple(side[some, planes] for side in sides)
            out = output[some, channels]
            add_branch(out, piece, weight[:, part], field[channels], x[some, channels], dtype)
        return output

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, weight, field, ctx.dtype, *sides = inputs
        ctx.save_for_backward(*sides, weight, field)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        *sides, weight, field = ctx.saved_tensors
        with full_precision(gradient.device):
            if torch.is_grad_enabled():
                x = torch.zeros_like(gradient)
                plain = partial(_promote_plainly, x=x, dtype=ctx.dtype)
                again = differentiate_again(plain, ctx.saved_tensors, (gradient,))
                return gradient, again[-2], again[-1], None, *again[:-2]
            _, groups, outputs, inputs = weight.shape
            results = [torch.empty_like(side) for side in sides]
            of_weight = torch.zeros_like(weight)
            for some, part in chunks(gradient, groups):
                planes = planes_of(part, inputs)
                piece = gradient[some, planes_of(part, outputs)]
                of_branch = transpose_unfold(piece) if len(sides) == 2 else (piece,)
                found = products(of_branch, weight.mT[:, part], ctx.dtype, gradient)
                for result, side in zip(results, found, strict=True):
                    result[some, planes] = side
                inner = tuple(side[some, planes] for side in sides)
                of_weight[:, part] += _outer_products(of_branch, inner, part, ctx.dtype)
            of_field = gradient[:, :, : field.shape[1]].sum(0, dtype=field.dtype)
        return gradient, of_weight, of_field, None, *results
