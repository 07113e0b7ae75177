"""SRL blocks and maps for tests, every parameter and statistic drawn at random."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spectral_residual import create_block


def random_block(name, channels, size, **options) -> nn.Module:
    """Block in float64 whose every parameter and statistic is drawn at random."""
    torch.manual_seed(sum(size) + channels)
    options = {"alpha": 0.7, **options}
    block = create_block(name, channels, size, **options).double()
    with torch.no_grad():
        for part in (block.bn1, block.bn2):
            part.weight.uniform_(0.5, 1.5)
            part.bias.normal_(std=0.3)
            part.running_mean.normal_(std=0.2)
            part.running_var.uniform_(0.5, 2.0)
        block.relu.weight.normal_(mean=1.0, std=0.5)
        block.relu.bias.normal_(std=0.3)
    return block


EXACT = 1e-10


def random_maps(channels, size, batch=2, seed=0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, channels, *size, dtype=torch.float64, generator=generator)


def relative(found, expected, scale=0.0) -> float:
    """Largest difference by the largest expected value, or by `scale` if that is larger."""
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    largest = max(expected.abs().max().item(), scale)
    gap = (found - expected).abs().max().item()
    return gap / largest if largest else gap


def largest_gap(a, b) -> float:
    assert a.shape == b.shape
    return (a - b).abs().max().item()


def compare_with_formula(block, x, formula) -> None:
    """Forward and every gradient of a block and of a formula of (x, parameters)."""
    block.train()
    x = x.clone().requires_grad_()
    cotangent = random_maps(x.shape[1], x.shape[2:], len(x), seed=1)
    y = block(x)
    (y * cotangent).sum().backward()
    leaf = x.detach().clone().requires_grad_()
    parameters = {k: p.detach().clone().requires_grad_() for k, p in block.named_parameters()}
    expected = formula(leaf, parameters)
    (expected * cotangent).sum().backward()
    assert largest_gap(y, expected) <= EXACT
    assert largest_gap(x.grad, leaf.grad) <= EXACT * max(1, leaf.grad.abs().max())
    for name, parameter in block.named_parameters():
        reference = parameters[name].grad
        bound = EXACT * max(1, reference.abs().max())
        assert largest_gap(parameter.grad, reference) <= bound, name
        assert x.shape[2:] == (1, 1) or reference.abs().max() > 0, f"no gradient for {name}"
