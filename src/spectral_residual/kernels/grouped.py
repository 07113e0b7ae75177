"""Grouped 1x1 convolutions as matrix products, and pieces of a batch that fit in the cache."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

# Elements of the feature map that are worked on at a time on CPU, and with them the temporary
# tensors, so that these stay in the cache and their memory is used again instead of asked for
# anew. Measured in inference with two threads: 2^19, 2^20, 2^21, 2^22 take 11.6, 11.3, 11.6 and
# 12.5 ms at (4, 256, 64, 48) and 14.5, 13.0, 13.2 and 13.9 ms at (2, 256, 96, 72).
CHUNK_ELEMENTS = 2**20

Chunk = tuple[slice, slice]


def chunks(x: Tensor, groups: int) -> Iterator[Chunk]:
    """Samples and groups of channels to work on together: all of them, except on CPU.

    Parameters
    ----------
    x : Tensor
        Feature map, (N, C, H, W).
    groups : int
        Groups of channels that do not depend on each other.

    Yields
    ------
    (slice, slice)
        Samples, and groups.
    """
    samples, group_size = x.shape[0], max(1, math.prod(x.shape[1:]) // groups)
    together = samples * groups if x.device.type != "cpu" else CHUNK_ELEMENTS // group_size
    group_step = min(max(together, 1), groups)
    sample_step = max(together // groups, 1)
    for sample in range(0, samples, sample_step):
        for group in range(0, groups, group_step):
            yield (
                slice(sample, min(sample + sample_step, samples)),
                slice(group, min(group + group_step, groups)),
            )


def planes_of(groups: slice, planes_per_group: int) -> slice:
    """Planes that belong to a range of groups."""
    return slice(groups.start * planes_per_group, groups.stop * planes_per_group)


def product_dtype(x: Tensor) -> torch.dtype:
    """Dtype of the factors of matrix products: that of `x`, or of autocast.

    On CPU half precisions are multiplied in float32: batched products of bfloat16 took ten times
    as long there.
    """
    dtype, device = x.dtype, x.device.type
    autocast = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    if autocast and dtype != torch.float64:
        dtype = torch.get_autocast_dtype(device)
    if dtype in (torch.float16, torch.bfloat16) and device == "cpu":
        return torch.float32
    return dtype


def is_channels_last(maps: Tensor) -> bool:
    """Whether channels are innermost in memory, and not positions."""
    return maps.stride(1) == 1 and maps.shape[1] > 1 and maps.stride(3) != 1


def grouped_product(weight: Tensor, maps: Tensor, *, channels_last: bool = False) -> Tensor:
    """1x1 convolution in groups, without a copy of either memory format.

    Parameters
    ----------
    weight : Tensor
        (groups, outputs per group, inputs per group).
    maps : Tensor
        (N, groups * inputs, H, W), dtype of `weight`.
    channels_last : bool, default False
        Memory format of the result.

    Returns
    -------
    Tensor
        (N, groups * outputs, H, W).
    """
    groups, outputs, inputs = weight.shape
    samples, _, height, width = maps.shape
    if not (channels_last or is_channels_last(maps)):
        result = torch.matmul(weight, maps.reshape(samples, groups, inputs, height * width))
        return result.view(samples, groups * outputs, height, width)
    shape = (samples, height * width, groups * outputs)
    result = maps.new_empty(shape).mT if channels_last else maps.new_empty(shape[::2] + shape[1:2])
    positions = maps.flatten(2)
    for group in range(groups):
        torch.bmm(
            weight[group].expand(samples, outputs, inputs),
            positions[:, group * inputs : (group + 1) * inputs],
            out=result[:, group * outputs : (group + 1) * outputs],
        )
    return result.unflatten(2, (height, width))


def grouped_outer_product(left: Tensor, right: Tensor, groups: int) -> Tensor:
    """Sum over samples and positions of products of planes in the same group.

    Parameters
    ----------
    left, right : Tensor
        (N, groups * outputs, H, W) and (N, groups * inputs, H, W).
    groups : int

    Returns
    -------
    Tensor
        (groups, outputs, inputs), the gradient of the weight of `grouped_product`.
    """
    pairs = zip(left.flatten(2).chunk(groups, 1), right.flatten(2).chunk(groups, 1), strict=True)
    return torch.stack([torch.bmm(a, b.mT).sum(0) for a, b in pairs])
