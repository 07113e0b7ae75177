"""The compiled convolutions against the same in PyTorch, and what happens without them."""

from __future__ import annotations

import itertools

import pytest
import torch

from spectral_residual import create_block
from spectral_residual.kernels import mixing, native
from spectral_residual.kernels.native import build
from srl_blocks import random_maps, relative, twins

needs_compiler = pytest.mark.skipif(
    native.unavailable_reason() is not None, reason=f"native: {native.unavailable_reason()}"
)

# Rows and columns around the size of a vector (8 doubles, 16 floats), a block and a band.
SIZES = [(1, 1), (1, 6), (7, 1), (2, 2), (6, 9), (5, 8), (4, 17), (33, 18), (64, 48), (3, 700)]
LAYOUTS = {
    "contiguous": lambda x: x,
    "channels_last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "strided": lambda x: torch.cat((x, x), dim=3)[..., ::2],
    "slice": lambda x: torch.cat((x, x, x), dim=1)[:, x.shape[1] : 2 * x.shape[1]],
    "transposed": lambda x: x.mT.contiguous().mT,
    "expanded": lambda x: x[:, :, :, :1].expand(x.shape),
}


def operands(size, outputs=5, inputs=7, groups=2, dtype=torch.float64):
    maps = random_maps(groups * inputs, size).to(dtype)
    weight = random_maps(groups, (outputs, inputs), 2, seed=1).to(dtype)
    gradient = random_maps(groups * outputs, size, seed=2).to(dtype)
    return maps, weight, gradient


@needs_compiler
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-14), (torch.float32, 1e-6)])
@pytest.mark.parametrize(("outputs", "inputs"), [(5, 7), (16, 4), (1, 1), (8, 9)])
def test_product_and_both_derivatives(size, dtype, limit, outputs, inputs):
    maps, weight, gradient = operands(size, outputs, inputs, dtype=dtype)
    maps.requires_grad_()
    weight.requires_grad_()
    expected = mixing.mix(maps.double(), weight.double(), torch.float64).to(dtype)
    expected.backward(gradient)
    with torch.no_grad():
        found = torch.full_like(expected, float("nan"))
        native.mix_into(found, maps, weight, None, None)
        of_maps = torch.full_like(maps, float("nan"))
        of_weight = native.derive(of_maps, gradient, maps, weight, None)
        assert torch.equal(of_weight, native.derive(None, gradient, maps, weight, None))
    assert relative(found, expected) <= limit
    assert relative(of_maps, maps.grad) <= limit
    assert relative(of_weight, weight.grad, scale=(size[0] * size[1]) ** 0.5) <= limit


@needs_compiler
@pytest.mark.parametrize(("of_maps", "of_out"), list(itertools.product(LAYOUTS, repeat=2)))
@pytest.mark.parametrize(
    ("size", "outputs", "inputs"), [((9, 19), 5, 7), ((5, 6), 20, 36), ((4, 33), 19, 16)]
)
def test_memory_layouts_residual_and_first_row(of_maps, of_out, size, outputs, inputs):
    maps, weight, residual = operands(size, outputs, inputs)
    maps = LAYOUTS[of_maps](maps)
    first_row = random_maps(2 * outputs, (1, size[1]), batch=1, seed=3)[0]
    residual = LAYOUTS[of_out](residual)
    expected = residual + mixing.mix(maps, weight, torch.float64)
    expected[:, :, :1] += first_row
    out = torch.full_like(residual, float("nan"))
    native.mix_into(out, maps, weight, residual, first_row)
    assert relative(out, expected) <= 1e-14
    # Layouts of result and residual that differ.
    out = torch.full(residual.shape, float("nan"), dtype=torch.float64)
    native.mix_into(out, maps, weight, residual, first_row)
    assert relative(out, expected) <= 1e-14


@needs_compiler
@pytest.mark.parametrize("of_maps", LAYOUTS)
@pytest.mark.parametrize("of_gradient", LAYOUTS)
@pytest.mark.parametrize(("size", "outputs", "inputs"), [((9, 19), 5, 7), ((5, 6), 20, 36)])
def test_memory_layouts_of_the_derivative_by_the_weight(
    of_maps, of_gradient, size, outputs, inputs
):
    maps, weight, gradient = operands(size, outputs, inputs)
    maps, gradient = LAYOUTS[of_maps](maps), LAYOUTS[of_gradient](gradient)
    weight.requires_grad_()
    mixing.mix(maps, weight, torch.float64).backward(gradient)
    with torch.no_grad():
        residual = random_maps(2 * inputs, size, seed=5)
        of_maps = torch.full_like(maps, float("nan"))
        of_weight = native.derive(of_maps, gradient, maps, weight, residual)
        expected = residual + mixing.mix(gradient, weight.mT, torch.float64)
    assert relative(of_weight, weight.grad) <= 1e-14
    assert relative(of_maps, expected) <= 1e-14


@needs_compiler
@pytest.mark.parametrize("of_maps", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("of_out", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("channels_last", [True, False])
def test_half_precision_is_rounded_once(of_maps, of_out, channels_last):
    maps, weight, residual = operands((6, 21), 17, 20, dtype=torch.float32)
    if channels_last:
        maps, residual = (LAYOUTS["channels_last"](each) for each in (maps, residual))
    maps, residual = maps.to(of_maps), residual.to(of_out)
    out = torch.empty_like(residual)
    native.mix_into(out, maps, weight, residual, None)
    exact = residual.double() + mixing.mix(maps.double(), weight.double(), torch.float64)
    rounding = 2**-8 if of_out == torch.bfloat16 else 1e-6
    assert ((out.double() - exact).abs() <= rounding * exact.abs() + 1e-5).all()
    of_maps = torch.empty_like(maps)
    of_weight = native.derive(of_maps, residual, maps, weight, None)
    assert of_weight.dtype == torch.float32
    weight = weight.double().requires_grad_()
    mixing.mix(maps.double(), weight, torch.float64).backward(residual.double())
    assert relative(of_weight.double(), weight.grad) <= 1e-6
    expected = mixing.mix(residual.double(), weight.detach().mT, torch.float64)
    assert relative(of_maps.double(), expected) <= (
        2**-8 if of_maps.dtype == torch.bfloat16 else 1e-6
    )


@needs_compiler
def test_rounding_to_bfloat16_is_that_of_pytorch():
    values = torch.cat((torch.randn(4000), torch.tensor([float("nan"), float("inf"), -0.0, 1e-40])))
    values = torch.cat((values, values.bfloat16().float() + 2**-9))[None, None, None]
    out = torch.empty_like(values, dtype=torch.bfloat16)
    weight = torch.full((2, 1, 1, 1), 0.5)
    zero = torch.zeros_like(values)
    # Nothing but the residual, in float32, is written: the maps are 0.
    native.mix_into(out, zero, weight, None, values[0])
    assert torch.equal(out.isnan(), values.isnan())
    assert torch.equal(out.nan_to_num(), values.bfloat16().nan_to_num())


@needs_compiler
def test_threads_do_not_change_products():
    maps, weight, gradient = operands((33, 18), dtype=torch.float32)
    threads = torch.get_num_threads()
    products, derivatives = [], []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            out = torch.empty_like(gradient)
            native.mix_into(out, maps, weight, None, None)
            products.append(out)
            derivatives.append(
                [native.derive(None, gradient, maps, weight, None) for _ in range(2)]
            )
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(out, products[0]) for out in products)
    for first, second in derivatives:
        assert torch.equal(first, second)
        assert relative(first, derivatives[0][0]) <= 1e-5


@pytest.fixture
def fresh_library():
    build._load.cache_clear()
    yield
    build._load.cache_clear()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("size", [(6, 7), (20, 17)])
def test_pytorch_alone_gives_the_same_numbers(training, size, monkeypatch):
    monkeypatch.setenv("SRL_NATIVE", "0")
    reference, rewrite = twins("srl-fft", 16, size)
    x = random_maps(16, size)
    results = []
    for block in (reference.train(training), rewrite.train(training)):
        maps = x.clone().requires_grad_()
        block(maps).square().sum().backward()
        results.append([maps.grad, block.conv1.weight.grad, block.conv2.weight.grad])
    for found, expected in zip(*results, strict=True):
        assert relative(found, expected, scale=1.0) <= 1e-11


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"SRL_NATIVE": "0"}, "SRL_NATIVE=0"),
        ({"CXX": "false"}, "false failed"),
        ({"CXX": "/nowhere/c++"}, "could not be made"),
        ({"CXX": "", "PATH": ""}, "no C++ compiler"),
    ],
)
@pytest.mark.usefixtures("fresh_library")
def test_without_a_compiler_pytorch_does_it_and_says_why(variables, reason, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert reason in native.unavailable_reason()
    block = create_block("srl-fft", 8, (20, 16), alpha=1.0).eval()
    assert "PyTorch alone" in block.explain()
    assert reason in block.explain()
    x = torch.randn(1, 8, 20, 16)
    with torch.no_grad():
        found = block(x)
        block.kernel = "reference"
        assert relative(found, block(x)) <= 1e-5


@needs_compiler
@pytest.mark.usefixtures("fresh_library")
def test_it_is_compiled_once(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert native.unavailable_reason() is None
    (library,) = (tmp_path / "spectral_residual").iterdir()
    monkeypatch.setattr(build, "_compile", None)
    build._load.cache_clear()
    assert native.unavailable_reason() is None
    assert library.suffix == ".so"
    assert "native kernels" in create_block("srl-fft", 8, (20, 16)).explain()
