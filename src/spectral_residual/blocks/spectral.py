"""The spectral residual learning (SRL) block.

Chi et al., "Fast Non-Local Neural Networks with Spectral Residual Learning", ACM MM 2019,
section 3 and figure 2::

    x -> transform -> conv (C to K) -> BN -> spectral ReLU -> conv (K to C) -> BN
      -> times alpha -> inverse transform -> + x

The Fourier transform stores half of the spectrum, real and imaginary parts as separate planes;
the printed costs of the paper admit no other reading. With few frequencies, the `modes` of the
transform, everything between the transforms has their number of positions, whatever the map.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import unknown_name
from ..transforms import Transform
from ..transforms.base import Size, check_size, has_hooks
from .base import Shape, check_positive, divide, nearest_divisors

Layer = tuple[nn.Module, nn.Module, nn.Module]
"""Convolution, batch normalisation and spectral ReLU."""

ORDERS = ("concatenated", "interleaved")


class SpectralReLU(nn.Module):
    """``max(W * z + B, 0)`` with one weight and one bias per frequency, Eqn. (6).

    Parameters
    ----------
    size : tuple of int
        Map size (H, W), or (T, H, W) of a volume, that the frequencies belong to.
    transform : Transform
        Transform in use: gives W and B for other map sizes.
    spread : float, default 0
        Standard deviation of W at the start, around 1; 0 gives ones.
    planes : int, optional
        Number of planes if every plane is to have a W and a B of its own; by default all share
        them, as in the paper.

    Attributes
    ----------
    weight, bias : nn.Parameter
        W and B, of shape ``transform.filter_size(size)``, or with `planes` in front of it, shared
        by real and imaginary parts if there is no `planes`; B is 0 at the start.

    Raises
    ------
    ValueError
        If spread is negative or not finite.
    """

    transform: Transform

    def __init__(
        self, size: Size, transform: Transform, *, spread: float = 0.0, planes: int | None = None
    ) -> None:
        super().__init__()
        if not 0 <= spread < math.inf:
            raise ValueError(f"spread must be a finite number of at least 0, got {spread!r}")
        self.size = size
        # No child: it is the block's, and its parameters are not listed twice.
        self.__dict__["transform"] = transform
        shape = transform.filter_size(size)
        weight = torch.ones(shape if planes is None else (planes, *shape))
        if spread:
            weight.normal_(1.0, spread)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros_like(weight))

    def filters(self, size: Size) -> tuple[Tensor, Tensor]:
        """W and B for maps of `size`: the parameters, or resampled from them."""
        return (
            self.transform.resample(self.weight, self.size, size),
            self.transform.resample(self.bias, self.size, size),
        )

    def forward(self, z: Tensor, size: Size) -> Tensor:
        """Filter spectra.

        Parameters
        ----------
        z : Tensor
            Spectrum of maps of `size`, (N, planes, Hs, Ws), or of volumes with the axes of time
            and height as one, (N, planes, Ts * Hs, Ws).
        size : tuple of int
            Map size, (H, W) or (T, H, W).

        Returns
        -------
        Tensor
            Shape and dtype of `z`.
        """
        planes = self.weight.shape[: -len(size)]
        weight, bias = (
            each.to(z.dtype).reshape(*planes, *z.shape[2:]) for each in self.filters(size)
        )
        return torch.addcmul(bias, z, weight).relu()

    def extra_repr(self) -> str:
        """Map size and number of frequencies."""
        return f"size={self.size}, frequencies={tuple(self.weight.shape)}"


class SpectralResidual(nn.Module, ABC):
    """``x + f^-1(alpha * g(f(x)))``, Eqn. (1), with a transform f and layers g of the spectrum.

    Parameters
    ----------
    channels, size, transform, order, alpha
        See `SRLBlock`.

    Attributes
    ----------
    conv2, bn2 : nn.Module
        The last layer; the ones before are given by `hidden`.
    alpha : nn.Parameter
        Scale of the residual, (1,).
    """

    transform: Transform
    conv2: nn.Module
    bn2: nn.BatchNorm2d
    frames: int | None = None
    """T, if each frame of a video is transformed."""

    def __init__(
        self, channels: int, size: Size, transform: Transform, order: str, alpha: float
    ) -> None:
        super().__init__()
        check_positive("channels", channels)
        if order not in ORDERS:
            raise unknown_name("order of spectral planes", order, ORDERS)
        self.channels, self.size = channels, size
        self.order = order
        self.transform = transform
        if not abs(alpha) <= torch.finfo(torch.float32).max:
            raise ValueError(f"alpha must be a finite number, got {alpha!r}")
        self.alpha = nn.Parameter(torch.full((1,), float(alpha)))
        self.register_load_state_dict_pre_hook(_shape_alpha)

    @abstractmethod
    def hidden(self) -> Iterator[Layer]:
        """The layers before the last."""

    def forward(self, x: Tensor) -> Tensor:
        """Add the globally filtered map to the map.

        Parameters
        ----------
        x : Tensor
            Feature map, (N, C, H, W) or (N, C, T, H, W), floating point; half precisions and
            autocast work at any size.

        Returns
        -------
        Tensor
            Shape, dtype and memory format of `x`. An empty batch is returned as it is.

        Raises
        ------
        ValueError
            If `x` has another number of axes or channels, or of frames where it matters, or the
            learnable transform was built for another size.
        """
        self.check_input(tuple(x.shape))
        return self.add_filtered(x) if x.shape[0] else x

    def add_filtered(self, x: Tensor) -> Tensor:
        """Transform, mix, BN and spectral ReLU, mix, BN times alpha, transform back, add.

        For maps of as many axes as the transform has; `forward` without its checks.
        """
        size = tuple(x.shape[2:])
        x, spectrum = self.transform.fork(x)
        z = _stack_parts(spectrum, self.order)
        kept = z.shape[2:-1]
        # Of volumes the layers see time and height as one axis: pointwise, they need no more.
        z = z.flatten(2, -2)
        for conv, norm, relu in self.hidden():
            z = relu(norm(conv(z)), size)
        z = _scaled_norm(self.bn2, self.conv2(z), self.alpha).unflatten(2, kept)
        return self.transform.add_inverse(x, _split_parts(z, self.transform.parts, self.order))

    def extra_operations(self, input_shape: Shape) -> float:
        """Operations of both transforms for one sample, which no layer accounts for.

        Parameters
        ----------
        input_shape : tuple of int
            Shape of the input, (N, C, H, W) or (N, C, T, H, W).
        """
        self.check_input(input_shape)
        axes = self.transform.axes
        frames, size = math.prod(input_shape[2:-axes]), tuple(input_shape[-axes:])
        return 2 * frames * self.transform.operations(self.channels, size)

    def check_input(self, shape: Shape) -> None:
        """Raise ValueError unless maps have the block's channels and number of axes."""
        axes = self.transform.axes if self.frames is None else 3
        nothing = not torch.compiler.is_compiling() and 0 in shape[2:]
        if len(shape) != 2 + axes or shape[1] != self.channels or nothing:
            kind = "a video" if axes == 3 else "a feature map"
            frames = f"{self.frames or 'T'}, " if axes == 3 else ""
            raise ValueError(
                f"expected {kind} of shape (N, {self.channels}, {frames}H, W), got {tuple(shape)}"
            )

    def _convolutions(
        self, reduction: int, groups: int | None, kernel_size: int
    ) -> tuple[nn.Conv2d, nn.Conv2d]:
        """Convolutions over channels, C to K and K to C, of the planes of a spectrum."""
        groups = self.transform.default_groups if groups is None else groups
        inner = divide("channels", self.channels, "reduction", reduction)
        check_positive("groups", groups)
        parts = self.transform.parts
        outer, inner = parts * self.channels, parts * inner
        if inner % groups:
            raise ValueError(
                f"the {inner} inner planes ({parts} part(s) of a channel each) must be divisible "
                f"by groups, got groups={groups}; channels={self.channels}, reduction={reduction}"
                f"{nearest_divisors('groups', inner, groups)}"
            )
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd and positive, got {kernel_size}")
        padding = kernel_size // 2
        return (
            nn.Conv2d(outer, inner, kernel_size, padding=padding, groups=groups, bias=False),
            nn.Conv2d(inner, outer, kernel_size, padding=padding, groups=groups, bias=False),
        )


class SRLBlock(SpectralResidual):
    """Spectral residual learning block for images, and for volumes with all axes transformed.

    With ``alpha = 0``, its start, the block returns its input unchanged.

    Parameters
    ----------
    channels : int
        Channels C of the feature map.
    size : (int, int) or (int, int, int)
        Size (H, W), or (T, H, W), of the maps that the spectral ReLU gets its weights for. Maps of
        other sizes are taken too: with these weights resampled over normalised frequency, or, if
        the transform keeps few frequencies, as they are. Only the learnable orthogonal transform
        cannot do that and raises ValueError.
    transform : Transform
        Local-to-global transform of as many axes, and its inverse. With modes, the lowest m x m
        frequencies alone, only the transforms themselves grow with the map, linearly in its
        positions, and no map of the size of the input is kept for the backward pass.
    reduction : int, default 2
        C / K, the bottleneck. (The paper's text says 4, all its printed costs say 2.)
    groups : int, optional
        Groups of all convolutions; by default 8 for Fourier, 2 for real transforms.
    kernel_size : int, default 1
        Odd width of the spectral convolutions; the spectrum's borders are padded with zeros. Of
        volumes only 1.
    order : {"concatenated", "interleaved"}
        Whether the convolutions see all real parts before all imaginary parts, so that the
        groups keep them apart, or the two parts of each channel side by side.
    alpha : float, default 0
        Start of the learnable scale of the residual.
    spread : float, default 0
        Standard deviation of the spectral ReLU's W at the start, around 1.
    shared : bool, default True
        Whether all planes share W and B, as in the paper; otherwise each has its own.
    hidden_layers : {1, 2}
        Layers of convolution, normalisation and spectral ReLU before the last convolution.

    Raises
    ------
    ValueError
        If channels, reduction and groups do not divide each other, or an option is out of range.
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
        shared: bool = True,
        hidden_layers: int = 1,
    ) -> None:
        size = check_size(size, transform.axes)
        super().__init__(channels, size, transform, order, alpha)
        conv1, conv2 = self._convolutions(reduction, groups, kernel_size)
        if transform.axes == 3 and kernel_size != 1:
            raise ValueError(f"kernel_size must be 1 for volumes, got {kernel_size}")
        if hidden_layers not in (1, 2):
            raise ValueError(f"hidden_layers must be 1 or 2, got {hidden_layers!r}")
        planes = conv1.out_channels
        own = None if shared else planes
        self.conv1 = conv1
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = SpectralReLU(size, transform, spread=spread, planes=own)
        if hidden_layers == 2:
            padding, groups = kernel_size // 2, conv1.groups
            self.conv_h = nn.Conv2d(
                planes, planes, kernel_size, padding=padding, groups=groups, bias=False
            )
            self.bn_h = nn.BatchNorm2d(planes)
            self.relu_h = SpectralReLU(size, transform, spread=spread, planes=own)
        self.hidden_layers = hidden_layers
        self.conv2 = conv2
        self.bn2 = nn.BatchNorm2d(conv2.out_channels)

    def hidden(self) -> Iterator[Layer]:
        """The layers before the last; see `SpectralResidual.hidden`."""
        yield self.conv1, self.bn1, self.relu
        if self.hidden_layers == 2:
            yield self.conv_h, self.bn_h, self.relu_h

    def explain(self, size: Size | None = None) -> str:
        """Say how the block is computed, and why.

        Parameters
        ----------
        size : tuple of int, optional
            Size (H, W) or (T, H, W) of the maps; by default what the block was built for.

        Returns
        -------
        str
            One line. It holds for the state that the block is in: hooks on its layers, for one,
            change it.
        """
        size = self.size if size is None else check_size(size, self.transform.axes)
        shown, kept = ("x".join(map(str, n)) for n in (size, self.transform.rows(size)))
        text = f"maps of {shown} become {kept} coefficients of every channel"
        for n, m in zip(size, self.transform.modes or (), strict=False):
            if m is not None and n < m:
                text += f"; a side of {n} has no more than {n} of the {m} modes asked for"
        return text

    def extra_repr(self) -> str:
        """Channels, map size and order of the planes."""
        return f"channels={self.channels}, size={self.size}, order={self.order!r}"


def _shape_alpha(module: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    """Take alpha of checkpoints in which it has no axis; FSDP2 wants parameters to have one."""
    alpha = state.get(f"{prefix}alpha")
    if isinstance(alpha, Tensor) and alpha.dim() == 0:
        state[f"{prefix}alpha"] = alpha.reshape(1)


def _scaled_norm(norm: nn.BatchNorm2d, z: Tensor, alpha: Tensor) -> Tensor:
    """``alpha * norm(z)`` in one pass, alpha being in the scale and shift of the normalisation.

    What `norm` does, running statistics included; one with hooks or of another kind is called.
    """
    if type(norm) is not nn.BatchNorm2d or not norm.affine or has_hooks(norm):
        return norm(z) * alpha
    momentum = 0.0 if norm.momentum is None else norm.momentum
    if norm.training and norm.track_running_stats and norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
        if norm.momentum is None:
            momentum = 1.0 / float(norm.num_batches_tracked)
    tracked = not norm.training or norm.track_running_stats
    return F.batch_norm(
        z,
        norm.running_mean if tracked else None,
        norm.running_var if tracked else None,
        norm.weight * alpha,
        norm.bias * alpha,
        norm.training or norm.running_mean is None,
        momentum,
        norm.eps,
    )


def _stack_parts(spectrum: Tensor, order: str) -> Tensor:
    """(N, parts, C, *frequencies) to (N, parts * C, *frequencies), in an order of `ORDERS`."""
    return (spectrum.transpose(1, 2) if order == "interleaved" else spectrum).flatten(1, 2)


def _split_parts(planes: Tensor, parts: int, order: str) -> Tensor:
    """(N, parts * C, *frequencies) to (N, parts, C, *frequencies)."""
    if order == "interleaved":
        return planes.unflatten(1, (-1, parts)).transpose(1, 2)
    return planes.unflatten(1, (parts, -1))
