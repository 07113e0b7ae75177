"""Laws of the transforms in float64, and known functions against naive formulas."""

from __future__ import annotations

import cmath
import itertools
import math

import pytest
import torch

from spectral_residual import FixedOrthogonalTransform, FourierTransform, create_transform
from spectral_residual.transforms import TRANSFORMS
from spectral_residual.transforms.base import check_size
from spectral_residual.transforms.bases import (
    _FEWEST_KEPT,
    _KEPT,
    _MOST_BYTES,
    BASES,
    basis,
    constant,
)
from spectral_residual.transforms.fourier import column_weights

EXACT = 1e-12
MIXED_SIZES = [(n, (7 * n) % 33 + 1) for n in range(1, 34)]
SIZES = [*((n, n) for n in range(1, 34)), *MIXED_SIZES, (64, 48), (96, 72)]
NAMES = [*TRANSFORMS, "fft-matmul"]
ODD_AND_EVEN = [(1, 1), (1, 2), (2, 1), (2, 2), (3, 4), (4, 3), (5, 5), (6, 8), (7, 10), (33, 32)]


def build(name, size):
    transform = FourierTransform("matmul") if name == "fft-matmul" else create_transform(name, size)
    return transform.double()


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def gap(a, b):
    assert a.shape == b.shape
    return (a - b).abs().max().item()


def inner(transform, a, b, width):
    """Inner product of two spectra, counting every frequency that the whole plane has."""
    product = a * b
    return (product * column_weights(width, product) if transform.parts == 2 else product).sum()


def naive_dft(n):
    """Orthonormal complex DFT matrix, entry by entry."""
    rows = [[cmath.exp(-2j * math.pi * (k * j % n) / n) for j in range(n)] for k in range(n)]
    return torch.tensor(rows, dtype=torch.complex128) / math.sqrt(n)


def extended_plane(real, imag, width):
    """Whole complex plane of a stored half: its mirror image, columns 0 and W / 2 as they are."""
    half = torch.complex(real, imag)
    height = half.shape[-2]
    plane = torch.zeros(*half.shape[:-1], width, dtype=half.dtype)
    for row in range(height):
        for column in range(width):
            if column <= width // 2:
                plane[..., row, column] = half[..., row, column]
            else:
                plane[..., row, column] = half[..., -row % height, width - column].conj()
    return plane


@pytest.mark.parametrize("name", NAMES)
def test_round_trip_parseval_adjoint(name):
    for height, width in SIZES:
        size = (height, width)
        transform = build(name, size)
        x = random(1, 2, height, width, seed=height)
        spectrum = transform(x)
        assert spectrum.shape == (1, transform.parts, 2, *transform.spectral_size(size))
        assert gap(transform.inverse(spectrum, size), x) <= EXACT, size

        energy = inner(transform, spectrum, spectrum, width)
        assert abs(energy / x.square().sum() - 1) <= EXACT, size

        z = random(*spectrum.shape, seed=width)
        forward = inner(transform, spectrum, z, width)
        backward = (x * transform.inverse(z, size)).sum()
        assert abs(forward - backward) <= EXACT * x.norm() * z.norm(), size


@pytest.mark.parametrize("kind", list(BASES))
def test_matrices_are_orthogonal_with_constant_row_first(kind):
    for n in [*range(1, 34), 48, 64, 72, 96, 127]:
        matrix = BASES[kind](n)
        assert gap(matrix @ matrix.T, torch.eye(n, dtype=torch.float64)) <= EXACT, n
        assert gap(matrix[0], torch.full((n,), n**-0.5, dtype=torch.float64)) <= EXACT, n


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"lo"}))
@pytest.mark.parametrize("size", [(6, 8), (7, 5), (12, 9), (64, 48)])
def test_constant_map_has_one_coefficient(name, size):
    spectrum = build(name, size)(torch.full((1, 1, *size), 3.0, dtype=torch.float64))
    expected = torch.zeros_like(spectrum)
    expected[..., 0, 0, 0, 0] = 3.0 * math.sqrt(size[0] * size[1])
    assert gap(spectrum, expected) <= 1e-11


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 12, 17])
def test_dct_is_the_formula(n):
    matrix = BASES["dct"](n)
    for k in range(n):
        scale = math.sqrt((1 if k == 0 else 2) / n)
        for j in range(n):
            expected = scale * math.cos(math.pi * (2 * j + 1) * k / (2 * n))
            assert abs(matrix[k, j] - expected) <= EXACT


@pytest.mark.parametrize("n", [1, 2, 4, 8, 16, 32, 64])
def test_walsh_hadamard_is_the_sign_matrix_in_sequency_order(n):
    rows = [[(-1) ** bin(i & j).count("1") for j in range(n)] for i in range(n)]
    rows.sort(key=lambda row: sum(a != b for a, b in itertools.pairwise(row)))
    expected = torch.tensor(rows, dtype=torch.float64) / math.sqrt(n)
    assert gap(BASES["wht"](n), expected) <= EXACT


@pytest.mark.parametrize("n", [3, 6, 12, 20, 24])
def test_walsh_hadamard_of_other_orders_has_the_largest_hadamard_factor(n):
    """The same rows as the Kronecker product, ordered by their sign changes."""
    power = n & -n
    signs = [[(-1) ** bin(i & j).count("1") for j in range(power)] for i in range(power)]
    hadamard = torch.tensor(signs, dtype=torch.float64) / math.sqrt(power)
    rows = BASES["wht"](n)
    permutation = rows @ torch.kron(hadamard, BASES["dct"](n // power)).T
    assert gap(permutation, permutation.round()) <= EXACT
    assert gap(permutation.sum(0), torch.ones(n).double()) <= EXACT
    changes = [sum(bool(a * b < 0) for a, b in itertools.pairwise(row)) for row in rows]
    assert changes == sorted(changes)


R2, R5, R21, R105 = (math.sqrt(v) for v in (2, 5, 21, 105))
HAAR = {
    2: [[1, 1], [1, -1]],
    4: [[1, 1, 1, 1], [1, 1, -1, -1], [R2, -R2, 0, 0], [0, 0, R2, -R2]],
    8: [
        [1, 1, 1, 1, 1, 1, 1, 1],
        [1, 1, 1, 1, -1, -1, -1, -1],
        [R2, R2, -R2, -R2, 0, 0, 0, 0],
        [0, 0, 0, 0, R2, R2, -R2, -R2],
        [2, -2, 0, 0, 0, 0, 0, 0],
        [0, 0, 2, -2, 0, 0, 0, 0],
        [0, 0, 0, 0, 2, -2, 0, 0],
        [0, 0, 0, 0, 0, 0, 2, -2],
    ],
}
SLANT = {
    2: [[1, 1], [1, -1]],
    4: [
        [1, 1, 1, 1],
        [3 / R5, 1 / R5, -1 / R5, -3 / R5],
        [1, -1, -1, 1],
        [1 / R5, -3 / R5, 3 / R5, -1 / R5],
    ],
    8: [
        [1, 1, 1, 1, 1, 1, 1, 1],
        [v / R21 for v in (7, 5, 3, 1, -1, -3, -5, -7)],
        [v / R5 for v in (3, 1, -1, -3, -3, -1, 1, 3)],
        [v / R105 for v in (7, -1, -9, -17, 17, 9, 1, -7)],
        [1, -1, -1, 1, 1, -1, -1, 1],
        [1, -1, -1, 1, -1, 1, 1, -1],
        [v / R5 for v in (1, -3, 3, -1, -1, 3, -3, 1)],
        [v / R5 for v in (1, -3, 3, -1, 1, -3, 3, -1)],
    ],
}


@pytest.mark.parametrize("n", [2, 4, 8])
@pytest.mark.parametrize(("kind", "textbook"), [("haar", HAAR), ("slant", SLANT)])
def test_textbook_matrices(kind, textbook, n):
    expected = torch.tensor(textbook[n], dtype=torch.float64) / math.sqrt(n)
    assert gap(BASES[kind](n), expected) <= EXACT


@pytest.mark.parametrize("n", [3, 6, 12, 16, 20, 33])
def test_second_row_of_slant_is_linear(n):
    row = BASES["slant"](n)[1]
    steps = row[1:] - row[:-1]
    assert (steps < 0).all()
    assert gap(steps, steps[:1].expand(n - 1)) <= EXACT


@pytest.mark.parametrize("kind", sorted(BASES))
@pytest.mark.parametrize("size", [(4, 8), (6, 5)])
def test_real_transforms_have_height_frequencies_in_rows(kind, size):
    x = random(2, 3, *size)
    P, Q = BASES[kind](size[0]), BASES[kind](size[1])
    expected = torch.einsum("uh,nchw,vw->ncuv", P, x, Q).unsqueeze(1)
    assert gap(create_transform(kind, size)(x), expected) <= EXACT


@pytest.mark.parametrize("method", ["fft", "matmul"])
@pytest.mark.parametrize("size", ODD_AND_EVEN)
def test_fourier_is_the_complex_dft(method, size):
    x = random(2, 3, *size)
    plane = naive_dft(size[0]) @ x.to(torch.complex128) @ naive_dft(size[1]).T
    half = plane[..., : size[1] // 2 + 1]
    spectrum = FourierTransform(method)(x)
    assert gap(spectrum, torch.stack((half.real, half.imag), dim=1)) <= EXACT


@pytest.mark.parametrize("size", ODD_AND_EVEN)
def test_inverse_of_a_half_spectrum_that_is_not_hermitian(size):
    spectrum = random(2, 2, 3, size[0], size[1] // 2 + 1)
    plane = extended_plane(spectrum[:, 0], spectrum[:, 1], size[1])
    expected = (naive_dft(size[0]).conj() @ plane @ naive_dft(size[1]).conj().T).real
    fft = FourierTransform("fft").inverse(spectrum, size)
    matmul = FourierTransform("matmul").inverse(spectrum, size)
    assert gap(fft, expected) <= EXACT
    assert gap(matmul, expected) <= EXACT
    assert gap(fft, matmul) <= EXACT


@pytest.mark.parametrize("size", ODD_AND_EVEN)
def test_the_library_gets_hermitian_spectra_only(size, monkeypatch):
    """What FFT libraries do with other ones differs between devices and releases."""
    irfft = torch.fft.irfft

    def strict(spectrum, n, **options):
        assert (spectrum.imag[..., 0] == 0).all()
        assert n % 2 == 1 or (spectrum.imag[..., n // 2] == 0).all()
        assert spectrum.shape[-1] == n // 2 + 1
        return irfft(spectrum, n, **options)

    monkeypatch.setattr(torch.fft, "irfft", strict)
    monkeypatch.setattr(torch.fft, "irfft2", None)
    FourierTransform("fft").inverse(random(2, 2, 3, size[0], size[1] // 2 + 1), size)


@pytest.mark.parametrize("size", [(4, 6), (5, 7), (2, 2)])
def test_inverse_gradients_agree_between_methods(size):
    spectrum = random(2, 2, 3, size[0], size[1] // 2 + 1)
    weight = random(2, 3, *size, seed=1)
    gradients = []
    for method in ("fft", "matmul"):
        leaf = spectrum.clone().requires_grad_()
        (FourierTransform(method).inverse(leaf, size) * weight).sum().backward()
        gradients.append(leaf.grad)
    assert gap(*gradients) <= EXACT


@pytest.mark.parametrize("method", ["fft", "matmul"])
@pytest.mark.parametrize("shift", [(1, 0), (0, 1), (3, 5)])
def test_rolling_a_map_turns_the_phases(method, shift):
    height, width = 6, 7
    x = random(1, 2, height, width)
    transform = FourierTransform(method)
    before, after = (torch.complex(*transform(m).unbind(1)) for m in (x, x.roll(shift, (-2, -1))))
    u = torch.arange(height, dtype=torch.float64)[:, None] * shift[0] / height
    v = torch.arange(width // 2 + 1, dtype=torch.float64) * shift[1] / width
    phases = torch.polar(torch.ones(()).double(), -2 * math.pi * (u + v))
    assert gap(after, before * phases) <= EXACT


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [(1, 1), (5, 7), (33, 31), (64, 48)])
def test_half_precision_at_any_size(name, dtype, size):
    transform = build(name, size).float()
    x = random(2, 3, *size).to(dtype)
    spectrum = transform(x)
    back = transform.inverse(spectrum, size)
    assert spectrum.dtype == back.dtype == dtype
    eps = torch.finfo(dtype).eps
    expected = transform(x.float())
    assert gap(spectrum.float(), expected) <= eps * expected.abs().max()
    assert gap(back.float(), x.float()) <= 4 * eps * expected.abs().max()


@pytest.mark.parametrize("name", NAMES)
def test_autocast_leaves_transforms_in_float32(name):
    transform = build(name, (9, 10)).float()
    x = random(2, 3, 9, 10).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        spectrum = transform(x)
        back = transform.inverse(spectrum, (9, 10))
    assert spectrum.dtype == back.dtype == torch.float32
    assert gap(spectrum, transform(x)) == 0
    assert gap(back, x) <= 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_integer_maps_are_refused(name):
    with pytest.raises(TypeError, match=r"floating-point tensor, got torch\.int64"):
        build(name, (4, 4))(torch.zeros(1, 1, 4, 4, dtype=torch.int64))


@pytest.mark.parametrize("kind", sorted(BASES))
def test_matrices_built_in_inference_mode_serve_training(kind):
    with torch.inference_mode():
        constant(basis, torch.zeros(1), kind, 37, 37)
        FixedOrthogonalTransform(kind)(torch.zeros(1, 1, 37, 41))
    x = torch.randn(1, 1, 37, 41, requires_grad=True)
    FixedOrthogonalTransform(kind)(x).square().sum().backward()
    assert gap(x.grad, 2 * x.detach()) <= 1e-5


@pytest.mark.parametrize("kind", sorted(BASES))
def test_matrices_built_under_a_default_device_are_real(kind):
    with torch.device("meta"):
        matrix = constant(basis, torch.zeros(1, device="cpu"), kind, 39, 39)
    assert matrix.device.type == "cpu"
    assert gap(matrix @ matrix.T, torch.eye(39)) <= 1e-5


def test_matrices_are_kept_but_not_for_ever():
    like = torch.zeros(1)
    first = constant(basis, like, "dct", 23, 23)
    assert constant(basis, like, "dct", 23, 23) is first
    for n in range(24, 330):
        constant(basis, like, "dct", n, n)
        assert len(_KEPT) <= _FEWEST_KEPT or sum(m.nbytes for m in _KEPT.values()) <= _MOST_BYTES
    assert constant(basis, like, "dct", 23, 23) is not first


@pytest.mark.parametrize("name", ["fft", "fft-matmul", *BASES])
def test_export_and_compile_without_any_earlier_run(name):
    _KEPT.clear()
    transform = build(name, (6, 5))

    class RoundTrip(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.transform = transform

        def forward(self, x):
            return self.transform.inverse(2 * self.transform(x), (6, 5))

    x = random(2, 3, 6, 5)
    exported = torch.export.export(RoundTrip(), (x,)).module()
    assert gap(exported(x), 2 * x) <= EXACT
    _KEPT.clear()
    compiled = torch.compile(RoundTrip(), fullgraph=True, backend="eager")
    assert gap(compiled(x), 2 * x) <= EXACT
    torch.compiler.reset()


# ---- filters carried to another map size -------------------------------------------------------

FILTERED = ["fft", *BASES]
CHANGES = [
    ((8, 6), (16, 12)),
    ((16, 12), (8, 6)),
    ((9, 7), (12, 10)),
    ((12, 10), (9, 7)),
    ((5, 8), (11, 3)),
    ((1, 1), (4, 6)),
    ((4, 6), (1, 1)),
]


def frequencies(name, size):
    """Normalised frequencies of all stored coefficients: two grids, (Hs, Ws) each."""
    height, width = create_transform(name, size).spectral_size(size)
    rows = torch.arange(height, dtype=torch.float64) / size[0]
    columns = torch.arange(width, dtype=torch.float64) / size[1]
    return torch.meshgrid(rows, columns, indexing="ij")


def smooth_filter(name, size):
    u, v = frequencies(name, size)
    if name == "fft":  # periodic, and equal at a frequency and its mirror image
        turns = 2 * math.pi
        return (
            1 + 0.5 * torch.cos(turns * u) + 0.3 * torch.cos(turns * (u + v)) * torch.cos(turns * v)
        )
    return 1 + torch.exp(-3 * u) * torch.cos(2 * v) + 0.5 * u * v


@pytest.mark.parametrize("name", FILTERED)
@pytest.mark.parametrize(("size", "new_size"), CHANGES)
def test_constant_filter_survives_resampling(name, size, new_size):
    transform = create_transform(name, size)
    weights = torch.full(transform.spectral_size(size), 0.7, dtype=torch.float64)
    resampled = transform.resample(weights, size, new_size)
    expected = torch.full(transform.spectral_size(new_size), 0.7, dtype=torch.float64)
    assert gap(resampled, expected) <= 1e-15


@pytest.mark.parametrize("name", FILTERED)
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 8), (9, 6)])
def test_resampling_to_the_same_size_is_the_identity(name, size):
    transform = create_transform(name, size)
    weights = random(*transform.spectral_size(size))
    assert torch.equal(transform.resample(weights, size, size), weights)


@pytest.mark.parametrize("name", FILTERED)
@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize(
    ("size", "new_size"),
    [((16, 12), (32, 24)), ((16, 12), (24, 17)), ((17, 13), (12, 9)), ((15, 16), (23, 11))],
)
def test_smooth_filter_survives_resampling(name, size, new_size, scale):
    """Within h^2 / 8 times the second derivatives; real transforms lose a step at the end."""
    size, new_size = ((scale * h, scale * w) for h, w in (size, new_size))
    resampled = create_transform(name, size).resample(smooth_filter(name, size), size, new_size)
    error = gap(resampled, smooth_filter(name, new_size))
    step = 1 / min(size)
    assert error <= (8 * step**2 if name == "fft" else 3 * step)


@pytest.mark.parametrize("size", [(4, 4), (4, 5), (5, 6), (6, 9)])
def test_fourier_resampling_sees_the_mirror_image(size):
    """Doubling the size keeps every weight and puts means of plane neighbours in between."""
    weights = random(size[0], size[1] // 2 + 1)
    plane = extended_plane(weights, torch.zeros_like(weights), size[1]).real
    new_size = (2 * size[0], 2 * size[1])
    resampled = FourierTransform().resample(weights, size, new_size)
    assert resampled.shape == (2 * size[0], size[1] + 1)
    for row in range(2 * size[0]):
        for column in range(size[1] + 1):
            rows, columns = {row // 2, -(-row // 2)}, {column // 2, -(-column // 2)}
            near = [plane[r % size[0], c % size[1]] for r in rows for c in columns]
            assert abs(resampled[row, column] - sum(near) / len(near)) <= EXACT


@pytest.mark.parametrize("name", FILTERED)
def test_gradients_flow_through_resampling(name):
    transform = create_transform(name, (6, 7))
    weights = random(*transform.spectral_size((6, 7))).requires_grad_()
    transform.resample(weights, (6, 7), (13, 16)).sum().backward()
    assert (weights.grad > 0).all()


# ---- errors and costs --------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(0, 4), (4,), (4, 4, 4), (4.0, 4), "44", 7, (True, 4), (-1, 2)])
def test_bad_sizes_are_refused(size):
    with pytest.raises(ValueError, match="two positive integers"):
        check_size(size)


def test_misspelt_names_are_refused():
    with pytest.raises(ValueError, match="unknown transform 'haarr'; did you mean 'haar'"):
        create_transform("haarr", (4, 4))
    with pytest.raises(ValueError, match="unknown method of the Fourier transform 'mat'"):
        FourierTransform("mat")


def test_operations_follow_table_1():
    assert create_transform("fft", (64, 48)).operations(3, (64, 48)) == 3 * 3072 * math.log2(3072)
    for name in ("lo", *BASES):
        assert create_transform(name, (64, 48)).operations(3, (64, 48)) == 3 * 3072 * 112


def test_printed_form_names_the_choice():
    assert repr(FourierTransform("matmul")) == "FourierTransform(method='matmul')"
    assert repr(create_transform("haar", (4, 4))) == "FixedOrthogonalTransform(kind='haar')"
    assert repr(create_transform("lo", (4, 6))) == "LearnableOrthogonal(size=(4, 6))"
