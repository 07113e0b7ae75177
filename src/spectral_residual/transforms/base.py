"""The contract of all transforms, and the products of matrices that compute them.

A transform maps a feature map to its spectrum and back: the functions `f` and `f^-1` of
Chi et al., "Fast Non-Local Neural Networks with Spectral Residual Learning", ACM MM 2019,
Eqn. (1). All transforms here are orthonormal, act on each channel alone, and are separable: a
matrix for every axis, one axis after the other, without a copy of the map. A contiguous map is
read as (N C, H, W), a channels_last one as (N, H, W, C), videos alike; whichever it is, the first
product reads it where it lies, and the last one of the way back writes the sum with the map itself.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.modules import module as _module

from .bases import constant, full_precision, scaled_rows

Size = tuple[int, ...]
"""Height and width (H, W) of a map, or (T, H, W) of a volume."""

Modes = int | Sequence[int | None] | None
"""Frequencies that a transform keeps of every axis: one number, one for each axis, or all."""

Factors = list[tuple[Tensor, int]]
"""Matrices of a separable transform in the order of their products, each with the number of
positions behind its axis at that time."""

SMALL_PRODUCT = 64 * 256
"""Elements of the matrix (mh mw, H W) up to which a contiguous map is multiplied by it at once.
Measured with m = 8, 2 threads, inference and training: 16x12 and 14x14 take 0.8 to 0.95 of the
time of two products, 28x28 takes 1.05 to 1.25; with m = 12 16x12 takes 1.5."""


def check_size(size: object, axes: int = 2) -> Size:
    """Return `size` as (H, W), or for three axes (T, H, W), positive ints, or raise ValueError."""
    if (
        not isinstance(size, (tuple, list))
        or len(size) != axes
        or not all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in size)
    ):
        number, names = ("two", "(H, W)") if axes == 2 else ("three", "(T, H, W)")
        raise ValueError(f"size must be {number} positive integers {names}, got {size!r}")
    return tuple(map(int, size))


def _check_modes(modes: Modes, axes: int) -> tuple[int | None, ...] | None:
    """Return `modes` with one entry for each axis, or None if all frequencies are kept.

    One number stands for height and width; of a third axis, time, all is then kept. In a sequence
    None keeps all of an axis.
    """
    if modes is None:
        return None
    if isinstance(modes, (tuple, list)):
        given = tuple(modes)
    else:
        given = (*(None,) * (axes - 2), modes, modes)
    if len(given) != axes:
        raise ValueError(f"modes must be one number or one for each of {axes} axes, got {modes!r}")
    for m in given:
        if m is not None and (not isinstance(m, int) or isinstance(m, bool) or m < 1):
            raise ValueError(f"modes must be positive integers, got {modes!r}")
    return None if all(m is None for m in given) else given


def pinned(x: Tensor) -> Tensor:
    """The map; in graphs of `torch.jit.trace`, which are of one size, an error at others."""
    if torch.jit.is_tracing() and not torch.onnx.is_in_onnx_export():
        return x.expand(-1, -1, *map(int, x.shape[2:]))
    return x


def computing_dtype(x: Tensor) -> torch.dtype:
    """Dtype to transform `x` in: float32 for half precisions, otherwise its own."""
    if not x.is_floating_point():
        raise TypeError(f"expected a real floating-point tensor, got {x.dtype}")
    return torch.float32 if x.dtype in (torch.float16, torch.bfloat16) else x.dtype


def has_hooks(layer: nn.Module) -> bool:
    """Whether hooks or a forward method of its own want a layer to be called as it is."""
    kinds = ("forward_hooks", "forward_pre_hooks", "backward_hooks", "backward_pre_hooks")
    return "forward" in layer.__dict__ or any(
        getattr(layer, f"_{kind}") or getattr(_module, f"_global_{kind}") for kind in kinds
    )


class Transform(nn.Module, ABC):
    """Orthonormal transform of every channel of a feature map, or its lowest frequencies alone.

    With all frequencies, half-precision input is transformed in float32, inside autocast too, and
    returned in the caller's dtype. With few, see `modes`, it is transformed by matrix products in
    its own dtype.

    Parameters
    ----------
    modes : int, or one for each axis, optional
        Rows m that are kept of each axis, from the coarsest on; an axis that is shorter than m
        keeps what it has. None keeps all. A number is for height and width, all of time is kept.
    size : tuple of int, optional
        Map size (H0, W0) or (T0, H0, W0) to scale kept coefficients to: those of a map of size
        (H, W) are multiplied by sqrt(H0 W0 / (H W)), so that the same picture has the same
        coefficients at every size. By default nothing is scaled. Axes of which all is kept are
        not scaled either.

    Attributes
    ----------
    parts : int
        Real planes a channel's spectrum has: 1 for real transforms, 2 (real, imaginary) for
        the Fourier transform.
    default_groups : int
        Groups of the spectral convolutions that the paper uses with this transform.
    axes : int
        Axes that are transformed: 2 for maps, 3 for volumes.
    modes : tuple of int or None, or None
        The option with one entry for each axis.

    Raises
    ------
    ValueError
        If modes are not positive integers, or not one for each axis.
    """

    parts: int = 1
    default_groups: int = 2
    axes: int = 2

    def __init__(self, modes: Modes = None, size: Size | None = None) -> None:
        super().__init__()
        self.modes = _check_modes(modes, self.axes)
        self.reference_size = None if size is None else tuple(size)

    def rows(self, size: Size) -> Size:
        """Basis functions of each axis that are kept at a map size."""
        return tuple(map(min, self.filter_rows(size), size))

    def filter_rows(self, size: Size) -> Size:
        """Basis functions of each axis that a filter has weights for: m also on shorter axes."""
        if self.modes is None:
            return tuple(size)
        return tuple(n if m is None else m for m, n in zip(self.modes, size, strict=True))

    def spectral_size(self, size: Size) -> Size:
        """Size of the stored spectrum of a map of `size`, with as many axes."""
        return self.stored(self.rows(size))

    def filter_size(self, size: Size) -> Size:
        """Size of a filter over frequencies for maps of `size` and, with modes, of all others."""
        return self.stored(self.filter_rows(size))

    def stored(self, rows: Size) -> Size:
        """Coefficients that are stored for so many basis functions of each axis."""
        return rows

    @abstractmethod
    def factors(self, size: Size, like: Tensor, *, back: bool = False) -> Factors:
        """Matrices of the transform for maps of a size.

        Parameters
        ----------
        size : tuple of int
            (H, W) or (T, H, W).
        like : Tensor
            Gives device and dtype.
        back : bool, default False
            Those whose transposes in reverse order are the inverse.

        Returns
        -------
        list of (Tensor, int)
            Of a real transform (m, n) each, to m coefficients from n positions. Of one with two
            parts, last axis first: (2 m, n), rows of real parts before those of imaginary parts;
            these are then neighbours of the next axis, whose matrix, (2 m, 2 n), makes rows in
            that order from columns of every position's real and imaginary part. Before that any
            axis may be multiplied as the map is real still.
        """

    def row_builder(self, size: Size, like: Tensor, back: bool) -> Callable[..., Tensor]:
        """Function ``rows(axis, build, *arguments)``, for `factors`.

        It returns ``build(*arguments, n, m)``, where coefficients are scaled to a length n0
        multiplied by sqrt(n0 / n), or, for the way back, divided by it.
        """

        def rows(axis: int, build: Callable[..., Tensor], *arguments: Any) -> Tensor:
            n, m = size[axis], self.rows(size)[axis]
            few = self.modes is not None and self.modes[axis] is not None
            n0 = self.reference_size[axis] if few and self.reference_size else None
            return constant(scaled_rows, like, n, m, n0, -1 if back else 1, build, *arguments)

        return rows

    def forward(self, x: Tensor) -> Tensor:
        """Transform a map.

        Parameters
        ----------
        x : Tensor
            Feature map, (N, C, H, W) or (N, C, T, H, W), real floating point.

        Returns
        -------
        Tensor
            Spectrum, (N, parts, C, Hs, Ws) or (N, parts, C, Ts, Hs, Ws), dtype of `x`.
        """
        with full_precision(x.device):
            work = pinned(x).to(self._dtype(x))
            return _analyse(work, *self._analysis(work)).to(x.dtype)

    def inverse(self, spectrum: Tensor, size: Size) -> Tensor:
        """Transform a spectrum back.

        Parameters
        ----------
        spectrum : Tensor
            (N, parts, C, Hs, Ws) or (N, parts, C, Ts, Hs, Ws), real floating point; need not be
            the transform of a map.
        size : tuple of int
            Size (H, W) or (T, H, W) of the map.

        Returns
        -------
        Tensor
            Feature map, (N, C, H, W) or (N, C, T, H, W), dtype of `spectrum`.
        """
        with full_precision(spectrum.device):
            work = spectrum.to(self._dtype(spectrum))
            factors = self.factors(size, work, back=True)
            return _synthesise(work, factors, size).to(spectrum.dtype)

    def fork(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """A map and its spectrum, `forward`, for `add_inverse` to join again.

        Where the map alone needs a gradient, the one that comes back around the spectrum and the
        one that comes through it are summed by the product itself.
        """
        x = pinned(x)
        if x.dtype != self._dtype(x) or has_hooks(self):
            return x, self(x)
        with full_precision(x.device):
            factors, shape = self._analysis(x)
            matrices, behind = zip(*factors, strict=True)
            alone = x.requires_grad and not any(matrix.requires_grad for matrix in matrices)
            if alone and torch.is_grad_enabled() and not torch.compiler.is_compiling():
                forked: tuple[Tensor, Tensor] = _Fork.apply(x, shape, behind, *matrices)
                return forked
            return x, _analyse(x, factors, shape)

    def add_inverse(self, x: Tensor, spectrum: Tensor) -> Tensor:
        """Add the inverse of a spectrum to a map, in the map's dtype; see `inverse`."""
        with full_precision(x.device):
            work = x.to(self._dtype(x))
            size = tuple(x.shape[2:])
            factors = self.factors(size, work, back=True)
            return _synthesise(spectrum.to(work.dtype), factors, size, work).to(x.dtype)

    def _analysis(self, x: Tensor) -> tuple[Factors, Size]:
        size = tuple(x.shape[2:])
        return self.factors(size, x), (self.parts, *self.spectral_size(size))

    def _dtype(self, x: Tensor) -> torch.dtype:
        dtype = computing_dtype(x)
        return dtype if self.modes is None else x.dtype

    @abstractmethod
    def resample(self, weights: Tensor, size: Size, new_size: Size) -> Tensor:
        """Carry a filter over frequencies from one map size to another.

        With all frequencies of an axis the filter is taken as a function of normalised frequency
        (cycles per pixel), so that it keeps its meaning in pixels. With modes it stays as it is,
        cut to the frequencies that the new size has: the same functions over the field of view.
        Differentiable.

        Parameters
        ----------
        weights : Tensor
            One value per frequency, of shape ``(..., *filter_size(size))``.
        size, new_size : tuple of int
            Map size that it belongs to, and the one it is wanted for.

        Returns
        -------
        Tensor
            Shape ``(..., *spectral_size(new_size))``.
        """

    def operations(self, channels: int, size: Size) -> float:
        """Operations of one direction for one map, by the paper's accounting (table 1).

        Multiply-accumulates of the products with all rows, ``C H W (H + W)`` for a map, or with m,
        ``C m W (H + m)``: over H, then W, then T.
        """
        rows, left, operations = self.rows(size), list(size), 0
        for axis in (-2, -1, 0)[: self.axes]:
            operations += rows[axis] * math.prod(left)
            left[axis] = rows[axis]
        return float(channels * operations)

    def extra_repr(self) -> str:
        """Modes, if not all are kept."""
        return "" if self.modes is None else f"modes={self.modes}"


class _Fork(Function):
    """`Transform.fork`: backward is the way back with transposed matrices, added to the map's."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, shape: Size, behind: Size, *matrices: Tensor) -> tuple[Tensor, Tensor]:
        return x.view_as(x), _analyse(x, list(zip(matrices, behind, strict=True)), shape)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        _, ctx.shape, ctx.behind, *matrices = inputs
        ctx.save_for_backward(*matrices)
        ctx.save_for_forward(*matrices)

    @staticmethod
    def backward(ctx: Any, of_maps: Tensor, of_spectra: Tensor) -> tuple[Tensor | None, ...]:
        factors = list(zip(ctx.saved_tensors, ctx.behind, strict=True))
        gradient = _synthesise(of_spectra, factors, tuple(of_maps.shape[2:]), of_maps)
        return gradient, None, None, *(None for _ in factors)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> tuple[Tensor, Tensor]:
        factors = list(zip(ctx.saved_tensors, ctx.behind, strict=True))
        return tangent.view_as(tangent), _analyse(tangent, factors, ctx.shape)


def _analyse(x: Tensor, factors: Factors, shape: Size) -> Tensor:
    """Spectra (N, parts, C, *kept) of maps (N, C, *size), `shape` being (parts, *kept)."""
    samples, channels = x.shape[:2]
    y, channels_last = _in_memory(x)
    for matrix, behind in factors if channels_last or shape[0] > 1 else _joined(factors):
        y = _multiply(matrix, y, behind * channels if channels_last else behind)
    if channels_last:
        return y.reshape(samples, *shape, channels).movedim(-1, 2)
    return y.reshape(samples, channels, *shape).transpose(1, 2)


def _synthesise(z: Tensor, factors: Factors, size: Size, x: Tensor | None = None) -> Tensor:
    """Maps of spectra by the transposes of the factors, last one first, added to the maps `x`."""
    samples, parts, channels = z.shape[:3]
    base, channels_last = _in_memory(z[:, 0] if x is None else x)
    (matrix, behind), *others = factors if channels_last or parts > 1 else _joined(factors)
    lines = channels if channels_last else 1
    y = z.movedim(2, -1) if channels_last else z.transpose(1, 2)
    for other, behind_other in reversed(others):
        y = _multiply(other.mT, y, behind_other * lines)
    y = _multiply(matrix.mT, y, behind * lines, None if x is None else base)
    if channels_last:
        return y.reshape(samples, *size, channels).movedim(-1, 1)
    return y.reshape(samples, channels, *size)


def _multiply(matrix: Tensor, y: Tensor, behind: int, base: Tensor | None = None) -> Tensor:
    """Multiply the axis of `y` that has so many numbers behind it, and add `base`."""
    m, n = matrix.shape
    if behind == 1:
        y = y.reshape(-1, n)
        return y @ matrix.mT if base is None else torch.addmm(base.reshape(-1, m), y, matrix.mT)
    y = y.reshape(-1, n, behind)
    if base is None:
        return torch.matmul(matrix, y)
    return torch.baddbmm(base.reshape(-1, m, behind), matrix.expand(y.shape[0], m, n), y)


def _joined(factors: Factors) -> Factors:
    """One matrix over all positions of a map if it beats thousands of tiny products.

    In graphs of ONNX width goes first: the products with the whole map are then one each, and the
    last one adds the map. In PyTorch itself that order takes 1.1 to 1.5 times as long.
    """
    if len(factors) != 2:
        return factors
    (height, _), (width, _) = factors
    if torch.compiler.is_compiling():
        onnx = torch.onnx.is_in_onnx_export()
        return [(width, 1), (height, len(width))] if onnx else factors
    if height.numel() * width.numel() > SMALL_PRODUCT:
        return factors
    # torch.kron wants contiguous matrices.
    product = height[:, None, :, None] * width[:, None]
    return [(product.reshape(len(height) * len(width), -1), 1)]


def _in_memory(x: Tensor) -> tuple[Tensor, bool]:
    """Maps in the order of axes in memory, and whether it has the channels last."""
    y = x.movedim(1, -1)
    channels_last = not x.is_contiguous() and y.is_contiguous()
    return (y if channels_last else x), channels_last
