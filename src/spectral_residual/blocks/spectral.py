"""The spectral residual learning (SRL) block.

Chi et al., "Fast Non-Local Neural Networks with Spectral Residual Learning", ACM MM 2019,
section 3 and figure 2::

    x -> transform -> conv (C to K) -> BN -> spectral ReLU -> conv (K to C) -> BN
      -> times alpha -> inverse transform -> + x

The Fourier transform stores half of the spectrum, real and imaginary parts as separate planes;
the printed costs of the paper admit no other reading.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..errors import unknown_name
from ..kernels import (
    KERNELS,
    Layers,
    choose_form,
    describe,
    describe_triton,
    obstacle,
    rewritten_block,
    spectral_branch,
    triton_block,
)
from ..transforms import Transform
from ..transforms.base import Size, check_size

ORDERS = ("concatenated", "interleaved")

Resample = Callable[[Tensor, Size, Size], Tensor]


class SpectralReLU(nn.Module):
    """``max(W * z + B, 0)`` with one weight and one bias per frequency, Eqn. (6).

    Parameters
    ----------
    size : tuple of int
        Map size (H, W), or (T, H, W) of a volume, that the frequencies belong to.
    spectral_size : tuple of int
        Size of the stored spectrum at that size, with as many axes.
    resample : callable
        `Transform.resample` of the transform in use: gives W and B for other map sizes.
    spread : float, default 0
        Standard deviation of W at the start, around 1; 0 gives ones.

    Attributes
    ----------
    weight, bias : nn.Parameter
        W and B, of shape `spectral_size`, shared by all channels and by real and imaginary
        parts; B is 0 at the start.

    Raises
    ------
    ValueError
        If spread is negative or not finite.
    """

    def __init__(
        self, size: Size, spectral_size: Size, resample: Resample, *, spread: float = 0.0
    ) -> None:
        super().__init__()
        if not 0 <= spread < math.inf:
            raise ValueError(f"spread must be a finite number of at least 0, got {spread!r}")
        self.size = size
        self.resample = resample
        weight = torch.ones(spectral_size)
        if spread:
            weight.normal_(1.0, spread)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(spectral_size))

    def filters(self, size: Size) -> tuple[Tensor, Tensor]:
        """W and B for maps of `size`: the parameters, or resampled from them."""
        if size == self.size:
            return self.weight, self.bias
        return (
            self.resample(self.weight, self.size, size),
            self.resample(self.bias, self.size, size),
        )

    def forward(self, z: Tensor, size: Size) -> Tensor:
        """Filter spectra.

        Parameters
        ----------
        z : Tensor
            Spectrum of maps of `size`, (N, planes, Hs, Ws) or (N, planes, Ts, Hs, Ws).
        size : tuple of int
            Map size, (H, W) or (T, H, W).

        Returns
        -------
        Tensor
            Shape and dtype of `z`.
        """
        weight, bias = self.filters(size)
        return torch.relu(z * weight.to(z.dtype) + bias.to(z.dtype))

    def extra_repr(self) -> str:
        """Map size and number of frequencies."""
        return f"size={self.size}, frequencies={tuple(self.weight.shape)}"


class SRLBlock(nn.Module):
    """Spectral residual learning block for images.

    With ``alpha = 0``, its start, the block returns its input unchanged.

    Parameters
    ----------
    channels : int
        Channels C of the feature map.
    size : (int, int)
        Height and width (H, W) of the maps that the spectral ReLU gets its weights for. Maps of
        other sizes are taken too, with these weights resampled over normalised frequency; only
        the learnable orthogonal transform cannot do that and raises ValueError. With
        `FourierModes` the weights, (m, (m + 1) / 2), are the same at every size from m x m on.
    transform : Transform
        Local-to-global transform and its inverse. With `FourierModes`, the lowest m x m
        frequencies alone, only the transforms themselves grow with the map, linearly in its
        positions: convolutions, normalisations and ReLU work on m (m + 1) / 2 values per plane,
        and no map of the size of the input is kept for the backward pass.
    reduction : int, default 2
        C / K, the bottleneck. (The paper's text says 4, all its printed costs say 2.)
    groups : int, optional
        Groups of both convolutions; by default 8 for Fourier, 2 for real transforms.
    kernel_size : int, default 1
        Odd width of the spectral convolutions; the spectrum's borders are padded with zeros.
    order : {"concatenated", "interleaved"}
        Whether the convolutions see all real parts before all imaginary parts, so that the
        groups keep them apart, or the two parts of each channel side by side.
    alpha : float, default 0
        Start of the learnable scale of the residual.
    spread : float, default 0
        Standard deviation of the spectral ReLU's W at the start, around 1.
    kernel : {"auto", "reference", "rewrite", "triton"}
        How it is computed: step by step, or rewritten so that half of the planes are transformed,
        with the same parameters and, up to rounding, the same numbers. ``"auto"`` rewrites where
        the options allow it. ``"triton"`` is the rewrite in kernels for NVIDIA GPUs, with the
        Fourier transform, in single and half precision; its gradients cannot be differentiated
        again. Either way layers that have hooks or were replaced are called as
        the reference does; `explain` says so.

    Raises
    ------
    ValueError
        If channels, reduction and groups do not divide each other, an option is out of range, or
        ``kernel="rewrite"`` or ``"triton"`` is asked for with options that do not allow it.
    """

    def __init__(
        self,
        channels: int,
        size: Size,
        transform: Transform,
        *,
        reduction: int = 2,
        groups: int | None = None,
        kernel_size: int = 1,
        order: str = "concatenated",
        alpha: float = 0.0,
        spread: float = 0.0,
        kernel: str = "auto",
    ) -> None:
        super().__init__()
        if kernel not in KERNELS:
            raise unknown_name("kernel of the SRL block", kernel, KERNELS)
        size = check_size(size)
        conv1, conv2 = spectral_convolutions(channels, transform, reduction, groups, kernel_size)
        check_order(order)
        self.channels = channels
        self.size = size
        self.order = order
        self.transform = transform
        self.conv1 = conv1
        self.bn1 = nn.BatchNorm2d(conv1.out_channels)
        self.relu = SpectralReLU(
            size, transform.spectral_size(size), transform.resample, spread=spread
        )
        self.conv2 = conv2
        self.bn2 = nn.BatchNorm2d(conv2.out_channels)
        self.alpha = nn.Parameter(torch.tensor(float(alpha)))
        self.kernel = kernel
        reason = self._obstacle()
        if kernel in ("rewrite", "triton") and reason is not None:
            raise ValueError(f"kernel={kernel!r} is not possible: {reason}")

    def forward(self, x: Tensor) -> Tensor:
        """Add the globally filtered map to the map.

        Parameters
        ----------
        x : Tensor
            Feature map, (N, C, H, W), floating point; half precisions and autocast work at any
            size, transforms being computed in float32.

        Returns
        -------
        Tensor
            (N, C, H, W), dtype of `x`.

        Raises
        ------
        ValueError
            If `x` is not four-dimensional or has another number of channels, if the learnable
            transform was built for another size, if the maps are smaller than the modes kept, or if
            the kernels of ``kernel="triton"`` cannot be used with these maps on their device.
        """
        if x.dim() != 4 or x.shape[1] != self.channels:
            raise ValueError(
                f"expected a feature map of shape (N, {self.channels}, H, W), got {tuple(x.shape)}"
            )
        size = (x.shape[-2], x.shape[-1])
        if self.kernel != "reference" and self._obstacle() is None and x.numel():
            layers = Layers(
                self.transform,
                self.conv1,
                self.bn1,
                self.conv2,
                self.bn2,
                self.relu.filters(size),
                self.alpha,
            )
            if self.kernel == "triton":
                return triton_block(x, layers)
            return rewritten_block(x, layers, choose_form(self.transform, size, x.device))
        branch = spectral_branch(
            x,
            self.transform,
            reduce=lambda z: self.bn1(self.conv1(z)),
            filter=lambda z: self.relu(z, size),
            promote=lambda z: self.bn2(self.conv2(z)) * self.alpha,
            interleaved=self.order == "interleaved",
        )
        return x + branch.to(x.dtype)

    def explain(self, size: Size | None = None) -> str:
        """Say how the block is computed, and why.

        Parameters
        ----------
        size : (int, int), optional
            Height and width of the maps; by default those that the block was built for.

        Returns
        -------
        str
            One line, beginning with ``"rewrite"``, ``"reference"`` or ``"triton"``. It holds for
            the state that the block is in: hooks on its layers, for one, change it.
        """
        size = self.size if size is None else check_size(size)
        if self.kernel == "reference":
            return "reference: kernel='reference' asks for it"
        reason = self._obstacle()
        if reason is not None:
            return f"reference: {reason}"
        if self.kernel == "triton":
            return describe_triton(size, self.alpha.device, self.alpha.dtype)
        planes = self.channels, self.conv1.out_channels // self.transform.parts
        return describe(self.transform, size, self.alpha.device, planes)

    def _obstacle(self) -> str | None:
        layers: dict[str, tuple[nn.Module, type[nn.Module]]] = {
            "conv1": (self.conv1, nn.Conv2d),
            "bn1": (self.bn1, nn.BatchNorm2d),
            "relu": (self.relu, SpectralReLU),
            "conv2": (self.conv2, nn.Conv2d),
            "bn2": (self.bn2, nn.BatchNorm2d),
        }
        return obstacle(layers, self.transform, self.order, self.kernel)

    def extra_operations(self, input_shape: tuple[int, ...]) -> float:
        """Operations of both transforms for one sample, which no layer accounts for.

        Parameters
        ----------
        input_shape : tuple of int
            Shape of the input, (N, C, H, W).
        """
        return 2 * self.transform.operations(self.channels, (input_shape[-2], input_shape[-1]))

    def extra_repr(self) -> str:
        """Channels, map size and order of the planes."""
        return f"channels={self.channels}, size={self.size}, order={self.order!r}"


def spectral_convolutions(
    channels: int, transform: Transform, reduction: int, groups: int | None, kernel_size: int
) -> tuple[nn.Conv2d, nn.Conv2d]:
    """Build the convolutions over channels, C to K and K to C, for the planes of a spectrum.

    Parameters
    ----------
    channels : int
        Channels C of the feature map.
    transform : Transform
        Gives the planes per channel, and the groups if they are None.
    reduction, groups, kernel_size
        See `SRLBlock`.

    Returns
    -------
    (nn.Conv2d, nn.Conv2d)
        From parts * C planes to parts * K and back, without biases.

    Raises
    ------
    ValueError
        If channels, reduction and groups do not divide each other, or kernel_size is even.
    """
    groups = transform.default_groups if groups is None else groups
    _check_channels(channels, reduction, groups, transform.parts)
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"kernel_size must be odd and positive, got {kernel_size}")
    outer = transform.parts * channels
    inner = transform.parts * (channels // reduction)
    padding = kernel_size // 2
    return (
        nn.Conv2d(outer, inner, kernel_size, padding=padding, groups=groups, bias=False),
        nn.Conv2d(inner, outer, kernel_size, padding=padding, groups=groups, bias=False),
    )


def check_order(order: str) -> None:
    """Raise ValueError unless `order` is one of `ORDERS`."""
    if order not in ORDERS:
        raise unknown_name("order of spectral planes", order, ORDERS)


def _check_channels(channels: int, reduction: int, groups: int, parts: int) -> None:
    for label, value in (("channels", channels), ("reduction", reduction), ("groups", groups)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{label} must be a positive integer, got {value!r}")
    if channels % reduction:
        raise ValueError(f"channels must be divisible by reduction, got {channels} and {reduction}")
    inner = parts * (channels // reduction)
    for label, planes in (("outer", parts * channels), ("inner", inner)):
        if planes % groups:
            raise ValueError(
                f"the {planes} {label} planes ({parts} part(s) of a channel each) must be "
                f"divisible by groups, got groups={groups}; channels={channels}, "
                f"reduction={reduction}"
            )
