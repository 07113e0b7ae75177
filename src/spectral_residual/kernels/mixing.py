"""Grouped 1x1 convolution whose weights differ for even and for odd maps.

`reference` convolves the spectrum of maps. A 1x1 convolution acts on every position alone and a
transform on every channel alone, so they commute: the maps can be convolved instead. With the
Fourier transform a group has either real or imaginary parts; these are the spectra of even and of
odd maps, so each of the two sides of `mirror` has a part of the weight. A real transform has one
part, whose one side is the map itself.

The derivative by the maps is the same function with transposed weights, since mirror images of
sums are sums of mirror images.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from . import native
from .grouped import (
    chunks,
    grouped_outer_product,
    grouped_product,
    is_channels_last,
    planes_of,
)
from .mirror import fold, unfold, unfold_into

Sides = tuple[Tensor, ...]


def mix(maps: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
    """The convolution in plain differentiable operations.

    Parameters
    ----------
    maps : Tensor
        (N, groups * inputs, H, W).
    weight : Tensor
        (parts, groups, outputs, inputs), at least float32.
    dtype : torch.dtype
        Of the factors of products.

    Returns
    -------
    Tensor
        (N, groups * outputs, H, W), dtype of `weight`.
    """
    _, groups, outputs, inputs = weight.shape
    sides = []
    for side, part in zip(_sides(maps, weight.shape[0]), weight.to(dtype), strict=True):
        grouped = side.to(dtype).flatten(2).unflatten(1, (groups, inputs))
        product = (part @ grouped).view(maps.shape[0], groups * outputs, *side.shape[2:])
        sides.append(product.to(weight.dtype))
    return unfold(sides[0], sides[1], maps.shape[2]) if len(sides) == 2 else sides[0]


def mix_into(
    out: Tensor,
    maps: Tensor,
    weight: Tensor,
    dtype: torch.dtype,
    *,
    residual: Tensor | None = None,
    field: Tensor | None = None,
) -> None:
    """Write the convolution, plus what is to be added, without recording it for autograd.

    Parameters
    ----------
    out : Tensor
        (N, groups * outputs, H, W).
    maps, weight, dtype
        See `mix`.
    residual : Tensor, optional
        Shape and dtype of `out`.
    field : Tensor, optional
        Added to the first rows of every sample, (groups * outputs, some rows, W).
    """
    parts, groups, outputs, inputs = weight.shape
    by_row = field is None or field.shape[1] == 1
    if parts == 2 and by_row and dtype == weight.dtype and native.takes(maps, out):
        native.mix_into(out, maps, weight, residual, field)
        return
    channels_last = is_channels_last(out)
    for some, part in chunks(out if outputs > inputs else maps, groups):
        channels = planes_of(part, outputs)
        piece = _sides(maps[some, planes_of(part, inputs)], parts)
        found = _products(piece, weight[:, part], dtype, channels_last=channels_last)
        if field is not None:
            found[0][:, :, : field.shape[1]] += field[channels]
        added = None if residual is None else residual[some, channels]
        if parts == 2:
            unfold_into(out[some, channels], found[0], found[1], added)
        elif added is None:
            out[some, channels] = found[0]
        else:
            torch.add(added, found[0], out=out[some, channels])


def derive(
    of_maps: Tensor | None,
    gradient: Tensor,
    maps: Tensor,
    weight: Tensor,
    dtype: torch.dtype,
    *,
    residual: Tensor | None = None,
) -> Tensor:
    """Derivatives of `mix`, without recording them for autograd.

    Parameters
    ----------
    of_maps : Tensor or None
        Gradient by the maps to write, (N, groups * inputs, H, W); None if it is not needed.
    gradient : Tensor
        Of the result, (N, groups * outputs, H, W).
    maps, weight, dtype
        See `mix`.
    residual : Tensor, optional
        Added to `of_maps`, of its shape and dtype.

    Returns
    -------
    Tensor
        Gradient by the weight, of its shape and dtype.
    """
    parts, groups, outputs, inputs = weight.shape
    if parts == 2 and dtype == weight.dtype and native.takes(gradient, maps):
        return native.derive(of_maps, gradient, maps, weight, residual)
    if of_maps is not None:
        mix_into(of_maps, gradient, weight.mT, dtype, residual=residual)
    of_weight = torch.zeros_like(weight)
    for some, part in chunks(gradient if outputs > inputs else maps, groups):
        lefts = _sides(gradient[some, planes_of(part, outputs)], parts)
        if parts == 2:
            _halve_own_mirrors(lefts, maps.shape[2])
        rights = _sides(maps[some, planes_of(part, inputs)], parts)
        count = part.stop - part.start
        for found, left, right in zip(of_weight, lefts, rights, strict=True):
            found[part] += grouped_outer_product(left.to(dtype), right.to(dtype), count)
    return of_weight


def padded(field: Tensor, height: int) -> Tensor:
    """The field, (C, some rows, W), on all rows."""
    return pad(field, (0, 0, 0, height - field.shape[1]))


def _sides(maps: Tensor, parts: int) -> Sides:
    return (maps,) if parts == 1 else fold(maps)


def _products(
    sides: Sides, weight: Tensor, dtype: torch.dtype, *, channels_last: bool = False
) -> Sides:
    return tuple(
        grouped_product(part, side.to(dtype), channels_last=channels_last).to(weight.dtype)
        for part, side in zip(weight.to(dtype).unbind(), sides, strict=True)
    )


def _halve_own_mirrors(sides: Sides, height: int) -> None:
    """Halve rows whose mirror images lie in themselves: their products are there twice."""
    for side in sides:
        for row in (0,) if height % 2 else (0, height // 2):
            side[:, :, row] /= 2
