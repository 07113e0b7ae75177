"""The double attention block against loops, and the laws of its two attentions."""

from __future__ import annotations

import pytest
import torch
from test_non_local import assert_matches_naive, inputs, naive_pointwise, randomise
from torch import Tensor, nn

from spectral_residual.blocks import DoubleAttentionBlock
from spectral_residual.blocks.double_attention import double_attention


def naive_double_attention(block: nn.Module, x: Tensor) -> Tensor:
    positions = x.flatten(2)
    names = ("features", "gather", "distribute")
    A, B, V = (naive_pointwise(getattr(block, name).weight, positions) for name in names)
    samples = []
    for n in range(x.shape[0]):
        descriptors = []
        for k in range(B.shape[1]):
            weights = [torch.exp(B[n, k, j]) for j in range(B.shape[2])]
            mixed = sum(w * A[n, :, j] for j, w in enumerate(weights))
            descriptors.append(mixed / sum(weights))
        columns = []
        for i in range(V.shape[2]):
            weights = [torch.exp(V[n, k, i]) for k in range(V.shape[1])]
            columns.append(
                sum(w * d for w, d in zip(weights, descriptors, strict=True)) / sum(weights)
            )
        samples.append(torch.stack(columns, dim=1))
    branch = naive_pointwise(block.out.weight, torch.stack(samples))
    return x + branch.reshape(x.shape)


@pytest.mark.parametrize("shape", [(2, 8, 3, 4), (1, 8, 5, 1), (2, 8, 2, 3, 2)])
def test_equals_naive_loops(shape: tuple[int, ...]) -> None:
    assert_matches_naive(DoubleAttentionBlock(8), naive_double_attention, inputs(*shape))


def test_reduction_is_the_number_of_features_and_descriptors() -> None:
    block = DoubleAttentionBlock(8, reduction=2)
    assert_matches_naive(block, naive_double_attention, inputs(1, 8, 2, 3))
    assert block.extra_operations((9, 8, 2, 3)) == 2 * 4 * 4 * 6
    assert block.extra_operations((9, 8, 5, 2, 3)) == 5 * 2 * 4 * 4 * 6


def test_constant_features_come_out_as_they_are() -> None:
    features = inputs(2, 4, 1).expand(2, 4, 12)
    z = double_attention(features, inputs(2, 3, 12, seed=1), inputs(2, 3, 12, seed=2))
    torch.testing.assert_close(z, features, rtol=0, atol=1e-14)


def test_attention_is_a_convex_mixture_of_descriptors() -> None:
    gather, distribute = inputs(2, 3, 12, seed=1), inputs(2, 3, 12, seed=2)
    attention = double_attention(torch.eye(12).double().expand(2, 12, 12), gather, distribute)
    assert attention.min() > 0
    torch.testing.assert_close(attention.sum(1), torch.ones(2, 12).double(), rtol=0, atol=1e-14)
    descriptors = gather.softmax(2)
    shares = distribute.softmax(1)
    torch.testing.assert_close(shares.sum(1), torch.ones(2, 12).double(), rtol=0, atol=1e-14)
    torch.testing.assert_close(attention, descriptors.mT @ shares, rtol=0, atol=1e-14)


def test_both_orders_of_the_products_agree() -> None:
    A, B, V = inputs(2, 4, 12), inputs(2, 3, 12, seed=1), inputs(2, 3, 12, seed=2)
    other = A @ (B.softmax(2).mT @ V.softmax(1))
    torch.testing.assert_close(double_attention(A, B, V), other, rtol=0, atol=1e-13)


def test_distribution_is_normalised_over_descriptors_not_positions() -> None:
    """A bias of all descriptors at one position changes nothing there or elsewhere."""
    A, B, V = inputs(1, 4, 12), inputs(1, 3, 12, seed=1), inputs(1, 3, 12, seed=2)
    shifted = V.clone()
    shifted[:, :, 5] += 3.0
    torch.testing.assert_close(
        double_attention(A, B, shifted), double_attention(A, B, V), rtol=0, atol=1e-14
    )


def test_one_position_reaches_all_others() -> None:
    block = randomise(DoubleAttentionBlock(8).double())
    x = inputs(1, 8, 4, 5).requires_grad_()
    (gradient,) = torch.autograd.grad(block(x)[0, :, 1, 2].sum(), x)
    assert (gradient.abs().amax(1) > 0).all()
