"""How the Triton kernels are launched: tiles, matrices, number of programs, shared memory."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ...transforms.fourier import waves

Planes = tuple[int, int, int, int]
"""Samples N, channels K, height H and width W."""

RESIDENT_WARPS = 8
"""Warps of these kernels that run on a multiprocessor at a time; they use all registers."""


def quarter_tile(size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of the tiles for planes of `size` (H, W).

    Returns
    -------
    (int, int)
        The least powers of two, at least 16, that indices 0 to H // 2 and 0 to W // 2 fit into.
    """
    rows, columns = (max(16, 1 << (side // 2).bit_length()) for side in size)
    return rows, columns


def warps(size: tuple[int, int]) -> int:
    """Warps per program: 16 rows of a tile each if tiles have 64 or more, else 1024 elements."""
    rows, columns = quarter_tile(size)
    return rows // 16 if rows >= 64 else max(1, rows * columns // 1024)


def shared_memory(size: tuple[int, int], dtype: torch.dtype, precision: str) -> int:
    """Bytes of shared memory that a program needs: four matrices, one tile.

    Parameters
    ----------
    size : (int, int)
        Height and width (H, W) of the planes.
    dtype : torch.dtype
        Dtype of the planes.
    precision : {"tf32x3", "tf32"}
        See `ops.PRECISIONS`; the former splits every float32 in two.
    """
    rows, columns = quarter_tile(size)
    elements = 2 * rows * rows + 2 * columns * columns + rows * columns
    split = dtype == torch.float32 and precision == "tf32x3"
    return elements * dtype.itemsize * (2 if split else 1)


def programs(planes: Planes, device: torch.device) -> int:
    """Programs that share the samples of a channel: as many as run at a time, at least one.

    Parameters
    ----------
    planes : (int, int, int, int)
        N, K, H and W.
    device : torch.device
        A CUDA device, or the CPU for Triton's interpreter.
    """
    samples, channels, *_ = planes
    processors = 1
    if device.type == "cuda":
        processors = torch.cuda.get_device_properties(device).multi_processor_count
    at_a_time = processors * RESIDENT_WARPS // warps(planes[2:])
    return max(1, min(samples, at_a_time // channels))


@lru_cache(maxsize=64)
def half_waves(side: int, block: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Cosine and sine of ``2 pi k j / side`` over sqrt(side) for the first half of k and j.

    Parameters
    ----------
    side : int
        H or W.
    block : int
        Rows and columns of the result; from ``side // 2 + 1`` on they are 0.
    dtype : torch.dtype
    device : torch.device

    Returns
    -------
    Tensor
        (2, block, block), contiguous; each matrix is symmetric.
    """
    half = side // 2 + 1
    both = torch.stack(waves(half, side, torch.empty((), dtype=dtype, device=device)))
    return F.pad(both[..., :half], (0, block - half, 0, block - half)).contiguous()


def launch(
    kernel: Any,
    tensors: tuple[Tensor, ...],
    planes: Planes,
    dtype: torch.dtype,
    precision: str,
    **flags: bool,
) -> None:
    """Run a kernel of `kernels` on all planes.

    Parameters
    ----------
    kernel : triton.JITFunction
    tensors : tuple of Tensor
        Its leading arguments; inputs are copied if they are not contiguous, outputs must be.
    planes : (int, int, int, int)
        N, K, H and W.
    dtype : torch.dtype
        Dtype of the planes.
    precision : {"tf32x3", "tf32"}
        See `ops.PRECISIONS`.
    **flags : bool
        Further constants of the kernel.
    """
    samples, channels, height, width = planes
    rows, columns = quarter_tile((height, width))
    device = tensors[0].device
    with torch.cuda.device_of(tensors[0]):
        kernel[(channels, programs(planes, device))](
            *(tensor.contiguous() for tensor in tensors),
            half_waves(height, rows, dtype, device),
            half_waves(width, columns, dtype, device),
            samples,
            channels,
            SHAPE=(height, width, rows, columns),
            PRECISION=precision,
            num_warps=warps((height, width)),
            num_stages=1,
            **flags,
        )
