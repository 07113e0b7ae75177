"""The block with half of the planes: the same numbers as `reference`, in training too.

The convolutions are applied to maps, where they commute with the transform, so that K planes are
transformed instead of C, and everything with C planes is a matrix product::

    x -> conv1 on maps -> transform -> BN, spectral filter, ReLU -> transform back
      -> conv2 on maps, scale of BN and alpha in its weight -> + shift of BN -> + x

It needs convolutions of width 1 and, with the Fourier transform, groups of either real or
imaginary parts; `choice.obstacle` says whether a block can be rewritten.
"""

from __future__ import annotations

from torch import Tensor

from ..transforms.base import computing_dtype, full_precision
from .again import is_traced
from .filtering import normalised_filter
from .grouped import product_dtype
from .inference import folded_block
from .layers import Layers
from .projections import promote_maps, reduce_maps
from .statistics import convolved_statistics, uses_batch


def rewritten_block(x: Tensor, layers: Layers, form: str) -> Tensor:
    """Output of a spectral residual block.

    Parameters
    ----------
    x : Tensor
        Feature map, (N, C, H, W), floating point.
    layers : Layers
        Running statistics are updated as if the normalisations were called.
    form : {"fft", "separable", "dense"}
        Of the Fourier transform, see `planes`; not used with real transforms.

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
        fixed = not (uses_batch(layers.bn1) or uses_batch(layers.bn2))
        if fixed and not is_traced() and not layers.needs_gradient(x):
            return folded_block(x, layers, form, dtype)
        size = (x.shape[2], x.shape[3])
        parts = layers.transform.parts
        reduce, promote = layers.grouped_weights(computing_dtype(x))
        hidden, x = reduce_maps(x, reduce / parts, dtype)
        planes = layers.to_planes(hidden, form)
        planes = normalised_filter(planes, layers.bn1, *layers.filters)
        scale, shift = convolved_statistics(planes, promote, layers.bn2)
        hidden = layers.to_maps(planes, size, form)
        promote = promote * (layers.alpha * scale)[..., None] / parts
        field = layers.field(layers.alpha * shift, size)
        return promote_maps(hidden, promote, field, x, dtype)
