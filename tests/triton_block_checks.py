"""Checks of the block on Triton kernels, run by test_triton_block.py in a process of its own.

As in `triton_checks`: in Triton's interpreter or on a CUDA device, memory full of NaN. Operators
are compared with sums over positions in float64, the block with the reference.
"""

from __future__ import annotations

import copy
import itertools

import pytest
import torch

from spectral_residual.kernels.gpu import mixing_ops as ops
from spectral_residual.kernels.gpu import rewrite
from srl_blocks import random_block, random_maps, relative
from triton_checks import DEVICE, INTERPRETED, nan_in_fresh_memory  # noqa: F401 (fixture)

PRECISION = "tf32x3"
HALVES = [torch.bfloat16, torch.float16]
# Rounding of factors and of results.
TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 1.5e-2, torch.float16: 2e-3}
LIMIT = 1e-5 if INTERPRETED else 1e-4
FEW = {"groups": 2, "reduction": 2}


# ---- operators ---------------------------------------------------------------------------------


def convolved(maps, weight, residual=None, field=None):
    """`mix_maps`, position by position."""
    _, groups, _, inputs = weight.shape
    height, width = maps.shape[2:]
    out = torch.zeros(maps.shape[0], weight.shape[1] * weight.shape[2], height, width).double()
    for row, column in itertools.product(range(height), range(width)):
        here = maps[:, :, row, column].unflatten(1, (groups, inputs))
        there = maps[:, :, -row % height, -column % width].unflatten(1, (groups, inputs))
        even = torch.einsum("goi,ngi->ngo", weight[0], here + there)
        odd = torch.einsum("goi,ngi->ngo", weight[1], here - there)
        out[:, :, row, column] = (even + odd).flatten(1)
    if residual is not None:
        out = out + residual
    if field is not None:
        out[:, :, :1] += field
    return out


def draw(*shape, dtype=torch.float32, last=False):
    layout = torch.channels_last if last else torch.preserve_format
    maps = torch.randn(shape).to(DEVICE, dtype, memory_format=layout)
    return maps.requires_grad_()


def error(found, expected):
    assert found.shape == expected.shape
    return ((found.detach().double().cpu() - expected).norm() / expected.norm()).item()


def check(channels, size, *, samples=2, dtypes=(torch.float32,) * 2, last=False, added=True):
    """Output and gradients of `mix_maps` in a layout, from one dtype to another."""
    torch.manual_seed(0)
    groups, outputs, inputs = channels
    maps = draw(samples, groups * inputs, *size, dtype=dtypes[0], last=last)
    weight = draw(2, *channels)
    residual = draw(samples, groups * outputs, *size, dtype=dtypes[1], last=last) if added else None
    field = draw(groups * outputs, 1, size[1]) if added else None
    out = ops.mix_maps(maps, weight, dtypes[1], last, residual, field, PRECISION)
    given = [t for t in (maps, weight, residual, field) if t is not None]
    exact = [t.detach().double().cpu().requires_grad_() for t in given]
    expected = convolved(*exact)
    tolerance = max(TOLERANCES[dtype] for dtype in dtypes)
    assert error(out, expected.detach()) <= tolerance
    assert out.dtype == dtypes[1]
    gradient = torch.randn(out.shape).to(out)
    gradients = torch.autograd.grad(out, given, gradient)
    for found, wanted, like in zip(
        gradients, torch.autograd.grad(expected, exact, gradient.double().cpu()), given, strict=True
    ):
        assert error(found, wanted) <= tolerance
        assert found.dtype == like.dtype
    if last:
        for tensor in (out, gradients[0]):
            assert tensor.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (7, 1), (2, 2), (5, 5), (6, 9), (9, 16)])
@pytest.mark.parametrize("last", [False, True])
def test_mix_maps(size, last):
    check((1, 3, 2), size, last=last)


@pytest.mark.parametrize("channels", [(3, 2, 5), (1, 70, 33), (1, 17, 130)])
def test_groups_and_several_tiles(channels):
    check(channels, (4, 5), samples=1, added=False)


def test_several_blocks_of_positions():
    check((1, 2, 2), (17, 16))


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("order", [(0, 0), (1, 0), (0, 1)])
def test_half_precisions(half, order):
    """Maps and result in them, or one of both in float32, as under autocast."""
    check((1, 4, 6), (5, 6), dtypes=[(half, torch.float32)[place] for place in order])


@pytest.mark.skipif(INTERPRETED, reason="slow in the interpreter")
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("last", [False, True])
def test_larger_maps(dtype, last):
    for channels in ((4, 32, 64), (4, 64, 32)):
        check(channels, (24, 18), samples=4, dtypes=(dtype, dtype), last=last)


def test_programs_share_positions(monkeypatch):
    monkeypatch.setattr(ops, "PROGRAMS_PER_PROCESSOR", 3)
    assert ops.shares(1, 4, torch.device("cpu")) == 3
    check((1, 2, 3), (9, 15), samples=2)


def test_gradient_of_a_weight_is_the_same_in_every_run():
    maps, grad = draw(2, 3, 6, 7).detach(), draw(2, 4, 6, 7).detach()
    first, second = (ops.weight_gradient(grad, maps, 1, PRECISION) for _ in range(2))
    assert torch.equal(first, second)


def test_strided_maps():
    """Slices of larger maps, rows apart from each other, and expanded maps are not copied."""
    weight = draw(2, 1, 2, 3).detach()
    large = draw(1, 5, 6, 9).detach()
    for maps in (large[:, 1:4, 1:5, 2:8], large[:, :3, :, ::2], large[:, :1].expand(2, 3, 6, 9)):
        found = ops.mix_maps(maps, weight, torch.float32, False, None, None, PRECISION)
        assert error(found, convolved(maps.double().cpu(), weight.double().cpu())) <= 1e-5


def test_registrations():
    residual, field = draw(1, 2, 3, 4), draw(2, 1, 4)
    arguments = (torch.float32, False, residual, field, PRECISION)
    torch.library.opcheck(ops.mix_maps, (draw(1, 3, 3, 4), draw(2, 1, 2, 3), *arguments))
    inputs = (draw(1, 2, 3, 4).detach(), draw(1, 3, 3, 4).detach(), 1, PRECISION)
    checks = ("test_schema", "test_faketensor")
    torch.library.opcheck(ops.weight_gradient, inputs, test_utils=checks)


# ---- block -------------------------------------------------------------------------------------


def pair(size, channels=4, **options):
    """Reference in float64 on the CPU, and the same block in float32 on the device."""
    reference = random_block("srl-fft", channels, size, **{**FEW, **options})
    triton = copy.deepcopy(reference).to(DEVICE, torch.float32)
    triton.kernel = "triton"
    assert triton.explain(size).startswith("triton: two kernels")
    return reference, triton


def step(block, x, run=None):
    """Output, gradients and buffers of a training step."""
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    y = (block if run is None else run)(x)
    y.backward(random_maps(x.shape[1], x.shape[2:], len(x), seed=1).to(y))
    found = {"output": y.detach(), "input": x.grad}
    found |= {name: parameter.grad for name, parameter in block.named_parameters()}
    return found, dict(block.named_buffers())


def gap(found, expected, scale=0.0):
    return relative(found.cpu().to(expected.dtype), expected, scale)


def compare(reference, triton, x, limit=LIMIT):
    expected, buffers = step(reference, x)
    found, own_buffers = step(triton, x.to(DEVICE, torch.float32))
    largest = max(value.abs().max().item() for value in expected.values())
    gaps = {k: gap(found[k], v, 1e-2 * largest) for k, v in expected.items()}
    gaps |= {k: gap(own_buffers[k], v) for k, v in buffers.items()}
    assert max(gaps.values()) <= limit, gaps
    return found


@pytest.mark.parametrize("size", [(5, 5), (5, 8), (6, 7)])
def test_training(size):
    reference, triton = pair(size)
    compare(reference.train(), triton.train(), random_maps(4, size))


@pytest.mark.parametrize("options", [{"groups": 4}, {"reduction": 4}])
def test_groups_and_reductions(options):
    reference, triton = pair((5, 6), 8, **options)
    compare(reference.train(), triton.train(), random_maps(8, (5, 6), batch=1))


@pytest.mark.parametrize("frozen", [("bn1",), ("bn2",), ("bn1", "bn2")])
def test_frozen_normalisations(frozen):
    reference, triton = pair((6, 5))
    for block in (reference, triton):
        block.train()
        for name in frozen:
            getattr(block, name).eval()
    compare(reference, triton, random_maps(4, (6, 5)))


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (7, 1), (9, 16)])
def test_inference(size):
    reference, triton = pair(size)
    x = random_maps(4, size)
    with torch.no_grad():
        found = triton.eval()(x.float().to(DEVICE))
        assert gap(found, reference.eval()(x)) <= LIMIT


def test_channels_last():
    reference, triton = pair((5, 6))
    x = random_maps(4, (5, 6)).to(memory_format=torch.channels_last)
    found = compare(reference.eval(), triton.eval(), x)
    for name in ("output", "input"):
        assert found[name].is_contiguous(memory_format=torch.channels_last)


def test_a_second_step_uses_and_updates_the_running_statistics():
    reference, triton = pair((5, 6))
    for block in (reference, triton):
        block.bn1.momentum, block.bn2.momentum = None, 0.3
        with torch.no_grad():
            for seed in range(2):
                maps = random_maps(4, (5, 6), seed=seed) * (seed + 1)
                block.train()(maps.to(block.alpha))
    for found, expected in zip(triton.buffers(), reference.buffers(), strict=True):
        assert gap(found, expected) <= LIMIT


@pytest.mark.parametrize(
    ("half", "dtype"), [(torch.bfloat16, torch.bfloat16), (torch.float16, torch.float32)]
)
def test_half_hidden_maps(half, dtype, monkeypatch):
    """The product dtype on a GPU: of the maps, or of autocast with maps in float32."""
    monkeypatch.setattr(rewrite, "product_dtype", lambda x: half)
    reference, triton = pair((6, 7))
    x = random_maps(4, (6, 7))
    expected, _ = step(reference.eval(), x)
    found, _ = step(triton.eval(), x.to(DEVICE, dtype))
    assert found["output"].dtype == found["input"].dtype == dtype
    for name in ("output", "input", "conv1.weight", "conv2.weight", "relu.weight"):
        assert error(found[name], expected[name]) <= 4 * TOLERANCES[half], name


def test_frozen_parameters_get_no_gradients():
    reference, triton = pair((5, 6))
    x = random_maps(4, (5, 6))
    for block in (reference, triton):
        block.eval().requires_grad_(False)
        block.conv1.weight.requires_grad_()
        block(x.to(block.alpha)).square().sum().backward()
    assert gap(triton.conv1.weight.grad, reference.conv1.weight.grad) <= LIMIT
    assert all(p.grad is None for n, p in triton.named_parameters() if n != "conv1.weight")


def test_compiled_in_one_graph():
    _, triton = pair((5, 6))
    x = random_maps(4, (5, 6)).float().to(DEVICE)
    compiled = torch.compile(triton, fullgraph=True, backend="aot_eager")
    expected, buffers = step(copy.deepcopy(triton).train(), x)
    found, own_buffers = step(triton.train(), x, compiled)
    largest = max(value.abs().max().item() for value in expected.values())
    for own, other in ((found, expected), (own_buffers, buffers)):
        for name, value in other.items():
            assert relative(own[name], value, 1e-2 * largest) <= LIMIT, name


def test_what_it_cannot_compute():
    _, triton = pair((1, 1))
    with pytest.raises(ValueError, match="more than 1 value per plane"):
        triton.train()(random_maps(4, (1, 1), batch=1).float().to(DEVICE))
    _, triton = pair((5, 6))
    with pytest.raises(ValueError, match="kernel='triton' is not possible.*torch.float64"):
        triton.double()(random_maps(4, (5, 6)).to(DEVICE))
