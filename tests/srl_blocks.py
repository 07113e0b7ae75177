"""SRL blocks for tests of the rewrite: twins that differ in how they are computed."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from spectral_residual import create_block
from spectral_residual.kernels import Layers, rewritten_block


def random_block(name, channels, size, **options) -> nn.Module:
    """Reference block in float64 whose every parameter and statistic is drawn at random."""
    torch.manual_seed(sum(size) + channels)
    options = {"alpha": 0.7, "kernel": "reference", **options}
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


def twins(name, channels, size, **options) -> tuple[nn.Module, nn.Module]:
    """Block that is computed as the reference does, and the same one rewritten."""
    reference = random_block(name, channels, size, **options)
    rewrite = copy.deepcopy(reference)
    rewrite.kernel = "rewrite"
    return reference, rewrite


def random_maps(channels, size, batch=2, seed=0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, channels, *size, dtype=torch.float64, generator=generator)


def run_rewritten(block, x, form) -> Tensor:
    """Output of the rewrite in a given form, whatever the size."""
    filters = block.relu.filters(tuple(x.shape[2:]))
    layers = Layers(
        block.transform, block.conv1, block.bn1, block.conv2, block.bn2, filters, block.alpha
    )
    return rewritten_block(x, layers, form)


def relative(found, expected, scale=0.0) -> float:
    """Largest difference by the largest expected value, or by `scale` if that is larger."""
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    largest = max(expected.abs().max().item(), scale)
    gap = (found - expected).abs().max().item()
    return gap / largest if largest else gap
