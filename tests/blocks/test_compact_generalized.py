"""The compact generalized non-local block against loops, and the laws of its kernels."""

from __future__ import annotations

import math

import pytest
import torch
from test_non_local import assert_matches_naive, inputs, naive_pointwise, randomise
from torch import Tensor, nn

from spectral_residual.blocks import CompactGeneralizedBlock
from spectral_residual.blocks.compact_generalized import polynomial_attention, rbf_coefficients

GAMMA = 0.05


def naive_attention(theta: Tensor, phi: Tensor, g: Tensor, weigh: object) -> Tensor:
    """Every entry of theta against every entry of phi, for vectors."""
    return torch.stack([sum(weigh(t * p) * v for p, v in zip(phi, g, strict=True)) for t in theta])


def naive_compact(block: nn.Module, x: Tensor) -> Tensor:
    positions = x.flatten(2)
    names = ("theta", "phi", "g")
    theta, phi, g = (naive_pointwise(getattr(block, name).weight, positions) for name in names)

    def weigh(t: Tensor) -> Tensor:
        if block.kernel == "dot_product":
            return t
        terms = [(2 * GAMMA * t) ** p / math.factorial(p) for p in range(4)]
        return math.exp(-2 * GAMMA) * sum(terms)

    inner, outer = g.shape[1] // block.groups, x.shape[1] // block.groups
    samples = []
    for n in range(x.shape[0]):
        groups = []
        for k in range(block.groups):
            own = slice(k * inner, (k + 1) * inner)
            vectors = [v[n, own].reshape(-1) for v in (theta, phi, g)]
            y = naive_attention(*vectors, weigh).reshape(inner, -1)
            z = block.out.weight.flatten(1)[k * outer : (k + 1) * outer] @ y
            mean = z.sum() / z.numel()
            variance = ((z - mean) ** 2).sum() / z.numel()
            groups.append((z - mean) / torch.sqrt(variance + block.norm.eps))
        normed = torch.cat(groups)
        samples.append(normed * block.norm.weight[:, None] + block.norm.bias[:, None])
    return x + torch.stack(samples).reshape(x.shape)


@pytest.mark.parametrize("kernel", ["rbf", "dot_product"])
@pytest.mark.parametrize("shape", [(2, 8, 2, 3), (2, 8, 2, 1, 2)])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_equals_naive_loops(kernel: str, shape: tuple[int, ...], groups: int) -> None:
    block = CompactGeneralizedBlock(8, kernel=kernel, groups=groups, gamma=GAMMA)
    assert_matches_naive(block, naive_compact, inputs(*shape))


def test_dot_product_is_a_scalar_times_theta() -> None:
    theta, phi, g = (inputs(2, 3, 24, seed=s) for s in range(3))
    y = polynomial_attention(theta, phi, g, (0.0, 1.0))
    dense = (theta.unsqueeze(-1) * phi.unsqueeze(-2)) @ g.unsqueeze(-1)
    torch.testing.assert_close(y, dense.squeeze(-1), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("order", "gamma", "tolerance"), [(2, 1e-4, 1e-8), (3, 1e-4, 1e-11), (25, 0.3, 1e-11)]
)
def test_taylor_polynomial_equals_the_exponential(
    order: int, gamma: float, tolerance: float
) -> None:
    theta, phi, g = (inputs(24, seed=s) for s in range(3))
    y = polynomial_attention(theta, phi, g, rbf_coefficients(order, gamma))
    dense = math.exp(-2 * gamma) * torch.exp(2 * gamma * theta[:, None] * phi[None]) @ g
    torch.testing.assert_close(y, dense, rtol=0, atol=tolerance)


def test_rbf_is_a_gaussian_of_the_difference_for_magnitudes_of_one() -> None:
    coefficients = rbf_coefficients(12, 0.2)
    one = torch.ones(1).double()
    for sign in (1.0, -1.0):
        y = polynomial_attention(one, sign * one, one, coefficients)
        assert float(y) == pytest.approx(math.exp(-0.2 * (1 - sign) ** 2), rel=1e-12)


def test_first_order_adds_the_dot_product_kernel() -> None:
    theta, phi, g = (inputs(2, 24, seed=s) for s in range(3))
    first, zeroth = (
        polynomial_attention(theta, phi, g, rbf_coefficients(order, 0.1)) for order in (1, 0)
    )
    dot = polynomial_attention(theta, phi, g, (0.0, 1.0))
    torch.testing.assert_close(
        first - zeroth, rbf_coefficients(1, 0.1)[1] * dot, rtol=0, atol=1e-12
    )
    assert zeroth.shape == theta.shape


@pytest.mark.parametrize("kernel", ["rbf", "dot_product"])
def test_groups_attend_apart(kernel: str) -> None:
    """Changing what group 0 gets leaves the output of the others as it was, to the last bit."""
    block = randomise(CompactGeneralizedBlock(16, kernel=kernel, groups=4).double())
    x = inputs(2, 16, 3, 4)
    before = block(x) - x
    with torch.no_grad():
        for conv in (block.theta, block.phi, block.g):
            conv.weight[:2] *= -1.5
    after = block(x) - x
    assert torch.equal(after[:, 4:], before[:, 4:])
    assert not torch.allclose(after[:, :4], before[:, :4])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_keeps_what_differs_between_positions(dtype: torch.dtype) -> None:
    """The RBF kernel is constant up to 1e-4: in half precision nothing else would be left."""
    torch.manual_seed(0)
    block = randomise(CompactGeneralizedBlock(32), 0.3).double()
    x = torch.rand(2, 32, 8, 8).to(dtype)
    expected = block(x.double()) - x
    expected = expected - expected.mean((2, 3), keepdim=True)
    seen = []
    block.float().norm.register_forward_hook(lambda module, args, output: seen.append(output))
    with torch.autocast("cpu", dtype):
        block(x.float())
    (branch,) = seen
    assert branch.dtype == torch.float32
    got = branch - branch.mean((2, 3), keepdim=True)
    assert (got - expected).norm() / expected.norm() < 0.05


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 8 * 128 * 48),
        ({"kernel": "dot_product"}, 2 * 128 * 48),
        ({"taylor_order": 1}, 4 * 128 * 48),
    ],
)
def test_extra_operations(options: dict, expected: int) -> None:
    block = CompactGeneralizedBlock(256, **options)
    assert block.extra_operations((3, 256, 6, 8)) == expected
    assert block.extra_operations((3, 256, 5, 6, 8)) == 5 * expected
