"""Criss-cross attention against loops, its reach, and the recurrent block."""

from __future__ import annotations

import pytest
import torch
from test_non_local import assert_matches_naive, inputs, randomise
from torch import Tensor, nn

from spectral_residual.blocks import CrissCrossAttention, create_block
from spectral_residual.blocks.criss_cross import criss_cross_attention

SHAPES = [(2, 3, 4), (1, 4, 2), (2, 1, 5), (2, 5, 1), (1, 1, 1)]


def naive_criss_cross(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Pixel by pixel over its H + W - 1 neighbours."""
    batch, _, height, width = query.shape
    samples = []
    for n in range(batch):
        rows = []
        for h in range(height):
            row = []
            for w in range(width):
                cross = [(h, j) for j in range(width)]
                cross += [(i, w) for i in range(height) if i != h]
                weights = [torch.exp(query[n, :, h, w] @ key[n, :, i, j]) for i, j in cross]
                mixed = sum(f * value[n, :, i, j] for f, (i, j) in zip(weights, cross, strict=True))
                row.append(mixed / sum(weights))
            rows.append(torch.stack(row, dim=1))
        samples.append(torch.stack(rows, dim=1))
    return torch.stack(samples)


def naive_pass(block: nn.Module, x: Tensor) -> Tensor:
    query, key, value = (
        torch.stack(
            [
                torch.stack(
                    [
                        (conv.weight[:, :, 0, 0] @ x[:, :, i, j].T + conv.bias[:, None]).T
                        for j in range(x.shape[3])
                    ],
                    dim=2,
                )
                for i in range(x.shape[2])
            ],
            dim=2,
        )
        for conv in (block.query, block.key, block.value)
    )
    return block.gamma * naive_criss_cross(query, key, value) + x


def naive_conv3x3(weight: Tensor, x: Tensor) -> Tensor:
    batch, _, height, width = x.shape
    out = []
    for i in range(height):
        for j in range(width):
            total = torch.zeros(batch, weight.shape[0], dtype=x.dtype)
            for a in (-1, 0, 1):
                for b in (-1, 0, 1):
                    if 0 <= i + a < height and 0 <= j + b < width:
                        total = total + x[:, :, i + a, j + b] @ weight[:, :, a + 1, b + 1].T
            out.append(total)
    return torch.stack(out, dim=2).reshape(batch, -1, height, width)


def naive_batch_norm(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    mean = x.mean((0, 2, 3), keepdim=True)
    variance = ((x - mean) ** 2).mean((0, 2, 3), keepdim=True)
    scale, shift = norm.weight[:, None, None], norm.bias[:, None, None]
    return (x - mean) / torch.sqrt(variance + norm.eps) * scale + shift


def naive_block(block: nn.Module, x: Tensor) -> Tensor:
    y = naive_batch_norm(block.norm1, naive_conv3x3(block.conv1.weight, x))
    y = torch.where(y > 0, y, 0.01 * y)
    for _ in range(block.recurrence):
        y = naive_pass(block.attention, y)
    return x + naive_batch_norm(block.norm2, naive_conv3x3(block.conv2.weight, y))


@pytest.mark.parametrize("shape", SHAPES)
def test_attention_equals_a_loop_over_neighbours(shape: tuple[int, int, int]) -> None:
    batch, height, width = shape
    query, key, value = (
        inputs(batch, c, height, width, seed=seed).requires_grad_()
        for seed, c in enumerate((3, 3, 4))
    )
    got = criss_cross_attention(query, key, value)
    expected = naive_criss_cross(query, key, value)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-14)
    cotangent = inputs(*got.shape, seed=9)
    for a, b in zip(
        torch.autograd.grad((got * cotangent).sum(), (query, key, value)),
        torch.autograd.grad((expected * cotangent).sum(), (query, key, value)),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-13)


@pytest.mark.parametrize("shape", [(2, 3, 4), (3, 1, 5), (3, 5, 1)])
@pytest.mark.parametrize("recurrence", [1, 2, 3])
def test_block_equals_naive_loops(shape: tuple[int, int, int], recurrence: int) -> None:
    batch, height, width = shape
    block = create_block("rcca", 32, (height, width), recurrence=recurrence)
    x = inputs(batch, 32, height, width)
    assert_matches_naive(block, naive_block, x, without_effect=("attention.key.bias",))


@pytest.mark.parametrize("size", [(5, 6), (1, 6), (6, 1)])
def test_one_pass_reaches_the_cross_two_reach_everything(size: tuple[int, int]) -> None:
    height, width = size
    block = randomise(CrissCrossAttention(16).double())
    at = (height // 2, width // 3)
    for passes in (1, 2):
        x = inputs(1, 16, height, width).requires_grad_()
        y = x
        for _ in range(passes):
            y = block(y)
        (gradient,) = torch.autograd.grad((y[0, :, at[0], at[1]] * inputs(16)).sum(), x)
        reached = gradient[0].abs().amax(0) > 0
        expected = torch.ones(height, width, dtype=torch.bool)
        if passes == 1:
            rows, columns = torch.arange(height)[:, None], torch.arange(width)
            expected = (rows == at[0]) | (columns == at[1])
        assert torch.equal(reached, expected)


@pytest.mark.parametrize("size", [(4, 6), (1, 5)])
def test_transposing_the_input_transposes_the_output(size: tuple[int, int]) -> None:
    block = randomise(CrissCrossAttention(16).double())
    x = inputs(2, 16, *size)
    torch.testing.assert_close(block(x.mT).mT, block(x), rtol=0, atol=1e-13)


def test_permuting_rows_or_columns_permutes_the_output_but_no_other_order_does() -> None:
    torch.manual_seed(0)
    block = randomise(CrissCrossAttention(16).double())
    x = inputs(2, 16, 4, 6)
    rows, columns = torch.tensor([2, 0, 3, 1]), torch.tensor([5, 1, 0, 4, 2, 3])
    permuted = block(x[:, :, rows][..., columns])
    torch.testing.assert_close(permuted, block(x)[:, :, rows][..., columns], rtol=0, atol=1e-13)
    order = torch.randperm(24)
    mixed = x.flatten(2)[:, :, order].reshape(x.shape)
    assert (block(mixed).flatten(2) - block(x).flatten(2)[:, :, order]).abs().max() > 1e-3


def test_weights_of_a_cross_sum_to_one_and_its_own_pixel_counts_once() -> None:
    query, key = torch.zeros(1, 2, 3, 4).double(), inputs(1, 2, 3, 4)
    ones = torch.ones(1, 1, 3, 4).double()
    torch.testing.assert_close(criss_cross_attention(query, key, ones), ones)
    spot = torch.zeros(1, 1, 3, 4).double()
    spot[..., 1, 2] = 1.0
    expected = torch.zeros(3, 4).double()
    expected[1], expected[:, 2] = 1 / 6, 1 / 6
    torch.testing.assert_close(criss_cross_attention(query, key, spot)[0, 0], expected)


def test_attention_with_gamma_0_is_the_identity() -> None:
    x = torch.randn(2, 16, 4, 6)
    attention = CrissCrossAttention(16)
    y = attention(x)
    assert torch.equal(y, x)
    (y * torch.randn_like(y)).sum().backward()
    assert attention.gamma.grad.abs() > 0
    with pytest.raises(ValueError, match=r"got \(2, 16, 3, 4, 6\); this block is not defined"):
        attention(torch.randn(2, 16, 3, 4, 6))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_mask_leaves_no_nan_in_any_dtype(dtype: torch.dtype) -> None:
    query, key, value = (inputs(1, 4, 3, 5, seed=s).to(dtype).requires_grad_() for s in range(3))
    y = criss_cross_attention(query, key, value)
    y.sum().backward()
    assert y.dtype == dtype
    for tensor in (y, query.grad, key.grad, value.grad):
        assert tensor.isfinite().all()


def test_parameters_as_the_paper_counts_them() -> None:
    """A module that is called twice is counted twice; gamma belongs to no counted layer."""
    block = create_block("rcca", 256, (4, 4)).eval()
    counted = []
    for module in block.modules():
        if isinstance(module, (nn.Conv2d, nn.BatchNorm2d)):
            module.register_forward_hook(
                lambda layer, args, output: counted.append(
                    sum(p.numel() for p in layer.parameters())
                )
            )
    block(torch.randn(1, 256, 4, 4))
    assert sum(counted) == 305_952
    assert sum(p.numel() for p in block.parameters()) == 300_753
    assert sum(p.numel() for p in block.attention.parameters()) == 5_201


def test_parameters_of_one_attention_for_256_channels() -> None:
    assert sum(p.numel() for p in CrissCrossAttention(256).parameters()) == 82_241


def test_extra_operations_count_every_pass() -> None:
    for recurrence in (1, 2):
        block = create_block("rcca", 256, (64, 48), recurrence=recurrence)
        expected = recurrence * 64 * 48 * (64 + 48) * (8 + 64)
        assert block.extra_operations((5, 256, 64, 48)) == expected
