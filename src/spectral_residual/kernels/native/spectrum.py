"""`spectrum.cpp` on tensors: what `middle` does to complex spectra of hidden maps.

Spectra are (N, K, H, W // 2 + 1), complex and contiguous, of float32 or float64. Values per plane
are (2 * K,), those of the real parts first; filters are (H, W // 2 + 1). All are of the spectrum's
precision.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from .build import library


def spectral_statistics(spectrum: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance, divided by the number of values, of every plane."""
    mean, variance = _per_plane(spectrum), _per_plane(spectrum)
    _call("srl_statistics", spectrum, 1, spectrum, mean, variance)
    return mean, variance


def spectral_filter(
    spectrum: Tensor, scale: Tensor, shift: Tensor, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    """``max(weight * (scale * spectrum + shift) + bias, 0)`` of real and imaginary parts.

    Parameters
    ----------
    spectrum : Tensor
    scale, shift : Tensor
        Per plane.
    weight, bias : Tensor
        Filters.

    Returns
    -------
    (Tensor, Tensor)
        Spectrum, and the mean of every plane.
    """
    result, mean = torch.empty_like(spectrum), _per_plane(spectrum)
    tensors = (t.contiguous() for t in (scale, shift, weight, bias))
    _call("srl_filter", spectrum, 1, spectrum, *tensors, result, mean)
    return result, mean


def spectral_covariance(spectrum: Tensor, mean: Tensor, groups: int) -> Tensor:
    """Covariance within groups, (2, groups, K / groups, K / groups), for given means."""
    planes = spectrum.shape[1] // groups
    result = mean.new_empty(2, groups, planes, planes)
    _call("srl_covariance", spectrum, groups, spectrum, mean, result)
    return result


def spectral_filter_backward(
    gradient: Tensor,
    spectrum: Tensor,
    mean: Tensor,
    inverse: Tensor,
    parameters: Sequence[Tensor],
    columns: Tensor,
    result_mean: Tensor,
    factor: Tensor,
    constant: Tensor,
    *,
    normalised: bool,
) -> list[Tensor]:
    """Derivatives of `spectral_filter`, and of mean and covariance of its result.

    Parameters
    ----------
    gradient : Tensor
        Of the result but for factors `columns`; overwritten by that of the spectrum, divided by
        `columns`: what is left to transform back.
    spectrum : Tensor
        As given to `spectral_filter`.
    mean, inverse : Tensor
        Per plane: ``normalised = (spectrum - mean) * inverse``.
    parameters : sequence of Tensor
        gamma and beta, per plane, ``scale * spectrum + shift = gamma * normalised + beta``;
        weight and bias, filters.
    columns : Tensor
        (H * (W // 2 + 1),).
    result_mean : Tensor
        Mean of the result, per plane.
    factor, constant : Tensor
        (2, groups, K / groups, K / groups) and per plane: ``factor @ (result - result_mean) +
        constant`` is added to the gradient of the result.
    normalised : bool
        Whether mean and inverse are those of the spectrum, and not constants.

    Returns
    -------
    list of Tensor
        Gradients of the parameters.
    """
    groups = factor.shape[1]
    found = [torch.empty_like(p, memory_format=torch.contiguous_format) for p in parameters]
    inputs = (spectrum, mean, inverse, *parameters, columns, result_mean, factor, constant)
    tensors = [*(t.contiguous() for t in inputs), gradient, *found]
    pointers = (ctypes.c_void_p * len(tensors))(*(t.data_ptr() for t in tensors))
    library().srl_filter_backward(
        _sizes(spectrum, groups),
        ctypes.c_int(spectrum.dtype == torch.complex128),
        pointers,
        ctypes.c_int(normalised),
        ctypes.c_int(torch.get_num_threads()),
    )
    return found


def _per_plane(spectrum: Tensor) -> Tensor:
    return spectrum.new_empty(2 * spectrum.shape[1], dtype=spectrum.real.dtype)


def _sizes(spectrum: Tensor, groups: int) -> ctypes.Array[ctypes.c_int64]:
    samples, planes, height, columns = spectrum.shape
    return (ctypes.c_int64 * 4)(samples, groups, planes // groups, height * columns)


def _call(name: str, spectrum: Tensor, groups: int, *tensors: Tensor) -> None:
    getattr(library(), name)(
        _sizes(spectrum, groups),
        ctypes.c_int(spectrum.dtype == torch.complex128),
        *(ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors),
        ctypes.c_int(torch.get_num_threads()),
    )
