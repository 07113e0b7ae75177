"""The block with half of the planes: the same numbers as `reference`, in training too.

The convolutions are applied to maps, where they commute with the transform, so that K planes are
transformed instead of C, and everything with C planes is a matrix product::

    x -> conv1 on maps -> transform -> BN, spectral filter, ReLU -> transform back
      -> conv2 on maps, scale of BN and alpha in its weight -> + shift of BN -> + x

With the lowest frequencies alone, `FourierModes`, it is the transform that makes the maps small: it
comes first and last, and what is between, all of C and K planes, has the size of the spectrum::

    x -> low frequencies -> conv1 -> BN, spectral filter, ReLU -> conv2, with scale and shift of BN
      and alpha -> transform back, added to x

It needs convolutions of width 1 and, with the Fourier transform, groups of either real or
imaginary parts; `choice.obstacle` says whether a block can be rewritten.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..transforms.base import computing_dtype, full_precision
from ..transforms.fourier_modes import FourierModes, add_lowest, lowest_rows, to_lowest
from . import native
from .again import is_traced
from .filtering import normalised_filter
from .grouped import product_dtype
from .inference import folded_block
from .layers import Layers
from .middle import filtered_maps
from .projections import promote_maps, reduce_maps
from .statistics import convolved_statistics, normalise_convolved, uses_batch


def rewritten_block(x: Tensor, layers: Layers, form: str) -> Tensor:
    """Output of a spectral residual block.

    Parameters
    ----------
    x : Tensor
        Feature map, (N, C, H, W), floating point.
    layers : Layers
        Running statistics are updated as if the normalisations were called.
    form : {"fft", "separable", "dense"}
        Of the Fourier transform, see `planes`; not used with real transforms, nor with the lowest
        frequencies alone, which have but one.

    Returns
    -------
    Tensor
        (N, C, H, W), dtype and memory format of `x`.

    Raises
    ------
    ValueError
        If statistics are to be taken of a single value.
    """
    dtype = product_dtype(x)
    with full_precision(x.device):
        if isinstance(layers.transform, FourierModes):
            return _by_lowest_frequencies(x, layers, layers.transform)
        fixed = not (uses_batch(layers.bn1) or uses_batch(layers.bn2))
        if fixed and not is_traced() and not layers.needs_gradient(x):
            return folded_block(x, layers, form, dtype)
        size = (x.shape[2], x.shape[3])
        parts = layers.transform.parts
        reduce, promote = layers.grouped_weights(computing_dtype(x))
        hidden, x = reduce_maps(x, reduce / parts, dtype)
        if form == "fft" and parts == 2 and not is_traced() and native.takes(hidden):
            filters, groups = layers.filters, promote.shape[1]
            hidden, moments = filtered_maps(hidden, layers.bn1, *filters, groups)
            spectral = (*hidden.shape[:2], *layers.transform.spectral_size(size))
            scale, shift = normalise_convolved(*moments, spectral, promote, layers.bn2)
        else:
            planes = layers.to_planes(hidden, form)
            planes = normalised_filter(planes, layers.bn1, *layers.filters)
            scale, shift = convolved_statistics(planes, promote, layers.bn2)
            hidden = layers.to_maps(planes, size, form)
        promote = promote * (layers.alpha * scale)[..., None] / parts
        field = layers.field(layers.alpha * shift, size)
        return promote_maps(hidden, promote, field, x, dtype)


def _by_lowest_frequencies(x: Tensor, layers: Layers, transform: FourierModes) -> Tensor:
    work = x.to(computing_dtype(x))
    samples, size = x.shape[0], (x.shape[2], x.shape[3])
    reduce, promote = layers.grouped_weights(work.dtype)
    parts, groups, outputs, inputs = reduce.shape
    frequencies = transform.spectral_size(size)
    factors = transform.factors(size, work)
    weight, bias = (each[lowest_rows(transform.modes)] for each in layers.filters)

    grouped = to_lowest(work, factors).view(samples, parts, groups, inputs, -1)
    hidden = (reduce @ grouped).view(samples, parts, groups * outputs, *frequencies)
    planes = normalised_filter(hidden.unbind(1), layers.bn1, weight, bias)
    scale, shift = convolved_statistics(planes, promote, layers.bn2)
    promote = promote * (layers.alpha * scale)[..., None]
    grouped = torch.stack(planes, dim=1).view(samples, parts, groups, outputs, -1)
    branch = promote @ grouped + (layers.alpha * shift)[..., None]
    spectrum = branch.view(samples, parts, groups * inputs, *frequencies)
    return add_lowest(work, spectrum, factors).to(x.dtype)
