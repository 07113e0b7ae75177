"""The middle of the rewritten SRL-FFT block as PyTorch operators in Triton, for NVIDIA GPUs.

Import this module on demand: it needs the package triton when one of its operators runs.
`unavailable_reason` says beforehand whether they can. The operators are `torch.library` custom
ops with fake implementations and gradients, so `torch.compile(fullgraph=True)` and `torch.export`
take them. All of them transform planes by matrix products in real arithmetic (see
`planes`); nothing but what is named here passes through memory:

===========================  ===================================  ==============================
operator                     forward                              backward
===========================  ===================================  ==============================
`filter_planes`              read h, write p                      read h and dp, write dh
`plane_statistics`           read h                               read h, write dh
`spectral_planes`            read h, write z                      read h and dz, write dh
`inverse_planes`             read z, write p                      read dp, write dz
===========================  ===================================  ==============================

h and p are the K planes of every sample, z their filtered half spectra, as large as the planes
but for 2 / W. Inference is `filter_planes`, 2 passes over K planes in all. Training with batch
statistics needs the mean and the covariance of z for the second normalisation, and so z in memory:
`plane_statistics`, `spectral_planes` and `inverse_planes`, 5 passes forward and 7 backward, beside
the covariance itself (1 pass forward) and the sums of gradients that autograd makes.

The backward kernels sum the gradients of scale, shift, weight and bias per program and leave the
rest to `torch.sum`: the same numbers in every run, and one (2, H, W // 2 + 1) buffer per program
besides (256 programs for 128 channels on an H100).
"""

from __future__ import annotations

import importlib.util
import os

import torch
from torch import Tensor

from ...errors import unknown_name
from . import library
from .launch import quarter_tile, shared_memory

PRECISIONS = ("tf32x3", "tf32")
"""How float32 is multiplied on tensor cores: three TF32 products, relative error about 1e-6, or
one, about 1e-3. Half precisions are multiplied as they are. Sums are float32 always."""

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
MAX_SIDE = 128
MAX_TILE = 64 * 128
"""Elements of a quarter plane, padded to powers of two, that registers have room for."""

LARGEST = f"sides up to {MAX_SIDE}, at most one of them {MAX_SIDE}"


def unavailable_reason(
    device: torch.device,
    size: tuple[int, int],
    dtype: torch.dtype = torch.float32,
    precision: str = "tf32x3",
) -> str | None:
    """Why the operators of this module cannot be used, or None if they can.

    Parameters
    ----------
    device : torch.device
        Where the planes are. With ``TRITON_INTERPRET=1`` in the environment Triton runs on the
        CPU, slowly: for tests.
    size : (int, int)
        Height and width (H, W) of the planes.
    dtype : torch.dtype
        Dtype of the planes.
    precision : {"tf32x3", "tf32"}
        See `PRECISIONS`.

    Returns
    -------
    str or None
        One sentence without a full stop.
    """
    if importlib.util.find_spec("triton") is None:
        return "the package triton is not installed"
    if dtype not in DTYPES:
        return f"planes are {dtype}, the kernels take {', '.join(map(str, DTYPES))}"
    if not _fits(size):
        return f"planes are {size[0]}x{size[1]}, the kernels take {LARGEST}"
    if os.environ.get("TRITON_INTERPRET") == "1":
        return None
    if device.type != "cuda" or torch.version.cuda is None:
        return f"planes are on {device}, the kernels need an NVIDIA GPU"
    properties = torch.cuda.get_device_properties(device)
    if properties.major < 8:
        return (
            f"{properties.name} has compute capability {properties.major}.{properties.minor}, "
            "the kernels need 8.0"
        )
    needed, there = shared_memory(size, dtype, precision), properties.shared_memory_per_block_optin
    if needed > there:
        return (
            f"{size[0]}x{size[1]} planes in {dtype} need {needed} bytes of shared memory, "
            f"{properties.name} has {there}"
        )
    return None


def filter_planes(
    h: Tensor,
    scale: Tensor,
    shift: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    precision: str = "tf32x3",
) -> Tensor:
    """Transform, scale and shift, spectral ReLU, transform back, in one read and one write.

    With Z the orthonormal half spectrum of h: ``zr = relu((Re Z * scale[0] + shift[0]) * weight +
    bias)``, zi likewise from Im Z, scale[1] and shift[1]; returns the inverse of ``zr + i zi``
    as `FourierTransform` defines it.

    Parameters
    ----------
    h : Tensor
        Planes, (N, K, H, W), float32, bfloat16 or float16. Copied if it is not contiguous.
    scale, shift : Tensor
        Batch normalisation of the spectrum, (2, K): real and imaginary parts.
    weight, bias : Tensor
        W and B of the spectral ReLU, (H, W // 2 + 1). These four are used in float32.
    precision : {"tf32x3", "tf32"}
        See `PRECISIONS`.

    Returns
    -------
    Tensor
        (N, K, H, W), contiguous, dtype of `h`.

    Raises
    ------
    ValueError
        If a shape does not fit, or the planes are too large.
    TypeError
        If `h` has another dtype.
    """
    parameters = _checked_parameters(h, scale, shift, weight, bias, precision)
    return library.filter_planes(h, *parameters, precision, False)


def spectral_planes(
    h: Tensor,
    scale: Tensor,
    shift: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    precision: str = "tf32x3",
) -> Tensor:
    """The first half of `filter_planes`: zr and zi, (N, 2, K, H, W // 2 + 1), dtype of `h`."""
    parameters = _checked_parameters(h, scale, shift, weight, bias, precision)
    return library.filter_planes(h, *parameters, precision, True)


def inverse_planes(z: Tensor, width: int, *, precision: str = "tf32x3") -> Tensor:
    """The second half of `filter_planes`.

    Parameters
    ----------
    z : Tensor
        Half spectra, (N, 2, K, H, W // 2 + 1), real and imaginary parts; not necessarily those
        of maps.
    width : int
        W.
    precision : {"tf32x3", "tf32"}
        See `PRECISIONS`.

    Returns
    -------
    Tensor
        Planes, (N, K, H, W), contiguous, dtype of `z`.

    Raises
    ------
    ValueError
        If the shape does not fit, or the planes are too large.
    TypeError
        If `z` has another dtype.
    """
    if z.dim() != 5 or z.shape[1] != 2 or z.shape[4] != width // 2 + 1:
        raise ValueError(
            f"expected spectra of shape (N, 2, K, H, {width // 2 + 1}) for width {width}, "
            f"got {tuple(z.shape)}"
        )
    _check_planes(z.dtype, (z.shape[3], width), precision)
    return library.inverse_planes(z, width, precision)


def plane_statistics(h: Tensor, *, precision: str = "tf32x3") -> Tensor:
    """Sums over batch and frequencies of the half spectrum of every channel, which is not stored.

    Parameters
    ----------
    h : Tensor
        Planes, (N, K, H, W), float32, bfloat16 or float16. Copied if it is not contiguous.
    precision : {"tf32x3", "tf32"}
        See `PRECISIONS`.

    Returns
    -------
    Tensor
        (2, 2, K), float32: the sum, then the sum of squares, of the real, then the imaginary
        part over ``N * H * (W // 2 + 1)`` numbers.

    Raises
    ------
    ValueError
        If `h` is not four-dimensional, or the planes are too large.
    TypeError
        If `h` has another dtype.
    """
    _check_maps(h, precision)
    return library.plane_statistics(h, precision)


def _fits(size: tuple[int, int]) -> bool:
    rows, columns = quarter_tile(size)
    return max(size) <= MAX_SIDE and rows * columns <= MAX_TILE


def _check_planes(dtype: torch.dtype, size: tuple[int, int], precision: str) -> None:
    if precision not in PRECISIONS:
        raise unknown_name("precision", precision, PRECISIONS)
    if dtype not in DTYPES:
        raise TypeError(f"expected planes in one of {', '.join(map(str, DTYPES))}, got {dtype}")
    if not _fits(size):
        raise ValueError(f"expected planes of {LARGEST}, got {size[0]}x{size[1]}")


def _check_maps(h: Tensor, precision: str) -> None:
    if h.dim() != 4:
        raise ValueError(f"expected planes of shape (N, K, H, W), got {tuple(h.shape)}")
    _check_planes(h.dtype, (h.shape[2], h.shape[3]), precision)


def _checked_parameters(
    h: Tensor, scale: Tensor, shift: Tensor, weight: Tensor, bias: Tensor, precision: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    _check_maps(h, precision)
    channels, half = (2, h.shape[1]), (h.shape[2], h.shape[3] // 2 + 1)
    named = {"scale": scale, "shift": shift, "weight": weight, "bias": bias}
    for (name, tensor), shape in zip(named.items(), (channels, channels, half, half), strict=True):
        if tensor.shape != shape:
            raise ValueError(f"expected {name} of shape {shape}, got {tuple(tensor.shape)}")
    return scale.float(), shift.float(), weight.float(), bias.float()
