"""Checks of the Triton operators, run by test_triton_ops.py in a process of its own.

With ``TRITON_INTERPRET=1`` on the CPU in Triton's interpreter, otherwise on a CUDA device.
Everything is compared with `torch.fft` in float64, and memory that a kernel is to write is full
of NaN before.
"""

from __future__ import annotations

import os

import pytest
import torch
from torch import nn

from spectral_residual.kernels.gpu import launch, library, ops

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = torch.device("cpu" if INTERPRETED else "cuda")
# Odd, even, no powers of two, H != W; the smallest; a tile of 32 rows and 64 columns.
SIZES = [(5, 7), (12, 16), (16, 12), (9, 33), (1, 2), (36, 66)]
if not INTERPRETED:
    SIZES += [(64, 48), (96, 72), (127, 127)]
# Relative errors in the Euclidean norm: rounding of operands and of results, four products deep.
TOLERANCES = {torch.float32: 2e-6 if INTERPRETED else 1e-5, torch.bfloat16: 1.5e-2,
              torch.float16: 2e-3}  # fmt: skip


if INTERPRETED:
    # It multiplies the bit patterns of bfloat16 (triton-lang/triton issue 11584): float32 instead.
    import numpy as np
    import triton.language as tl
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

    interpreted_dot = InterpreterBuilder.create_dot

    def in_float32(operand):
        if operand.dtype.scalar != tl.bfloat16:
            return operand
        bits = operand.data.astype(np.uint32) << 16
        return TensorHandle(bits.view(np.float32), tl.float32)

    def create_dot(self, a, b, *others):
        return interpreted_dot(self, in_float32(a), in_float32(b), *others)

    InterpreterBuilder.create_dot = create_dot


@pytest.fixture(autouse=True)
def nan_in_fresh_memory():
    torch.use_deterministic_algorithms(True)
    assert torch.zeros(1, device=DEVICE).new_empty(4).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


def spectrum(h):
    """(N, K, H, W) to (N, 2, K, H, W // 2 + 1)."""
    z = torch.fft.rfft2(h, norm="ortho")
    return torch.stack((z.real, z.imag), dim=1)


def inverse(z, width):
    """Real part of the inverse of the whole plane, columns past W / 2 mirroring those before."""
    half = torch.complex(z[:, 0], z[:, 1])
    mirrored = half.roll(-1, -2).flip(-2).conj()
    columns = [half[..., m] if m <= width // 2 else mirrored[..., width - m] for m in range(width)]
    return torch.fft.ifft2(torch.stack(columns, dim=-1), norm="ortho").real


def filtered(h, scale, shift, weight, bias):
    z = spectrum(h) * scale[..., None, None] + shift[..., None, None]
    return torch.relu(z * weight + bias)


def statistics(h):
    z = spectrum(h)
    return torch.stack((z.sum((0, 3, 4)), z.square().sum((0, 3, 4))))


OPERATORS = {
    "filter_planes": (ops.filter_planes, lambda h, *p: inverse(filtered(h, *p), h.shape[-1])),
    "spectral_planes": (ops.spectral_planes, filtered),
    "plane_statistics": (ops.plane_statistics, statistics),
    "inverse_planes": (ops.inverse_planes, inverse),
}


def draw(*shape, dtype=torch.float32):
    return torch.randn(shape).to(DEVICE, dtype).requires_grad_()


def arguments(name, samples, channels, size, dtype=torch.float32):
    torch.manual_seed(0)
    half = size[0], size[1] // 2 + 1
    if name == "inverse_planes":
        return draw(samples, 2, channels, *half, dtype=dtype), size[1]
    h = draw(samples, channels, *size, dtype=dtype)
    if name == "plane_statistics":
        return (h,)
    return h, draw(2, channels), draw(2, channels), draw(*half), draw(*half)


def check(name, inputs, tolerance):
    """Output and every gradient of an operator against those of the definition above."""
    operator, definition = OPERATORS[name]
    exact = [a.detach().double().cpu().requires_grad_() if torch.is_tensor(a) else a
             for a in inputs]  # fmt: skip
    output, expected = operator(*inputs), definition(*exact)
    gradient = torch.randn(expected.shape).to(output)
    tensors, wanted = ([a for a in all_ if torch.is_tensor(a)] for all_ in (inputs, exact))
    results = output, *torch.autograd.grad(output, tensors, gradient)
    references = expected, *torch.autograd.grad(expected, wanted, gradient.double().cpu())
    for result, reference, like in zip(results, references, (None, *tensors), strict=True):
        assert result.shape == reference.shape
        assert like is None or result.dtype == like.dtype
        error = (result.detach().double().cpu() - reference).norm().item()
        assert error <= tolerance * reference.norm().item(), name
    return output


@pytest.mark.parametrize("size", SIZES)
def test_filter_planes(size):
    check("filter_planes", arguments("filter_planes", 2, 2, size), TOLERANCES[torch.float32])


@pytest.mark.parametrize("size", SIZES[2:4] + SIZES[6:])
@pytest.mark.parametrize("name", ["spectral_planes", "plane_statistics", "inverse_planes"])
def test_parts(name, size):
    check(name, arguments(name, 1, 2, size), TOLERANCES[torch.float32])


def test_programs_take_several_samples(monkeypatch):
    """Three samples between two programs, on the CPU; on a GPU one program has all."""
    monkeypatch.setattr(launch, "RESIDENT_WARPS", 2 if INTERPRETED else 0)
    assert launch.programs((3, 1, 6, 5), DEVICE) == (2 if INTERPRETED else 1)
    for name in OPERATORS:
        check(name, arguments(name, 3, 1, (6, 5)), TOLERANCES[torch.float32])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", list(OPERATORS))
def test_half_precisions(name, dtype):
    output = check(name, arguments(name, 1, 2, (12, 10), dtype), TOLERANCES[dtype])
    assert output.dtype == (torch.float32 if name == "plane_statistics" else dtype)


@pytest.mark.skipif(INTERPRETED, reason="the interpreter multiplies in float32")
def test_single_tf32_product():
    inputs = arguments("filter_planes", 2, 2, (96, 72))
    exact = ops.filter_planes(*inputs)
    error = (ops.filter_planes(*inputs, precision="tf32") - exact).norm() / exact.norm()
    assert 1e-5 < error < 2e-3


def test_strided_tensors():
    """channels_last planes and expanded gradients are copied; the result is contiguous."""
    h, *parameters = arguments("filter_planes", 1, 2, (6, 5))
    last = h.detach().to(memory_format=torch.channels_last).requires_grad_()
    assert not last.is_contiguous()
    outputs = [ops.filter_planes(x, *parameters) for x in (h, last)]
    assert outputs[1].is_contiguous()
    torch.testing.assert_close(outputs[1], outputs[0], rtol=0, atol=0)
    (gradient,) = torch.autograd.grad(outputs[1].sum(), last)
    (expected,) = torch.autograd.grad(outputs[0], h, torch.ones_like(h))
    torch.testing.assert_close(gradient, expected, rtol=0, atol=0)


def test_nan_stays():
    """In its plane, where every frequency has it; not in others, although tiles are padded."""
    h, *parameters = arguments("filter_planes", 1, 2, (5, 7))
    with torch.no_grad():
        h[0, 0, 4, 6] = torch.nan
        planes = ops.filter_planes(h, *parameters)
    assert planes[0, 0].isnan().all()
    assert planes[0, 1].isfinite().all()


def test_half_spectra_need_not_be_hermitian():
    """Imaginary parts at frequencies that are their own mirror images have no effect."""
    z, width = arguments("inverse_planes", 1, 1, (4, 6))
    other = z.detach().clone()
    other[0, 1, 0, [0, 0, 2, 2], [0, 3, 0, 3]] += 1
    planes, others = (ops.inverse_planes(x, width) for x in (z, other))
    torch.testing.assert_close(others, planes, rtol=0, atol=1e-6)


class Middle(nn.Module):
    """Everything once: normalisation by batch statistics, filter, inverse."""

    def forward(self, h, weight, bias):
        count = h.shape[0] * weight.numel()
        mean, square = ops.plane_statistics(h) / count
        scale = torch.rsqrt(square - mean.square() + 1e-5)
        z = ops.spectral_planes(h, scale, -mean * scale, weight, bias)
        return ops.filter_planes(h, scale, -mean * scale, weight, bias) + ops.inverse_planes(
            z, h.shape[-1]
        )


def test_compiled_in_one_graph():
    h, _, _, weight, bias = arguments("filter_planes", 1, 2, (5, 6))
    module = Middle()
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    outputs = [f(h, weight, bias) for f in (module, compiled)]
    gradients = [torch.autograd.grad(p.square().sum(), (h, weight, bias)) for p in outputs]
    torch.testing.assert_close(outputs[1], outputs[0])
    torch.testing.assert_close(gradients[1], gradients[0])


def test_exported():
    inputs = tuple(t.detach() for t in arguments("filter_planes", 1, 2, (5, 6)))
    h, _, _, weight, bias = inputs
    program = torch.export.export(Middle(), (h, weight, bias))
    names = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert {f"spectral_residual.{name}.default" for name in OPERATORS} - names == {
        "spectral_residual.spectral_planes.default"  # filter_planes with another last argument
    }
    torch.testing.assert_close(program.module()(h, weight, bias), Middle()(h, weight, bias))


def test_registrations():
    """Schemas, fake implementations (with symbolic sizes) and gradients of all operators."""
    h, *parameters = arguments("filter_planes", 1, 2, (4, 5))
    z, width = arguments("inverse_planes", 1, 2, (4, 5))
    precision = ops.PRECISIONS[0]
    torch.library.opcheck(library.filter_planes, (h, *parameters, precision, True))
    torch.library.opcheck(library.inverse_planes, (z, width, precision))
    torch.library.opcheck(library.plane_statistics, (h, precision))


def test_registrations_of_gradients():
    with torch.no_grad():
        h, *parameters = (t.detach() for t in arguments("filter_planes", 1, 2, (4, 5)))
        z, statistics_ = ops.spectral_planes(h, *parameters), ops.plane_statistics(h)
    precision = ops.PRECISIONS[0]
    checks = ("test_schema", "test_faketensor")
    for operator, inputs in (
        (library.filter_planes_backward, (h, h, *parameters, precision, False)),
        (library.filter_planes_backward, (z, h, *parameters, precision, True)),
        (library.inverse_planes_backward, (h, precision)),
        (library.plane_statistics_backward, (statistics_, h, precision)),
    ):
        torch.library.opcheck(operator, inputs, test_utils=checks)
