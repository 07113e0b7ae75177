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
from .mixing import mix_into
from .planes import spectrum_to_maps
from .statistics import running_statistics, scale_and_shift

Filter = Callable[[Tensor, slice], Tensor]


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
    reduce = reduce * scale1.view(parts, groups, outputs, 1) / parts
    promote = promote * scale2.view(parts, groups, inputs, 1) / parts
    field = layers.field(shift2.view(parts, groups, inputs), size)
    shift1 = shift1.view(parts, groups, outputs)
    if isinstance(layers.transform, FourierTransform) and form == "fft":
        shift, filtered = layers.field(shift1, size), _by_fft(layers, shift1, size[1])
    else:
        shift, filtered = None, _by_planes(layers, shift1, size, form)

    result = torch.empty_like(x)
    for samples, part in chunks(x, groups):
        channels, planes = planes_of(part, inputs), planes_of(part, outputs)
        piece = x[samples, channels]
        shape = (piece.shape[0], planes.stop - planes.start, *size)
        hidden = x.new_empty(shape, dtype=work)
        first_rows = None if shift is None else shift[planes]
        mix_into(hidden, piece, reduce[:, part], dtype, field=first_rows)
        mix_into(
            result[samples, channels],
            filtered(hidden, planes),
            promote[:, part],
            dtype,
            residual=piece,
            field=field[channels],
        )
    return result


def _by_fft(layers: Layers, shift: Tensor, width: int) -> Filter:
    """Transform, filter, ReLU and transform back, on complex numbers as pairs.

    The maps have got the shift already, but for imaginary parts in the columns whose spectrum of
    real maps is Hermitian.
    """
    weight, bias = (
        f.to(shift.dtype)[..., None].expand(-1, -1, 2).contiguous() for f in layers.filters
    )
    imaginary = shift[1].flatten()[:, None]
    columns = (0,) if width % 2 else (0, width // 2)

    def filtered(hidden: Tensor, planes: slice) -> Tensor:
        spectrum = torch.fft.rfft2(hidden, norm="ortho")
        pairs = torch.view_as_real(spectrum)
        for column in columns:
            pairs[:, :, :, column, 1] += imaginary[planes]
        torch.addcmul(bias, pairs, weight, out=pairs).relu_()
        return spectrum_to_maps(spectrum, width)

    return filtered


def _by_planes(layers: Layers, shift: Tensor, size: Size, form: str) -> Filter:
    """The same with a shift, for real transforms and the Fourier transform by matrix products."""
    weight, bias = (f.to(shift.dtype) for f in layers.filters)
    shifts = shift.flatten(1)[..., None, None]

    def filtered(hidden: Tensor, planes: slice) -> Tensor:
        parts = layers.to_planes(hidden, form)
        for part, added in zip(parts, shifts, strict=True):
            part += added[planes]
            torch.addcmul(bias, part, weight, out=part).relu_()
        return layers.to_maps(parts, size, form)

    return filtered
