"""Laws of transforms and SRL blocks that keep few frequencies, against whole transforms."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from srl_blocks import random_maps, relative
from srl_naive import LAYOUTS, compare, kept_rows, layout_of, naive, randomise, step
from torch import Tensor

from spectral_residual import create_block
from spectral_residual.blocks import SRLBlock
from spectral_residual.cost import measure_cost
from spectral_residual.transforms import (
    FixedOrthogonalTransform,
    FourierTransform,
    FourierVolume,
    LearnableOrthogonal,
    basis,
    create_transform,
    orthogonality_error,
)
from spectral_residual.transforms.bases import BASES

REAL = ("dct", "wht", "haar", "slant", "lo")
ALL = (*REAL, "fft")
EXACT = 1e-10


def build(name, size, channels=8, **options):
    """Block in float64 whose every parameter and statistic is drawn at random."""
    torch.manual_seed(0)
    options = {"alpha": 0.7, **options}
    return randomise(create_block(name, channels, size, **options).double())


def maps_in(layout, size, channels=8, batch=3, seed=0) -> Tensor:
    x = random_maps(channels, size, batch, seed)
    return x.contiguous(memory_format=layout_of(layout, len(size)))


def against_naive(block, x):
    """Numbers of a step, and of evaluation after it, are those of whole transforms."""
    other = copy.deepcopy(block)
    compare(step(block, block, x), step(lambda x: naive(other, x), other, x), EXACT)
    with torch.no_grad():
        branch, expected = block.eval()(x) - x, naive(other.eval(), x) - x
    assert expected.abs().max() > 0.01
    assert relative(branch, expected) <= EXACT


# ---- all modes: the transform without modes ----------------------------------------------------

WHOLE = [(name, size, size) for name in REAL for size in [(9, 12), (8, 8), (7, 10)]]
WHOLE += [("fft", (9, 11), (9, 11)), ("fft", (7, 7), (7, 7)), ("fft", (5, 13), (5, 13))]
LARGER = [("fft", (9, 12), (9, 13)), ("fft", (8, 10), (11, 13)), ("fft", (6, 7), (9, 9))]
LARGER += [(name, (7, 10), (11, 12)) for name in REAL]


@pytest.mark.parametrize(("name", "size", "modes"), WHOLE + LARGER)
def test_transform_with_all_modes(name, size, modes):
    torch.manual_seed(0)
    few, whole = (create_transform(name, size, m).double() for m in (modes, None))
    few.load_state_dict(whole.state_dict())
    for layout in LAYOUTS:
        x = maps_in(layout, size)
        spectrum = whole(x)
        assert relative(few(x), spectrum) <= EXACT
        any_values = torch.randn_like(spectrum)
        assert relative(few.inverse(any_values, size), whole.inverse(any_values, size)) <= EXACT
        added = few.add_inverse(x, any_values)
        assert relative(added, whole.add_inverse(x, any_values)) <= EXACT


def embed(name, weight, shape) -> Tensor:
    """A filter for all frequencies of a size at its places in one for more of them."""
    if name != "fft":
        embedded = torch.full(shape, 9.0).to(weight)
        embedded[: weight.shape[0], : weight.shape[1]] = weight
        return embedded
    n = len(weight)
    embedded = torch.full(shape, 9.0).to(weight)
    rows = [*range(n // 2 + 1), *range(shape[0] - (n - 1) // 2, shape[0])]
    embedded[torch.tensor(rows)[:, None], torch.arange(weight.shape[1])] = weight
    return embedded


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("name", "size", "modes"), WHOLE + LARGER)
def test_block_with_all_modes(name, size, modes, training, layout):
    whole = build(f"srl-{name}", size, 16)
    few = create_block(f"srl-{name}", 16, size, modes=modes).double()
    shape = few.relu.weight.shape
    if modes == size or name == "lo":
        assert shape == whole.relu.weight.shape
    state = whole.state_dict()
    for key in ("relu.weight", "relu.bias"):
        state[key] = embed(name, state[key], shape)
    few.load_state_dict(state)
    x = maps_in(layout, size, 16)
    expected = step(whole.train(training), whole, x)
    found = step(few.train(training), few, x)
    for key in ("relu.weight", "relu.bias"):
        mask = embed(name, torch.ones_like(expected[key]), shape) == 1
        assert not found[key][~mask].any()
        if name == "fft":
            n = size[0]
            kept = [*range(n // 2 + 1), *range(shape[0] - (n - 1) // 2, shape[0])]
            found[key] = found[key][kept][:, : size[1] // 2 + 1]
        else:
            found[key] = found[key][: size[0], : size[1]]
    compare(found, expected, EXACT)


# ---- few modes: a whole transform in which the other numbers are 0 -----------------------------

SIZES = [(9, 12), (16, 12), (7, 10)]
VARIANTS = [
    {},
    {"groups": 1},
    {"groups": 4, "reduction": 1},
    {"reduction": 4, "groups": 2},
    {"shared": False},
    {"hidden_layers": 2},
    {"hidden_layers": 2, "shared": False, "groups": 1},
    {"kernel_size": 3, "groups": 2},
]
SHORT = ",".join


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ALL)
def test_few_modes(name, size, layout):
    for modes in (5, (7, 3), (1, 5), (None, 5)):
        block = build(f"srl-{name}", size, 16, modes=modes)
        against_naive(block, maps_in(layout, size, 16))


@pytest.mark.parametrize("options", VARIANTS, ids=lambda o: SHORT(f"{k}={v}" for k, v in o.items()))
@pytest.mark.parametrize("name", ALL)
def test_variants(name, options):
    block = build(f"srl-{name}", (9, 12), 16, modes=5, **options)
    planes = block.conv1.out_channels
    shape = block.transform.filter_size((9, 12))
    own = options.get("shared", True)
    assert block.relu.weight.shape == (shape if own else (planes, *shape))
    for layout in LAYOUTS:
        against_naive(copy.deepcopy(block), maps_in(layout, (9, 12), 16))


def test_interleaved_planes():
    block = build("srl-fft", (9, 12), 16, modes=5, order="interleaved")
    against_naive(block, maps_in("contiguous", (9, 12), 16))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [(16, 12), (24, 15), (41, 64), (30, 30)])
def test_recommended_block(size, layout):
    """Coefficients are scaled to the size that the block was built for; large and small maps."""
    block = build("srl", (16, 12), 16)
    assert isinstance(block, SRLBlock)
    assert (block.transform.kind, block.transform.modes) == ("dct", (12, 12))
    assert (block.conv1.out_channels, block.conv1.groups) == (8, 1)
    against_naive(block, maps_in(layout, size, 16))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_strided_maps(layout):
    block = build("srl", (16, 12), 16)
    x = maps_in(layout, (16, 24), 16)[..., ::2]
    assert not x.is_contiguous()
    against_naive(block, x)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [(4, 9, 8), (5, 8, 7), (3, 5, 10), (2, 4, 3), (1, 6, 5)])
@pytest.mark.parametrize("modes", [(None, 5, 3), (3, 5, 3), 5])
def test_volumes(modes, size, layout):
    torch.manual_seed(0)
    transform = FourierVolume(modes=modes, size=(4, 9, 8) if modes == (3, 5, 3) else size)
    assert transform.modes == (modes if isinstance(modes, tuple) else (None, 5, 5))
    built_for = transform.reference_size
    for options in ({}, {"groups": 1, "shared": False}, {"hidden_layers": 2}):
        block = SRLBlock(16, built_for, transform, alpha=0.7, **options)
        against_naive(randomise(block.double()), maps_in(layout, size, 16))


def test_recommended_video_block():
    block = build("srl", (4, 9, 8), 8)
    assert type(block.transform) is FourierVolume
    assert block.transform.modes == (None, 7, 7)
    assert (block.conv1.out_channels, block.conv1.groups) == (8, 1)
    for size in ((4, 9, 8), (4, 12, 11)):
        for layout in LAYOUTS:
            against_naive(copy.deepcopy(block), maps_in(layout, size, 8))


@pytest.mark.parametrize("size", [(9, 9), (10, 14), (11, 16)])
def test_fourier_transform(size):
    """Kept values are those of the full transform; transforming back and again changes nothing."""
    transform, full = FourierTransform(modes=9), FourierTransform()
    x = random_maps(3, size)
    spectrum = transform(x)
    assert spectrum.shape == (2, 2, 3, *transform.spectral_size(size)) == (2, 2, 3, 9, 5)
    assert relative(spectrum, full(x)[:, :, :, kept_rows(size[0], 9)][..., :5]) <= 1e-13
    smooth = transform.inverse(spectrum, size)
    assert relative(transform(smooth), spectrum) <= 1e-13
    assert relative(transform.add_inverse(x, spectrum), x + smooth) <= 1e-13


@pytest.mark.parametrize("name", ALL)
def test_modes_none_changes_nothing(name):
    plain, none = (create_block(f"srl-{name}", 16, (9, 12), **o) for o in ({}, {"modes": None}))
    few = create_block(f"srl-{name}", 16, (9, 12), modes=5)
    assert repr(plain) == repr(none)
    assert plain.transform.modes is None
    shapes = [{k: v.shape for k, v in block.state_dict().items()} for block in (plain, none)]
    assert shapes[0] == shapes[1]
    assert plain.state_dict().keys() == few.state_dict().keys()


def test_convolutions_cost_the_same_at_every_size():
    costs = []
    for size in ((16, 12), (64, 48)):
        block = create_block("srl-fft", 16, size, modes=5)
        layers = {layer.name: layer for layer in measure_cost(block, (16, *size)).layers}
        costs.append(
            [(layers[name].operations, layers[name].parameters) for name in ("conv1", "conv2")]
        )
        assert layers[""].operations == 2 * 16 * 5 * (size[0] + 5) * size[1]
    assert costs[0] == costs[1] == [(16 * 4 * 15, 64)] * 2
    transform, full = FourierTransform(modes=65), FourierTransform()
    assert transform.operations(8, (96, 72)) == full.operations(8, (96, 72))


# ---- basis -------------------------------------------------------------------------------------

COUNTS = [(n, m) for n in (1, 2, 5, 8, 9, 12, 16, 21) for m in (1, 3, 5, 8) if m <= n]
COUNTS += [(n, n) for n in (2, 9, 12, 16, 21)]


CASES = [(kind, n, m) for kind in BASES for n, m in COUNTS]
CASES += [("fourier", n, m) for n, m in COUNTS if m % 2 or m == n]


@pytest.mark.parametrize(("kind", "n", "m"), CASES)
def test_basis_has_orthonormal_rows(kind, n, m):
    rows, whole = basis(kind, n, m), basis(kind, n, n)
    assert rows.dtype == torch.float64
    assert rows.shape == (m, n)
    assert whole.shape == (n, n)
    assert (rows @ rows.mT - torch.eye(m)).abs().max() <= 1e-13
    first = list(range(m))
    if kind == "fourier":
        first = [*range(m // 2 + 1), *(n // 2 + k for k in range(1, (m + 1) // 2))]
    assert (rows - whole[first]).abs().max() <= 1e-14
    assert (rows[0] - n**-0.5).abs().max() <= 1e-14
    if kind in BASES:
        assert torch.equal(whole, BASES[kind](n))


@pytest.mark.parametrize(("n", "m"), [(9, 5), (9, 9), (8, 8), (12, 7), (2, 2), (7, 1)])
def test_fourier_rows(n, m):
    j = torch.arange(n, dtype=torch.float64)
    rows = []
    for k in range(m // 2 + 1):
        own = k == 0 or 2 * k == n
        rows.append(math.sqrt((1 if own else 2) / n) * torch.cos(2 * math.pi * k * j / n))
    for k in range(1, (m + 1) // 2):
        rows.append(math.sqrt(2 / n) * torch.sin(2 * math.pi * k * j / n))
    assert (basis("fourier", n, m) - torch.stack(rows)).abs().max() <= 1e-13


@pytest.mark.parametrize("kind", [*BASES, "fourier"])
@pytest.mark.parametrize("m", [0, -1, 10])
def test_basis_refuses_other_numbers_of_rows(kind, m):
    with pytest.raises(ValueError, match=f"expected .* from 1 to 9, got {m}"):
        basis(kind, 9, m)


def test_basis_refuses():
    with pytest.raises(ValueError, match="expected an odd number .* or all 9, got 4"):
        basis("fourier", 9, 4)
    with pytest.raises(ValueError, match="unknown basis 'dtc'; did you mean 'dct'"):
        basis("dtc", 9, 4)


# ---- the same function at several resolutions --------------------------------------------------

RESOLUTIONS = [(16, 12), (24, 30), (41, 64)]


def cosine_series(coefficients, *places) -> Tensor:
    """Sum of ``c_kl cos(pi k u) cos(pi l v)`` at a grid of places u, v."""
    over_height, over_width = (
        torch.cos(math.pi * torch.arange(m).double()[:, None] * u)
        for m, u in zip(coefficients.shape[-2:], places, strict=True)
    )
    return torch.einsum("ncij,ih,jw->nchw", coefficients, over_height, over_width)


def fourier_series(coefficients, *places) -> Tensor:
    """Real part of the sum of ``c_k exp(2 pi i k u)``, k from -r to r on every axis."""
    y = coefficients
    for axis, u in enumerate(places, start=2):
        reach = y.shape[axis] // 2
        k = torch.arange(-reach, reach + 1).double()[:, None]
        waves = torch.exp(2j * math.pi * k * u)
        y = torch.tensordot(y, waves, dims=([axis], [0])).movedim(-1, axis)
    return y.real


def centres(n) -> Tensor:
    return (torch.arange(n).double() + 0.5) / n


def multiples(n) -> Tensor:
    return torch.arange(n).double() / n


def own_cosine_series(y, m, *places) -> Tensor:
    """The maps' own cosine series, from their whole DCT, of which nothing is left from m on."""
    c = FixedOrthogonalTransform("dct")(y).squeeze(1)
    assert c[..., m:, :].abs().max() <= 1e-10 * c.abs().max()
    assert c[..., m:].abs().max() <= 1e-10 * c.abs().max()
    for axis in (-2, -1):
        n = c.shape[axis]
        scale = torch.full((n,), math.sqrt(2 / n), dtype=torch.float64)
        scale[0] = math.sqrt(1 / n)
        c = (c.movedim(axis, -1) * scale).movedim(-1, axis)
    return cosine_series(c[..., :m, :m], *places)


def own_fourier_series(y, modes, *places) -> Tensor:
    axes = tuple(range(2, y.dim()))
    c = torch.fft.fftn(y, dim=axes, norm="forward")
    for axis, m in zip(axes, modes, strict=True):
        reach, n = m // 2, c.shape[axis]
        kept = [k % n for k in range(-reach, reach + 1)]
        rest = [k for k in range(n) if k not in kept]
        if rest:
            dropped = c.index_select(axis, torch.tensor(rest)).abs().max()
            assert dropped <= 1e-10 * c.abs().max()
        c = c.index_select(axis, torch.tensor(kept))
    return fourier_series(c, *places)


def check_resolutions(block, sample, own_series, sizes, places):
    """Coefficients, running statistics and outputs of one function are the same at all sizes."""
    found = []
    for size in sizes:
        other = copy.deepcopy(block).train()
        x = sample(size)
        with torch.no_grad():
            y = other(x)
            spectrum = other.transform(x)
            evaluated = other.eval()(x)
        assert (y - x).abs().max() > 0.01
        statistics = [b for name, b in other.named_buffers() if "running" in name]
        found.append((spectrum, [own_series(each, *places) for each in (y, evaluated)], statistics))
    for spectrum, series, statistics in found[1:]:
        assert relative(spectrum, found[0][0]) <= 1e-12
        for mine, first in zip(series, found[0][1], strict=True):
            assert relative(mine, first) <= 1e-9
        for mine, first in zip(statistics, found[0][2], strict=True):
            assert relative(mine, first) <= 1e-12


def test_resolutions_of_the_recommended_block():
    block = build("srl", (16, 12), 8)
    coefficients = random_maps(8, (12, 12))
    places = (torch.rand(20).double(), torch.rand(17).double())
    check_resolutions(
        block,
        lambda size: cosine_series(coefficients, *map(centres, size)),
        lambda y, *places: own_cosine_series(y, 12, *places),
        [(16, 13), (24, 30), (41, 64)],
        places,
    )


def random_polynomial(modes, channels=16):
    parts = (random_maps(channels, modes, seed=seed) for seed in (0, 1))
    return torch.complex(*parts)


@pytest.mark.parametrize("modes", [7, (5, 9)])
def test_resolutions_of_fourier_blocks(modes):
    block = build("srl-fft", (16, 12), 16, modes=modes)
    modes = block.transform.modes
    coefficients = random_polynomial(modes)
    places = (torch.rand(20).double(), torch.rand(17).double())
    check_resolutions(
        block,
        lambda size: fourier_series(coefficients, *map(multiples, size)),
        lambda y, *places: own_fourier_series(y, modes, *places),
        RESOLUTIONS,
        places,
    )


@pytest.mark.parametrize("modes", [(None, 5, 3), (3, 5, 3)])
def test_resolutions_of_volumes(modes):
    transform = FourierVolume(modes=modes, size=(5, 9, 8))
    block = randomise(SRLBlock(16, (5, 9, 8), transform, alpha=0.7).double())
    kept = (modes[0] or 5, 5, 3)
    coefficients = random_polynomial(kept)
    sizes = [(5, 9, 8), (5 if modes[0] is None else 8, 12, 7), (5, 16, 15)]
    places = tuple(torch.rand(n).double() for n in (6, 11, 9))
    check_resolutions(
        block,
        lambda size: fourier_series(coefficients, *map(multiples, size)),
        lambda y, *places: own_fourier_series(y, kept, *places),
        sizes,
        places,
    )


# ---- maps shorter than the modes ---------------------------------------------------------------

SMALL = [(5, 20), (20, 7), (3, 3), (1, 1), (8, 1), (4, 6), (16, 12)]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", SMALL)
@pytest.mark.parametrize("name", ["srl", "srl-wht", "srl-haar", "srl-slant", "srl-fft"])
def test_maps_shorter_than_the_modes(name, size, layout):
    """They have fewer frequencies, with the same weights; larger maps come afterwards."""
    modes = 8 if name != "srl-fft" else 9
    block = build(name, (16, 12), 16, modes=modes)
    assert block.transform.rows(size) == tuple(min(modes, n) for n in size)
    against_naive(block, maps_in(layout, size, 16, batch=8))
    for parameter in block.parameters():
        parameter.grad = None
    against_naive(block.train(), maps_in(layout, (19, 13), 16))
    small = build(name, size, 16, modes=modes)
    assert {k: v.shape for k, v in small.state_dict().items()} == {
        k: v.shape for k, v in block.state_dict().items()
    }
    against_naive(small, maps_in(layout, size, 16, batch=8))


@pytest.mark.parametrize("size", [(9, 9), (32, 24), (17, 40)])
@pytest.mark.parametrize("name", ["srl", "srl-wht", "srl-haar", "srl-slant", "srl-fft"])
def test_other_sizes_take_the_same_weights(name, size):
    """A block for another size differs in the scale of the coefficients alone."""
    modes = 8 if name != "srl-fft" else 9
    block = build(name, (16, 12), 16, modes=modes).eval()
    fresh = create_block(name, 16, size, modes=modes).double().eval()
    fresh.load_state_dict(block.state_dict())
    fresh.transform.reference_size = (16, 12)
    x = random_maps(16, size)
    assert torch.equal(block(x), fresh(x))


def test_explain_tells_of_short_sides():
    block = create_block("srl", 16, (16, 12))
    assert block.explain() == "maps of 16x12 become 12x12 coefficients of every channel"
    text = block.explain((5, 20))
    assert "maps of 5x20 become 5x12 coefficients" in text
    assert "a side of 5 has no more than 5 of the 12 modes" in text
    assert text.count("a side of") == 1
    assert block.explain((3, 7)).count("a side of") == 2
    video = create_block("srl", 16, (4, 9, 5))
    assert "maps of 4x9x5 become 4x7x5 coefficients" in video.explain()
    assert "a side of 5 has no more than 5 of the 7 modes" in video.explain()
    whole = create_block("srl-dct", 16, (16, 12))
    assert "16x12 coefficients" in whole.explain()


# ---- the learnable transform -------------------------------------------------------------------

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "adam": lambda p: torch.optim.Adam(p, lr=1e-2),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("modes", [5, (3, 9), (12, 4), (20, 20)])
def test_learnable_rows_stay_orthonormal(modes, optimizer):
    block = build("srl-lo", (12, 9), modes=modes)
    transform = block.transform
    assert isinstance(transform, LearnableOrthogonal)
    high, wide = (modes, modes) if isinstance(modes, int) else modes
    assert transform.P.shape == (min(high, 12), 12)
    assert transform.Q.shape == (9, min(wide, 9))
    assert block.relu.weight.shape == (min(high, 12), min(wide, 9))
    start = transform.P.detach().clone()
    optimizer = OPTIMIZERS[optimizer](block.parameters())
    x, target = random_maps(8, (12, 9)), random_maps(8, (12, 9), seed=1)
    for _ in range(20):
        optimizer.zero_grad()
        (block(x) - target).square().mean().backward()
        optimizer.step()
        assert max(map(orthogonality_error, (transform.P, transform.Q))) <= 1e-12
    assert (transform.P - start).abs().max() > 1e-3
    # P.data that no hook has seen is made orthogonal in the next pass.
    transform.P.data += 0.1
    block(x)
    assert orthogonality_error(transform.P) <= 1e-12


def test_learnable_transform_refuses_other_sizes():
    block = create_block("srl-lo", 8, (12, 9), modes=5)
    with pytest.raises(ValueError, match="built for maps of 12x9 .* got 9x12"):
        block(torch.zeros(2, 8, 9, 12))


# ---- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["srl", *(f"srl-{name}" for name in ALL)])
@pytest.mark.parametrize(
    ("modes", "message"),
    [
        (0, "modes must be positive integers, got 0"),
        (-1, "modes must be positive integers, got -1"),
        (True, "modes must be positive integers, got True"),
        (2.5, r"modes must be positive integers, got 2\.5"),
        ("8", "modes must be positive integers, got '8'"),
        ((8, 0), r"modes must be positive integers, got \(8, 0\)"),
        ((8, "8"), "modes must be positive integers, got"),
        ((8,), r"one for each of 2 axes, got \(8,\)"),
        ((8, 8, 8), r"one for each of 2 axes, got \(8, 8, 8\)"),
        ((), r"one for each of 2 axes, got \(\)"),
    ],
)
def test_bad_modes(name, modes, message):
    with pytest.raises(ValueError, match=message):
        create_block(name, 16, (16, 12), modes=modes)


@pytest.mark.parametrize("modes", [8, (8, 7), (7, 8), [7, 8]])
def test_even_modes_of_the_fourier_transform(modes):
    with pytest.raises(ValueError, match="modes .* must be odd, .* expected 7 or 9, got 8"):
        create_block("srl-fft", 16, (16, 12), modes=modes)


@pytest.mark.parametrize("name", ["srl", "srl-fft-3d"])
def test_bad_modes_of_volumes(name):
    for modes, message in [
        ((None, 8, 7), "expected 7 or 9, got 8"),
        ((7, 7), r"one for each of 3 axes, got \(7, 7\)"),
        ((None, 0, 7), "positive integers"),
        (8, "expected 7 or 9, got 8"),
    ]:
        with pytest.raises(ValueError, match=message):
            create_block(name, 16, (4, 16, 12), modes=modes)


VIDEO = (4, 16, 12)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("srl", (16, 12)),
        ("srl", VIDEO),
        ("srl-fft", (16, 12)),
        ("srl-dct", VIDEO),
        ("srl-fft-3d", VIDEO),
    ],
)
def test_the_option_kernel_has_gone(name, size):
    with pytest.raises(ValueError, match="'kernel' .* has gone: .*plain PyTorch.*explain"):
        create_block(name, 16, size, kernel="auto")


@pytest.mark.parametrize("layers", [3, 0, -1, 1.5, "2", None])
def test_bad_hidden_layers(layers):
    with pytest.raises(ValueError, match="hidden_layers must be 1 or 2, got"):
        create_block("srl", 16, (16, 12), hidden_layers=layers)


@pytest.mark.parametrize(
    ("name", "option", "nearest"),
    [
        ("srl", "mode", "modes"),
        ("srl-fft", "mode", "modes"),
        ("srl-dct", "hidden_layer", "hidden_layers"),
        ("srl", "share", "shared"),
        ("srl", "grops", "groups"),
    ],
)
def test_unknown_options_suggest_the_nearest(name, option, nearest):
    with pytest.raises(ValueError, match=f"unknown option of block '{name}' '{option}'; did you "):
        create_block(name, 16, (16, 12), **{option: 1})
    with pytest.raises(ValueError, match=f"'{nearest}'"):
        create_block(name, 16, (16, 12), **{option: 1})
