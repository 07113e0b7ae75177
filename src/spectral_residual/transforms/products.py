"""Separable transforms by matrix products, without a copy in either memory format.

One axis after the other. A contiguous map is read as (N C, H, W), a channels_last one as
(N, H, W, C), videos alike; whichever it is, the first product reads it where it lies, and the last
one of the way back writes the sum with the map itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

Analysis = Callable[[Tensor, Sequence[Tensor]], Tensor]
Synthesis = Callable[[Tensor, Sequence[Tensor], Tensor | None], Tensor]

SMALL_PRODUCT = 64 * 256
"""Elements of the matrix (mh mw, H W) up to which a contiguous map is multiplied by it at once.

Measured with m = 8, 2 threads, inference and training: 16x12 and 14x14 take 0.8 to 0.95 of the
time of two products, 28x28 takes 1.05 to 1.25; with m = 12 16x12 takes 1.5."""

_ORDERS = {
    # Orders of the axes in memory that are read without a copy, channels last at the end.
    4: ((0, 1, 2, 3), (0, 2, 3, 1)),
    5: ((0, 1, 2, 3, 4), (0, 2, 3, 4, 1)),
}


def analyse(x: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Coefficients of maps: both axes multiplied by a matrix.

    Parameters
    ----------
    x : Tensor
        (N, C, H, W).
    matrices : sequence of Tensor
        (mh, H) and (mw, W), dtype of `x`.

    Returns
    -------
    Tensor
        (N, C, mh, mw), memory format of `x`.
    """
    order, y = _in_memory(x)
    over_height, over_width = matrices
    height, width = x.shape[-2:]
    if _is_channels_last(order):
        channels = x.shape[1]
        y = torch.matmul(over_height, y.reshape(-1, height, width * channels))
        y = torch.matmul(over_width, y.reshape(-1, width, channels))
        y = y.reshape(-1, over_height.shape[0], over_width.shape[0], channels)
    elif _is_small(matrices):
        lead = y.shape[:-2]
        y = y.reshape(-1, height * width) @ _kronecker(over_height, over_width).mT
        y = y.reshape(*lead, over_height.shape[0], over_width.shape[0])
    else:
        lead = y.shape[:-2]
        y = torch.matmul(over_height, y.reshape(-1, height, width))
        y = torch.matmul(y, over_width.mT).reshape(*lead, over_height.shape[0], over_width.shape[0])
    return y.permute(_inverse(order))


def synthesise(z: Tensor, matrices: Sequence[Tensor], x: Tensor | None = None) -> Tensor:
    """Maps of coefficients, the way back of `analyse`, added to other maps.

    Parameters
    ----------
    z : Tensor
        (N, C, mh, mw).
    matrices : sequence of Tensor
        (H, mh) and (W, mw), dtype of `z`.
    x : Tensor, optional
        Maps to add to, (N, C, H, W), dtype of `z`.

    Returns
    -------
    Tensor
        Maps, memory format of `x`, or else of `z`.
    """
    order, base = _in_memory(z if x is None else x)
    y = z.permute(order)
    over_height, over_width = matrices
    height, rows = over_height.shape
    width = over_width.shape[0]
    if _is_channels_last(order):
        samples, channels = z.shape[:2]
        y = torch.matmul(over_width, y.reshape(samples * rows, over_width.shape[1], channels))
        y = y.reshape(samples, rows, width * channels)
        shape = (samples, height, width, channels)
    elif x is not None and _is_small(matrices):
        product = _kronecker(over_height, over_width).mT
        y = torch.addmm(base.reshape(-1, height * width), y.reshape(-1, len(product)), product)
        return y.reshape(base.shape).permute(_inverse(order))
    else:
        samples, channels = z.shape[:2]
        y = torch.matmul(y.reshape(samples * channels, rows, y.shape[-1]), over_width.mT)
        shape = (samples, channels, height, width)
    y = _multiply(over_height, y, None if x is None else base)
    return y.reshape(shape).permute(_inverse(order))


def analyse_complex(x: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Complex coefficients of real maps or volumes, in real arithmetic.

    The last axis gives every position a real and an imaginary part; those are then neighbours of
    the next axis to be multiplied, so that one matrix serves both.

    Parameters
    ----------
    x : Tensor
        (N, C, H, W) or (N, C, T, H, W).
    matrices : sequence of Tensor
        One for each axis, dtype of `x`. For the last axis (2 m, n), the rows of real parts before
        those of imaginary parts. For the others (2 m, 2 n): to rows in that order, from columns of
        every position's real and imaginary part. If there is one matrix more, (r, H), height is
        first multiplied by it, as the map is real still, and has r positions from then on.

    Returns
    -------
    Tensor
        (N, 2, C, mh, mw) or (N, 2, C, mt, mh, mw).
    """
    order, y = _in_memory(x)
    samples, channels, *others, n = x.shape
    *over_others, over_last = matrices[: len(others) + 1]
    kept = [matrix.shape[0] // 2 for matrix in (*over_others, over_last)]
    lead, in_rows = samples, 1
    if _is_channels_last(order):
        in_rows = channels
    else:
        lead = lead * channels
    lead = lead * math.prod(others[:-1])
    for over_height in matrices[len(others) + 1 :]:
        y = torch.matmul(over_height, y.reshape(lead, others[-1], n * in_rows))
        others[-1] = over_height.shape[0]
    lead = lead * others[-1]
    if _is_channels_last(order):
        y = torch.matmul(over_last, y.reshape(lead, n, channels))
    else:
        y = y.reshape(lead, n) @ over_last.mT
    rest = in_rows * kept[-1]
    for axis in reversed(range(len(others))):
        lead = lead // others[axis]
        y = torch.matmul(over_others[axis], y.reshape(lead, 2 * others[axis], rest))
        rest = rest * kept[axis]
    if _is_channels_last(order):
        return y.reshape(samples, 2, *kept, channels).movedim(-1, 2)
    return y.reshape(samples, channels, 2, *kept).transpose(1, 2)


def synthesise_complex(z: Tensor, matrices: Sequence[Tensor], x: Tensor | None = None) -> Tensor:
    """Real maps or volumes of complex coefficients, the way back of `analyse_complex`.

    Parameters
    ----------
    z : Tensor
        (N, 2, C, mh, mw) or (N, 2, C, mt, mh, mw).
    matrices : sequence of Tensor
        As those of `analyse_complex`, transposed: (2 n, 2 m), (n, 2 m) for the last axis, and
        (H, r) if there is one more.
    x : Tensor, optional
        Maps to add to, (N, C, H, W) or (N, C, T, H, W), dtype of `z`.

    Returns
    -------
    Tensor
        Maps, memory format of `x`; contiguous without it.
    """
    order, base = (_ORDERS[z.dim() - 1][0], None) if x is None else _in_memory(x)
    samples, _, channels, *kept = z.shape
    *over_others, over_last = matrices[: len(kept)]
    over_height = matrices[-1] if len(matrices) > len(kept) else None
    others = [matrix.shape[0] // 2 for matrix in over_others]
    n = over_last.shape[0]
    lead, in_rows = samples, 1
    if _is_channels_last(order):
        in_rows = channels
        y = z.movedim(2, -1)
    else:
        lead = lead * channels
        y = z.transpose(1, 2)
    rest = in_rows * math.prod(kept)
    for axis, matrix in enumerate(over_others):
        rest = rest // kept[axis]
        y = torch.matmul(matrix, y.reshape(lead, 2 * kept[axis], rest))
        lead = lead * others[axis]
    to_add = base if over_height is None else None
    if _is_channels_last(order):
        y = _multiply(over_last, y.reshape(lead, 2 * kept[-1], channels), to_add)
    else:
        y = y.reshape(lead, 2 * kept[-1])
        back = over_last.mT
        y = y @ back if to_add is None else torch.addmm(to_add.reshape(lead, n), y, back)
    if over_height is not None:
        lead = lead // others[-1]
        y = _multiply(over_height, y.reshape(lead, others[-1], n * in_rows), base)
        others[-1] = over_height.shape[0]
    if _is_channels_last(order):
        return y.reshape(samples, *others, n, channels).movedim(-1, 1)
    return y.reshape(samples, channels, *others, n)


def _multiply(matrix: Tensor, y: Tensor, base: Tensor | None) -> Tensor:
    """Products of one matrix and many, (lead, m, rest), added to maps of as many elements."""
    if base is None:
        return torch.matmul(matrix, y)
    lead, _, rest = y.shape
    base = base.reshape(lead, matrix.shape[0], rest)
    return torch.baddbmm(base, matrix.expand(lead, *matrix.shape), y)


def analyse_beside(
    x: Tensor, matrices: Sequence[Tensor], forth: Analysis, back: Synthesis
) -> tuple[Tensor, Tensor]:
    """Maps and their coefficients, for a residual connection around them.

    The same numbers; but where the maps alone need a gradient, the one that comes back around the
    coefficients and the one that comes through them are summed by the product itself.

    Parameters
    ----------
    x, matrices
        Of `forth`.
    forth, back : callable
        `analyse` and `synthesise`, or `analyse_complex` and `synthesise_complex`.
    """
    alone = torch.is_grad_enabled() and x.requires_grad
    if alone and not torch.compiler.is_compiling() and not any(m.requires_grad for m in matrices):
        found: tuple[Tensor, Tensor] = _AnalyseBeside.apply(x, forth, back, *matrices)
        return found
    return x, forth(x, matrices)


class _AnalyseBeside(Function):
    """`analyse_beside`; backward is the way back with transposed matrices."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: Tensor, forth: Analysis, back: Synthesis, *matrices: Tensor
    ) -> tuple[Tensor, Tensor]:
        return x.view_as(x), forth(x, matrices)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        _, ctx.forth, ctx.back, *matrices = inputs
        ctx.save_for_backward(*matrices)
        ctx.save_for_forward(*matrices)

    @staticmethod
    def backward(ctx: Any, of_maps: Tensor, of_coefficients: Tensor) -> tuple[Tensor | None, ...]:
        transposed = [matrix.mT for matrix in ctx.saved_tensors]
        gradient = ctx.back(of_coefficients, transposed, of_maps)
        return gradient, None, None, *(None for _ in transposed)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> tuple[Tensor, Tensor]:
        return tangent.view_as(tangent), ctx.forth(tangent, ctx.saved_tensors)


def _is_small(matrices: Sequence[Tensor]) -> bool:
    """Whether one product with the matrix over all positions beats thousands of tiny ones."""
    if torch.compiler.is_compiling():
        return False
    height, width = matrices
    return height.numel() * width.numel() <= SMALL_PRODUCT


def _kronecker(a: Tensor, b: Tensor) -> Tensor:
    """`torch.kron` of matrices, which wants contiguous ones."""
    product = a[:, None, :, None] * b[:, None]
    return product.reshape(len(a) * len(b), a.shape[1] * b.shape[1])


def _in_memory(x: Tensor) -> tuple[tuple[int, ...], Tensor]:
    """Order of the axes in memory, and the maps in it; copied if it is none that is known."""
    orders = _ORDERS[x.dim()]
    for order in orders:
        y = x.permute(order)
        if y.is_contiguous():
            return order, y
    return orders[0], x


def _is_channels_last(order: tuple[int, ...]) -> bool:
    return order[-1] == 1


def _inverse(order: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(order.index(axis) for axis in range(len(order)))
