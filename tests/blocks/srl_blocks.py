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
