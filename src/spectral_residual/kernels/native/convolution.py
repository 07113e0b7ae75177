"""`convolution.cpp` on tensors: the products of `mixing`."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from .build import TYPES, library


def mix_into(
    out: Tensor, maps: Tensor, weight: Tensor, residual: Tensor | None, first_row: Tensor | None
) -> None:
    """Write the grouped convolution of maps and of their mirror images.

    Parameters
    ----------
    out : Tensor
        (N, groups * outputs, H, W), float32, float64 or bfloat16, in any memory format.
    maps : Tensor
        (N, groups * inputs, H, W), likewise; float64 if and only if `out` is.
    weight : Tensor
        Of even and of odd sides, (2, groups, outputs, inputs).
    residual : Tensor or None
        Added, (N, groups * outputs, H, W), dtype of `out`.
    first_row : Tensor or None
        Added to the first row of every map, (groups * outputs, 1, W).
    """
    _call(maps, weight, out, residual=residual, first_row=first_row)


def derive(
    of_maps: Tensor | None, gradient: Tensor, maps: Tensor, weight: Tensor, residual: Tensor | None
) -> Tensor:
    """Derivatives of the convolution that `mix_into` computes.

    Parameters
    ----------
    of_maps : Tensor or None
        Gradient by the maps to write, (N, groups * inputs, H, W); None if it is not needed.
    gradient : Tensor
        Of the result, (N, groups * outputs, H, W).
    maps : Tensor
        (N, groups * inputs, H, W).
    weight : Tensor
        (2, groups, outputs, inputs).
    residual : Tensor or None
        Added to `of_maps`, of its shape and dtype, which is that of `maps`.

    Returns
    -------
    Tensor
        Gradient by the weight, at least float32.
    """
    of_weight = gradient.new_empty(weight.shape, dtype=_computing(gradient))
    _call(gradient, weight.mT, of_maps, residual=residual, other=maps, outer=of_weight)
    return of_weight


def _call(
    maps: Tensor,
    weight: Tensor,
    out: Tensor | None,
    *,
    residual: Tensor | None = None,
    first_row: Tensor | None = None,
    other: Tensor | None = None,
    outer: Tensor | None = None,
) -> None:
    """Call `srl_mix`, which names these things, with copies of what it cannot take as it is."""
    compute = _computing(maps)
    sizes = (ctypes.c_int64 * 6)(maps.shape[0], *weight.shape[1:], *maps.shape[2:])
    weight = weight.to(compute).contiguous()
    maps = _regular(maps)
    first_row = None if first_row is None else first_row.to(compute).contiguous()
    other = None if other is None else _regular(other)
    target = out
    if out is not None and not _is_regular(out):
        target = torch.empty_like(out, memory_format=torch.contiguous_format)
    if residual is not None and target is not None:
        residual = _regular(residual)
        if _distances(target)[2] == 1 != _distances(residual)[2]:
            residual = residual.contiguous()
    like_out = target if other is None else other
    library().srl_mix(
        sizes,
        ctypes.c_int(TYPES[maps.dtype]),
        ctypes.c_void_p(maps.data_ptr()),
        _distances(maps),
        ctypes.c_void_p(weight.data_ptr()),
        *_pointers(residual),
        None if first_row is None else ctypes.c_void_p(first_row.data_ptr()),
        ctypes.c_int(TYPES[maps.dtype if like_out is None else like_out.dtype]),
        *_pointers(target),
        *_pointers(other),
        None if outer is None else ctypes.c_void_p(outer.data_ptr()),
        ctypes.c_int(torch.get_num_threads()),
    )
    if out is not None and target is not None and target is not out:
        out.copy_(target)


def _computing(maps: Tensor) -> torch.dtype:
    return torch.float64 if maps.dtype == torch.float64 else torch.float32


def _is_regular(maps: Tensor) -> bool:
    """Whether neighbouring positions are all at the same distance."""
    height, width = maps.shape[2:]
    even = height == 1 or width == 1 or maps.stride(2) == maps.stride(3) * width
    return even and _distances(maps)[2] > 0


def _regular(maps: Tensor) -> Tensor:
    return maps if _is_regular(maps) else maps.contiguous()


def _distances(maps: Tensor) -> ctypes.Array[ctypes.c_int64]:
    """Of samples, channels and positions, in elements."""
    height, width = maps.shape[2:]
    position = maps.stride(3) if width > 1 else maps.stride(2) if height > 1 else 1
    return (ctypes.c_int64 * 3)(maps.stride(0), maps.stride(1), position)


def _pointers(
    maps: Tensor | None,
) -> tuple[ctypes.c_void_p | None, ctypes.Array[ctypes.c_int64] | None]:
    return (None, None) if maps is None else (ctypes.c_void_p(maps.data_ptr()), _distances(maps))
