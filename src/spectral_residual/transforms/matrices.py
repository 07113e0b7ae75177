"""Orthogonal matrices of the fixed transforms, for any order, in float64.

Every function returns an (n, n) matrix whose rows are orthonormal basis vectors, the constant
one first, ordered from coarse to fine. Where the textbook matrix exists for powers of two only,
the docstring says how other orders are built.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor


def dct(n: int) -> Tensor:
    """Type-II discrete cosine transform (Ahmed, Natarajan, Rao 1974), orthonormal."""
    k = torch.arange(n)[:, None]
    j = torch.arange(n)[None, :]
    turns = ((2 * j + 1) * k) % (4 * n)
    rows = torch.cos(turns.double() * (math.pi / (2 * n))) * math.sqrt(2 / n)
    rows[0] = 1 / math.sqrt(n)
    return rows


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
    half = matrix.shape[0]
    order = 4 * half * half - 1
    a = math.sqrt(3 * half * half / order)
    b = math.sqrt((half * half - 1) / order)
    rows = torch.zeros(2 * half, 2 * half, dtype=torch.float64)
    left, right = rows[:, :half], rows[:, half:]
    left[0], right[0] = matrix[0], matrix[0]
    left[1], right[1] = a * matrix[0], -a * matrix[0]
    if half > 1:
        left[1] += b * matrix[1]
        right[1] += b * matrix[1]
        left[half], right[half] = matrix[1], -matrix[1]
        left[half + 1], right[half + 1] = (
            a * matrix[1] - b * matrix[0],
            a * matrix[1] + b * matrix[0],
        )
        left[2:half], right[2:half] = matrix[2:], matrix[2:]
        left[half + 2 :], right[half + 2 :] = matrix[2:], -matrix[2:]
    return rows / math.sqrt(2)


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
    counts = []
    for row in rows:
        signs = torch.sign(row[row.abs() > 1e-9])
        counts.append(int((signs[1:] != signs[:-1]).sum()))
    return torch.tensor(counts)


BUILDERS: dict[str, Callable[[int], Tensor]] = {
    "dct": dct,
    "wht": walsh_hadamard,
    "haar": haar,
    "slant": slant,
}

_cache: dict[tuple[str, int, torch.dtype, torch.device], Tensor] = {}


def orthogonal_matrix(kind: str, n: int, like: Tensor) -> Tensor:
    """Matrix of order n of a fixed transform, with the device and dtype of `like`.

    Built in float64 and rounded once; kept for later calls. A compiled or exported graph holds
    it as a constant.
    """
    return _constant(kind, int(n), like.dtype, like.device)


def _constant(kind: str, n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    key = (kind, n, dtype, device)
    if key not in _cache:
        # Tracing, inference mode, autocast and default devices are states of a thread: in one of
        # its own the matrix is an ordinary tensor, which may outlive them.
        with ThreadPoolExecutor(max_workers=1) as thread:
            matrix = thread.submit(BUILDERS[kind], n).result()
            _cache[key] = thread.submit(matrix.to, device=device, dtype=dtype).result()
    return _cache[key]


# As torch.compiler.assume_constant_result does, which would import the whole compiler.
_constant._dynamo_marked_constant = True  # type: ignore[attr-defined]
