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
from . import native
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
    by_fft = isinstance(layers.transform, FourierTransform) and form == "fft"
    filtered = _by_fft(layers, shift1) if by_fft else _by_planes(layers, shift1, size, form)

    result = torch.empty_like(x)
    for samples, part in chunks(x, groups):
        channels, planes = planes_of(part, inputs), planes_of(part, outputs)
        piece = x[samples, channels]
        shape = (piece.shape[0], planes.stop - planes.start, *size)
        hidden = x.new_empty(shape, dtype=work)
        mix_into(hidden, piece, reduce[:, part], dtype)
        mix_into(
            result[samples, channels],
            filtered(hidden, planes),
            promote[:, part],
            dtype,
            residual=piece,
            field=field[channels],
        )
    return result


def _by_fft(layers: Layers, shift: Tensor) -> Filter:
    """Transform, shift, filter, ReLU and transform back, on complex numbers as pairs."""
    weight, bias = (f.to(shift.dtype) for f in layers.filters)
    shifts = shift.flatten(1)

    def filtered(hidden: Tensor, planes: slice) -> Tensor:
        spectrum = torch.fft.rfft2(hidden, norm="ortho")
        added = shifts[:, planes].reshape(-1)
        if native.takes(hidden):
            ones = torch.ones_like(added)
            spectrum, _ = native.spectral_filter(spectrum, ones, added, weight, bias)
        else:
            pairs = torch.view_as_real(spectrum)
            pairs += added.view(2, -1).mT[:, None, None]
            torch.addcmul(bias[..., None], pairs, weight[..., None], out=pairs).relu_()
        return spectrum_to_maps(spectrum, hidden.shape[3])

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
