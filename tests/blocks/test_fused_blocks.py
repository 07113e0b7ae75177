"""Competing blocks computed with fewer passes: the same numbers, in every layout, and for hooks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from spectral_residual import create_block

IMAGE, VIDEO = (12, 10), (3, 6, 10)
CASES = [(name, IMAGE) for name in ("non-local", "a2", "cgnl", "rcca", "ffc", "gfnet")]
CASES += [(name, VIDEO) for name in ("non-local", "a2", "cgnl")]


def build(name: str, size: tuple[int, ...]) -> nn.Module:
    torch.manual_seed(0)
    block = create_block(name, 16 if name != "rcca" else 32, size).double()
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.3)
    return block


def output_and_gradients(
    block: nn.Module, x: torch.Tensor, gradient: torch.Tensor
) -> list[torch.Tensor]:
    block.zero_grad()
    x = x.detach().requires_grad_()
    y = block(x)
    y.backward(gradient)
    assert y.stride() == x.stride()
    return [y.detach(), x.grad, *(p.grad.clone() for p in block.parameters())]


def data(
    block: nn.Module, samples: int, size: tuple[int, ...]
) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(2, samples, block.channels, *size, dtype=torch.float64)
    return x[0], x[1]


@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize(("name", "size"), CASES)
def test_gradients_do_not_depend_on_the_memory_format(
    name: str, size: tuple[int, ...], samples: int
) -> None:
    block = build(name, size)
    x, gradient = data(block, samples, size)
    expected = output_and_gradients(block, x, gradient)
    last = torch.channels_last if len(size) == 2 else torch.channels_last_3d
    got = output_and_gradients(
        block, x.contiguous(memory_format=last), gradient.contiguous(memory_format=last)
    )
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(("name", "size"), CASES)
def test_watched_layers_are_called_and_their_outputs_left_alone(
    name: str, size: tuple[int, ...], channels_last: bool
) -> None:
    block = build(name, size)
    x, gradient = data(block, 2, size)
    if channels_last:
        last = torch.channels_last if len(size) == 2 else torch.channels_last_3d
        x, gradient = (t.contiguous(memory_format=last) for t in (x, gradient))
    expected = output_and_gradients(block, x, gradient)
    layers = [m for m in block.modules() if isinstance(m, (nn.Conv2d, nn.BatchNorm2d))]
    seen = {}
    for layer in layers:
        layer.register_forward_hook(
            lambda module, args, output: seen.update({module: (output, output.detach().clone())})
        )
    got = output_and_gradients(block, x, gradient)
    assert set(seen) == set(layers)
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)
    last_layer = getattr(block, "norm", None) or getattr(block, "out", None)
    if last_layer in seen:
        output, at_the_time = seen[last_layer]
        assert torch.equal(output, at_the_time)
