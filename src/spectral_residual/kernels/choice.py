"""Which way a block is computed, and why."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn.modules import module as hooks

from ..transforms import FourierTransform, Transform
from ..transforms.base import Size
from ..transforms.fourier_modes import FourierModes
from . import native
from .again import is_traced

KERNELS = ("auto", "reference", "rewrite", "triton")

# Positions H * W up to which one product with a matrix over all of them is faster than the FFT on
# CPU without native kernels, forward and backward, float32. Measured with 64 planes of 32 samples,
# one and two threads: 8x6 6.5 against 8.6 ms, 16x12 23 against 27 ms, 32x24 114 against 84 ms. With
# native kernels, which take the spectrum as the FFT gives it, it is slower at 8x6 already.
DENSE_POSITIONS = 256

Layer = tuple[nn.Module, type[nn.Module]]


def obstacle(
    layers: Mapping[str, Layer], transform: Transform, order: str, kernel: str
) -> str | None:
    """Why a block has to be computed by `reference`, if it has to.

    Parameters
    ----------
    layers : mapping of str to (nn.Module, type)
        Layers of the block by name, ``conv1`` and ``conv2`` among them, and the type that the
        rewrite stands for.
    transform : Transform
        Of the block.
    order, kernel : str
        Order of the planes, and what computes them, see `SRLBlock`.

    Returns
    -------
    str or None
        The first reason found, without a full stop; None if the block can be rewritten.
    """
    if kernel == "triton" and type(transform) is not FourierTransform:
        return f"the Triton kernels do not know the transform {type(transform).__name__}"
    if transform.parts == 2:
        if type(transform) not in (FourierTransform, FourierModes):
            return f"the rewrite does not know the transform {type(transform).__name__}"
        if order != "concatenated":
            return f"groups of {order} planes mix real and imaginary parts"
    elif transform.parts != 1:
        return f"the rewrite knows one or two parts, got {transform.parts}"
    for name, (layer, kind) in layers.items():
        if type(layer) is not kind:
            return f"{name} is a {type(layer).__name__}, the rewrite stands for {kind.__name__}"
        if is_watched(layer):
            return f"{name} has hooks or a forward method of its own, which want it to be called"
        if isinstance(layer, nn.BatchNorm2d) and (layer.weight is None or layer.bias is None):
            return f"{name} has no weight or no bias"
        if isinstance(layer, nn.Conv2d):
            if layer.kernel_size != (1, 1):
                return f"convolutions wider than 1 do not act on every position alone ({name})"
            if layer.groups % transform.parts:
                return f"an odd number of groups mixes real and imaginary parts: {layer.groups}"
            if layer.bias is not None:
                return f"{name} has a bias"
    if is_watched(transform):
        return "the transform has hooks or a forward method of its own"
    return None


def choose_form(transform: Transform, size: Size, device: torch.device) -> str:
    """Form of the Fourier transform, see `planes`; ``"fft"`` for others, which have but one.

    Compilers get products of real matrices, since they do not know complex numbers, and so does
    a transform that asks for them.
    """
    if not isinstance(transform, FourierTransform):
        return "fft"
    small = size[0] * size[1] <= DENSE_POSITIONS
    if is_traced() or transform.method == "matmul":
        return "dense" if small else "separable"
    alone = device.type == "cpu" and native.unavailable_reason() is not None
    return "dense" if small and alone else "fft"


def describe(
    transform: Transform, size: Size, device: torch.device, planes: tuple[int, int]
) -> str:
    """What the rewrite does with maps of a size.

    Parameters
    ----------
    transform : Transform
        Of the block.
    size : (int, int)
        (H, W).
    device : torch.device
        Where the block is.
    planes : (int, int)
        Channels C and K of the block.
    """
    height, width = size
    if isinstance(transform, FourierModes):
        rows, columns = transform.spectral_size(size)
        return (
            f"rewrite: {planes[0]} maps of {height}x{width} become planes of {rows}x{columns} "
            "frequencies and are added to, by products with matrices over H and over W"
        )
    text = f"rewrite: {planes[1]} maps of {height}x{width} are transformed instead of {planes[0]}, "
    if not isinstance(transform, FourierTransform):
        return f"{text}by products with matrices over H and over W"
    form = choose_form(transform, size, device)
    if form == "dense":
        text += f"by one product, as they have no more than {DENSE_POSITIONS} positions"
    elif form == "separable":
        text += "by products with matrices over H and over W, as method='matmul' asks for"
    else:
        text += "by FFT; in compiled graphs by products with matrices"
    if device.type != "cpu":
        return text
    obstacle = native.unavailable_reason()
    if obstacle is None:
        return f"{text}; native kernels"
    return f"{text}; PyTorch alone ({obstacle})"


def is_watched(layer: nn.Module) -> bool:
    """Whether hooks or a forward method of its own want the layer to be called."""
    return bool(
        layer._forward_hooks
        or layer._forward_pre_hooks
        or layer._backward_hooks
        or layer._backward_pre_hooks
        or "forward" in vars(layer)
        or hooks._has_any_global_hook()
    )
