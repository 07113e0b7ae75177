"""The grouped 1x1 convolutions with mirrored reads as PyTorch operators in Triton.

Like `library`: custom ops with fake implementations and gradients. Nothing is checked here,
`rewrite` calls them.

===========================  ===================================  ==============================
operator                     forward                              backward
===========================  ===================================  ==============================
`mix_maps`                   read maps and residual, write out    `mix_maps` and `weight_gradient`
`weight_gradient`            read gradient and maps               none
===========================  ===================================  ==============================

Maps and gradients are read and written through their strides, in either memory format.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..grouped import is_channels_last

BLOCKS = (64, 64, 64)
"""Most outputs, inputs and positions that a program works on together."""

OPTIONS = {"num_warps": 8, "num_stages": 2}

PROGRAMS_PER_PROCESSOR = 2
"""Programs that sum the gradient of weights on a multiprocessor at a time."""


@torch.library.custom_op("spectral_residual::mix_maps", mutates_args=())
def mix_maps(
    maps: Tensor,
    weight: Tensor,
    dtype: torch.dtype,
    channels_last: bool,
    residual: Tensor | None,
    field: Tensor | None,
    precision: str,
) -> Tensor:
    """The convolution of `mixing.mix`, plus what is to be added.

    With sides ``e = maps(n) + maps(-n)`` and ``o = maps(n) - maps(-n)`` of every map, returns
    ``weight[0] e + weight[1] o`` in groups.

    Parameters
    ----------
    maps : Tensor
        (N, groups * inputs, H, W), float32, bfloat16 or float16, with any strides.
    weight : Tensor
        (2, groups, outputs, inputs), float32; rounded to the shorter of the dtypes of maps and
        result, which factors of products have. Sums are float32.
    dtype : torch.dtype
        Of the result.
    channels_last : bool
        Memory format of the result.
    residual : Tensor, optional
        Added, (N, groups * outputs, H, W), `dtype`.
    field : Tensor, optional
        Added to the first row of every sample, (groups * outputs, 1, W), float32.
    precision : {"tf32x3", "tf32"}
        See `ops.PRECISIONS`.

    Returns
    -------
    Tensor
        (N, groups * outputs, H, W).
    """
    from .mixing import mix_kernel

    out = _empty_maps(maps, weight, dtype, channels_last)
    weight = weight.to(_shorter(maps.dtype, dtype)).contiguous()
    _, *channels = weight.shape
    blocks = blocks_of(channels)
    tiles = channels[0] * _ceil(channels[1], blocks[0])
    with torch.cuda.device_of(maps):
        mix_kernel[(tiles, _pieces(maps, blocks), maps.shape[0])](
            maps,
            weight,
            residual,
            None if field is None else field.contiguous(),
            out,
            SHAPE=tuple(maps.shape[2:]),
            CHANNELS=tuple(channels),
            BLOCKS=blocks,
            MAPS_STRIDES=maps.stride(),
            RESIDUAL_STRIDES=None if residual is None else residual.stride(),
            OUT_STRIDES=out.stride(),
            PRECISION=precision,
            **OPTIONS,
        )
    return out


@mix_maps.register_fake
def _(
    maps: Tensor,
    weight: Tensor,
    dtype: torch.dtype,
    channels_last: bool,
    residual: Tensor | None,
    field: Tensor | None,
    precision: str,
) -> Tensor:
    return _empty_maps(maps, weight, dtype, channels_last)


@torch.library.custom_op("spectral_residual::weight_gradient", mutates_args=())
def weight_gradient(grad: Tensor, maps: Tensor, groups: int, precision: str) -> Tensor:
    """Gradient of the weight of `mix_maps`, the same numbers in every run.

    Parameters
    ----------
    grad : Tensor
        Gradient of the result, (N, groups * outputs, H, W), with any strides.
    maps : Tensor
        (N, groups * inputs, H, W), with any strides.
    groups : int
    precision : {"tf32x3", "tf32"}
        See `ops.PRECISIONS`.

    Returns
    -------
    Tensor
        (2, groups, outputs, inputs), float32.
    """
    from .mixing import weight_gradient_kernel

    channels = (groups, grad.shape[1] // groups, maps.shape[1] // groups)
    blocks = blocks_of(channels)
    tiles = groups * _ceil(channels[1], blocks[0]) * _ceil(channels[2], blocks[1])
    samples = maps.shape[0]
    count = shares(tiles, samples * _pieces(maps, blocks), maps.device)
    sums = maps.new_empty(count, 2, *channels, dtype=torch.float32)
    with torch.cuda.device_of(maps):
        weight_gradient_kernel[(tiles, count)](
            grad,
            maps,
            sums,
            samples,
            SHAPE=tuple(maps.shape[2:]),
            CHANNELS=channels,
            BLOCKS=blocks,
            GRAD_STRIDES=grad.stride(),
            MAPS_STRIDES=maps.stride(),
            PRECISION=precision,
            **OPTIONS,
        )
    return sums.sum(0)


@weight_gradient.register_fake
def _(grad: Tensor, maps: Tensor, groups: int, precision: str) -> Tensor:
    shape = (2, groups, grad.shape[1] // groups, maps.shape[1] // groups)
    return maps.new_empty(shape, dtype=torch.float32)


def _mix_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    maps, weight, _, _, _, field, ctx.precision = inputs
    ctx.save_for_backward(maps, weight)
    ctx.field_dtype = None if field is None else field.dtype


def _mix_gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    maps, weight = ctx.saved_tensors
    of_maps = of_weight = of_field = None
    needs_maps, needs_weight, _, _, needs_residual, needs_field, _ = ctx.needs_input_grad
    if needs_maps:
        last = is_channels_last(maps)
        of_maps = mix_maps(grad, weight.mT, maps.dtype, last, None, None, ctx.precision)
    if needs_weight:
        of_weight = weight_gradient(grad, maps, weight.shape[1], ctx.precision)
    if needs_field:
        of_field = grad[:, :, :1].sum(0, dtype=ctx.field_dtype)
    return of_maps, of_weight, None, None, grad if needs_residual else None, of_field, None


mix_maps.register_autograd(_mix_gradients, setup_context=_mix_setup)


def _empty_maps(maps: Tensor, weight: Tensor, dtype: torch.dtype, channels_last: bool) -> Tensor:
    shape = (maps.shape[0], weight.shape[1] * weight.shape[2], *maps.shape[2:])
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return torch.empty(shape, dtype=dtype, device=maps.device, memory_format=layout)


def _shorter(one: torch.dtype, other: torch.dtype) -> torch.dtype:
    return one if one.itemsize <= other.itemsize else other


def blocks_of(channels: Sequence[int]) -> tuple[int, int, int]:
    """Outputs, inputs and positions that a program works on together, at least 16 for `tl.dot`."""
    _, outputs, inputs = channels
    return _block(outputs, BLOCKS[0]), _block(inputs, BLOCKS[1]), BLOCKS[2]


def _block(count: int, most: int) -> int:
    return min(most, max(16, 1 << (count - 1).bit_length()))


def _pieces(maps: Tensor, blocks: tuple[int, int, int]) -> int:
    """Blocks of positions in the rows that hold all sides."""
    return _ceil((maps.shape[2] // 2 + 1) * maps.shape[3], blocks[2])


def shares(tiles: int, pieces: int, device: torch.device) -> int:
    """Programs that share the positions of all samples: as many as run at a time, at least one."""
    processors = 1
    if device.type == "cuda":
        processors = torch.cuda.get_device_properties(device).multi_processor_count
    return max(1, min(pieces, processors * PROGRAMS_PER_PROCESSOR // tiles))


def _ceil(count: int, block: int) -> int:
    return -(-count // block)
