"""Orthogonal matrices of the fixed transforms, for any order, in float64, and their lowest rows.

Every builder returns an (n, n) matrix whose rows are orthonormal basis vectors, the constant
one first, ordered from coarse to fine; `basis` gives the lowest m. Where the textbook matrix exists
for powers of two only, the docstring says how other orders are built.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from ..errors import unknown_name


def dct(n: int) -> Tensor:
    """Type-II discrete cosine transform (Ahmed, Natarajan, Rao 1974), orthonormal."""
    return cosines(n, n)


def cosines(m: int, n: int) -> Tensor:
    """The m lowest rows of the DCT-II of n positions, (m, n); n may be dynamic in a graph."""
    k = torch.arange(m)[:, None]
    j = torch.arange(n)[None, :]
    turns = torch.remainder((2 * j + 1) * k, torch.full((), 4 * n))
    scale = torch.where(k == 0, 1.0, 2.0).double()
    return torch.cos(turns.double() * (math.pi / 2) / n) * (scale / n).sqrt()


def walsh_hadamard(n: int) -> Tensor:
    """Walsh-Hadamard transform in sequency order (Fino and Algazi 1976), orthonormal.

    For ``n = 2^k m`` with odd m: the Kronecker product of the Walsh-Hadamard matrix of order
    2^k and the DCT-II of order m. It is the largest Walsh-Hadamard part that the order allows,
    every basis vector still reaches all positions, and for powers of two it is the textbook
    matrix. Rows are sorted by their number of sign changes.
    """
    power, odd = _split_order(n)
    hadamard = torch.ones(1, 1, dtype=torch.float64)
    pair = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64) / math.sqrt(2)
    for _ in range(power):
        hadamard = torch.kron(hadamard, pair)
    rows = torch.kron(hadamard, dct(odd))
    return rows[torch.argsort(_sign_changes(rows), stable=True)]


def haar(n: int) -> Tensor:
    """Haar transform, orthonormal, constant row first, then wavelets from coarse to fine.

    Intervals that cannot be halved are split into ceil(n/2) and floor(n/2) positions, with the
    two levels of the wavelet weighted so that it stays orthogonal to constants (the unbalanced
    Haar basis); for powers of two this is the textbook matrix.
    """
    rows = [torch.full((n,), 1 / math.sqrt(n), dtype=torch.float64)]
    level = [(0, n)]
    while level:
        children = []
        for start, length in level:
            if length < 2:
                continue
            left = (length + 1) // 2
            right = length - left
            row = torch.zeros(n, dtype=torch.float64)
            row[start : start + left] = math.sqrt(right / (left * length))
            row[start + left : start + length] = -math.sqrt(left / (right * length))
            rows.append(row)
            children += [(start, left), (start + left, right)]
        level = children
    return torch.stack(rows)


def slant(n: int) -> Tensor:
    """Slant transform: its second row falls linearly (Pratt, Chen, Welch 1974), orthonormal.

    The textbook recursion from order N to 2N only needs a first row that is constant and a
    second that is linear. For ``n = 2^k m`` with odd m it therefore starts from the discrete
    Legendre polynomials of order m (for m = 1 the single 1, which gives the textbook matrix).
    Rows are sorted by their number of sign changes.
    """
    power, odd = _split_order(n)
    matrix = _discrete_legendre(odd)
    for _ in range(power):
        matrix = _double_slant(matrix)
    return matrix[torch.argsort(_sign_changes(matrix), stable=True)]


def _double_slant(matrix: Tensor) -> Tensor:
    """Slant matrix of twice the order; rows 0 and 1 stay the constant and the linear one."""
    half = len(matrix)
    a = math.sqrt(3 * half * half / (4 * half * half - 1))
    b = math.sqrt((half * half - 1) / (4 * half * half - 1))
    first, second, rest = matrix[:1], matrix[1:2], matrix[2:]
    if half == 1:
        left, right = [first, first], [first, -first]
    else:
        left = [first, a * first + b * second, rest, second, a * second - b * first, rest]
        right = [first, b * second - a * first, rest, -second, a * second + b * first, -rest]
    return torch.cat((torch.cat(left), torch.cat(right)), dim=1) / math.sqrt(2)


def _discrete_legendre(n: int) -> Tensor:
    """Orthonormal polynomials on n equidistant points; row 1 falls from left to right."""
    x = torch.linspace(1, -1, n, dtype=torch.float64) if n > 1 else torch.zeros(1).double()
    rows = torch.zeros(n, n, dtype=torch.float64)
    rows[0] = 1 / math.sqrt(n)
    for degree in range(1, n):
        row = x * rows[degree - 1]
        for _ in range(2):
            row = row - rows[:degree].T @ (rows[:degree] @ row)
        rows[degree] = row / row.norm()
    return rows


def _split_order(n: int) -> tuple[int, int]:
    """Write n as 2^power * odd."""
    power = (n & -n).bit_length() - 1
    return power, n >> power


def _sign_changes(rows: Tensor) -> Tensor:
    """Sign changes along every row; zeros have the sign of what is before them."""
    signs = torch.where(rows.abs() > 1e-9, rows.sign(), 0)
    places = torch.arange(rows.shape[1]) * (signs != 0)
    filled = signs.gather(1, places.cummax(dim=1).values)
    return (filled[:, 1:] * filled[:, :-1] < 0).sum(dim=1)


BASES: dict[str, Callable[[int], Tensor]] = {
    "dct": dct,
    "wht": walsh_hadamard,
    "haar": haar,
    "slant": slant,
}


def basis(kind: str, n: int, m: int) -> Tensor:
    """The m lowest basis functions of a fixed transform of n positions, (m, n) float64.

    Parameters
    ----------
    kind : {"dct", "wht", "haar", "slant", "fourier"}
        Key of `BASES`, or ``"fourier"``: cosines of frequencies 0 to m // 2, then sines.
    n : int
        Positions. For ``dct`` and ``fourier`` it may be dynamic in a graph.
    m : int
        Rows, at most n; odd for ``"fourier"``, or n.

    Returns
    -------
    Tensor
        Orthonormal rows; all of the transform for m = n.

    Raises
    ------
    ValueError
        If the kind is unknown, or m is not between 1 and n, or the rows of ``"fourier"`` would not
        be whole pairs.
    """
    if kind not in (*BASES, "fourier"):
        raise unknown_name("basis", kind, (*BASES, "fourier"))
    if not 1 <= m <= n:
        raise ValueError(f"expected a number of basis functions from 1 to {n}, got {m}")
    if kind == "dct":
        return cosines(m, n)
    if kind == "fourier":
        if m % 2 == 0 and m != n:
            raise ValueError(f"expected an odd number of Fourier rows, or all {n}, got {m}")
        scale = torch.full((m, 1), math.sqrt(2), dtype=torch.float64)
        own = [0, m // 2] if m % 2 == 0 else [0]
        scale[own] = 1.0
        return cosines_and_sines(n, m) * scale
    return BASES[kind](n)[:m]


def waves(frequencies: int, n: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine of ``2 pi k j / n`` over sqrt(n), both (frequencies, n), float64.

    The sine is exactly 0 at multiples of half a turn. n may be dynamic in a graph.
    """
    k = torch.arange(frequencies)[:, None]
    j = torch.arange(n)[None, :]
    turns = torch.remainder(k * j, torch.full((), n))
    angle = turns.double() * (2 * math.pi) / n
    sine = torch.where(torch.remainder(2 * turns, torch.full((), n)) == 0, 0.0, torch.sin(angle))
    scale = n**-0.5
    return torch.cos(angle) * scale, sine * scale


def cosines_and_sines(n: int, m: int) -> Tensor:
    """The m rows that the m lowest frequencies of a real axis are made of, (m, n); see `waves`."""
    cosine, sine = waves(m // 2 + 1, n)
    return torch.cat((cosine, sine[1 : (m + 1) // 2]))


def scaled_rows(
    n: int, m: int, scaled_to: int | None, power: int, build: Callable[..., Tensor], *arguments: Any
) -> Tensor:
    """``build(*arguments, n, m)`` times sqrt(scaled_to / n) to a power."""
    rows = build(*arguments, n, m)
    return rows if scaled_to is None else rows * (scaled_to / n) ** (power / 2)


def interpolate(
    values: Tensor, axis: int, m: int, *, periodic: bool, keep: int | None = None
) -> Tensor:
    """Sample an axis of n values linearly at the positions ``j * n / m``, differentiably.

    Parameters
    ----------
    values : Tensor
        Any shape; the n values of the axis cover the same range of frequency as the m wanted ones.
    axis, m : int
        The axis, and its new length.
    periodic : bool
        Whether value n is value 0 again; otherwise positions past the last value take it.
    keep : int, optional
        Return the first so many of the m values alone.
    """
    n = values.shape[axis]
    position = torch.arange(m, dtype=torch.float64)[:keep] * n / m
    if not periodic:
        position = position.clamp(max=n - 1)
    lower = position.floor().long()
    upper = (lower + 1) % n if periodic else (lower + 1).clamp(max=n - 1)
    fraction = (position - lower)[:, None]
    rows = torch.eye(n, dtype=torch.float64)
    matrix = ((1 - fraction) * rows[lower] + fraction * rows[upper]).to(values)
    return (values.movedim(axis, -1) @ matrix.mT).movedim(-1, axis)


_DEVICES = ("cpu", "cuda", "xpu", "mps", "hpu", "xla", "mtia", "privateuseone")
_AUTOCAST = {kind for kind in _DEVICES if torch.amp.is_autocast_available(kind)}


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Context in which autocast is off, where the device has autocast at all."""
    if device.type in _AUTOCAST:
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def _is_plain(argument: Any) -> bool:
    return not isinstance(argument, (Tensor, torch.SymInt, torch.SymFloat))


_KEPT: OrderedDict[Any, Tensor] = OrderedDict()
_LOCK = threading.Lock()
_MOST_BYTES, _FEWEST_KEPT = 2**25, 8


def constant(build: Callable[..., Tensor], like: Tensor, *arguments: Any) -> Tensor:
    """A matrix that depends on sizes alone, with the device and dtype of `like`.

    Parameters
    ----------
    build : callable
        Function of the module level that returns the matrix in float64.
    like : Tensor
        Gives device and dtype; the matrix is rounded once.
    *arguments
        For `build`. The last results are kept for later calls, 32 MiB of them and at least 8.
        Compiled graphs compute the matrix; exported ones too, where a size of it is dynamic.
    """
    arguments = tuple(int(a) if isinstance(a, Tensor) else a for a in arguments)
    baked = torch.compiler.is_exporting() and not torch.compiler.is_dynamo_compiling()
    if torch.compiler.is_compiling() and not (baked and all(_is_plain(a) for a in arguments)):
        return build(*arguments).to(device=like.device, dtype=like.dtype)
    key = (build, arguments, like.dtype, like.device)
    with _LOCK:
        if key in _KEPT:
            _KEPT.move_to_end(key)
            return _KEPT[key]
    # Tracing, inference mode, autocast and default devices are states of a thread: in one of its
    # own the matrix is an ordinary tensor, which may outlive them.
    with ThreadPoolExecutor(max_workers=1) as thread:
        matrix = thread.submit(build, *arguments).result()
        made = thread.submit(matrix.to, device=like.device, dtype=like.dtype).result()
    with _LOCK:
        _KEPT[key] = made
        while len(_KEPT) > _FEWEST_KEPT and sum(m.nbytes for m in _KEPT.values()) > _MOST_BYTES:
            _KEPT.popitem(last=False)
    return made
