"""Inference: normalisations and alpha in the weights, chunk after chunk of the batch.

The weights are folded anew in every call, which takes about 3 % of its time (256 channels,
64x48 to 128x96), so that no result is ever out of date.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..transforms import FourierTransform
from ..transforms.base import Size, computing_dtype
from .grouped import chunks, planes_of
from .layers import Layers
from .mirror import fold, unfold
from .planes import spectrum_to_maps
from .projections import Sides, add_branch, products, sides_of
from .statistics import running_statistics, scale_and_shift

Filter = Callable[[Sides, slice], Sides]


def folded_block(x: Tensor, layers: Layers, form: str, dtype: torch.dtype) -> Tensor:
    """Output of the block in evaluation mode, without gradients.

    Parameters
    ----------
    x : Tensor
        Feature map, (N, C, H, W).
    layers : Layers
        With running statistics in both normalisations.
    form : {"fft", "separable", "dense"}
        Of the Fourier transform.
    dtype : torch.dtype
        Of the factors of products.

    Returns
    -------
    Tensor
        (N, C, H, W), dtype and memory format of `x`.
    """
    size = (x.shape[2], x.shape[3])
    work = computing_dtype(x)
    reduce, promote = layers.grouped_weights(work)
    parts, groups, outputs, inputs = reduce.shape
    scale1, shift1 = scale_and_shift(layers.bn1, *running_statistics(layers.bn1), work)
    scale2, shift2 = scale_and_shift(layers.bn2, *running_statistics(layers.bn2), work)
    scale2, shift2 = layers.alpha * scale2, layers.alpha * shift2
    reduce = (reduce * scale1.view(parts, groups, outputs, 1) / parts).to(dtype)
    promote = (promote * scale2.view(parts, groups, inputs, 1) / parts).to(dtype)
    field = layers.field(shift2.view(parts, groups, inputs), size)
    by_fft = isinstance(layers.transform, FourierTransform) and form == "fft"
    filtered = _by_fft(layers, shift1, size) if by_fft else _by_planes(layers, shift1, size, form)

    result = torch.empty_like(x)
    for samples, part in chunks(x, groups):
        channels, planes = planes_of(part, inputs), planes_of(part, outputs)
        piece = x[samples, channels]
        sides = products(sides_of(piece, reduce), reduce[:, part], dtype, x)
        sides = filtered(sides, planes)
        out = result[samples, channels]
        add_branch(out, sides, promote[:, part], field[channels], piece, dtype)
    return result


def _by_fft(layers: Layers, shift: Tensor, size: Size) -> Filter:
    """Transform, shift, filter, ReLU and transform back, on complex numbers as pairs."""
    height, width = size
    weight, bias = (
        f.to(shift.dtype)[..., None].expand(-1, -1, 2).contiguous() for f in layers.filters
    )
    columns = width // 2 + 1
    pair_shift = shift.view(2, -1).T.repeat(1, columns).view(-1, 1, columns, 2)

    def filtered(sides: Sides, planes: slice) -> Sides:
        spectrum = torch.fft.rfft2(unfold(sides[0], sides[1], height), norm="ortho")
        pairs = torch.view_as_real(spectrum)
        pairs += pair_shift[planes]
        torch.addcmul(bias, pairs, weight, out=pairs).relu_()
        return fold(spectrum_to_maps(spectrum, width))

    return filtered


def _by_planes(layers: Layers, shift: Tensor, size: Size, form: str) -> Filter:
    """The same for real transforms, and the Fourier transform by matrix products."""
    weight, bias = (f.to(shift.dtype) for f in layers.filters)
    shifts = shift[:, None, None].chunk(layers.transform.parts)

    def filtered(sides: Sides, planes: slice) -> Sides:
        parts = layers.to_planes(sides, size, form)
        for part, added in zip(parts, shifts, strict=True):
            part += added[planes]
            torch.addcmul(bias, part, weight, out=part).relu_()
        return layers.to_sides(parts, size, form)

    return filtered
