"""The rewritten block under `torch.compile` and `torch.export`: one graph, no complex numbers."""

from __future__ import annotations

import copy

import pytest
import torch

from srl_blocks import random_block, random_maps, relative

NAMES = ["srl-fft", "srl-dct", "srl-lo"]


def step(block, x):
    """Output, gradients and buffers of one step."""
    x = x.clone().requires_grad_()
    y = block(x)
    y.backward(random_maps(x.shape[1], x.shape[2:], len(x), seed=1).to(y))
    gradients = [p.grad for p in block.parameters()]
    return [y.detach(), x.grad, *gradients, *block.buffers()]


def compare(name, size, backend, training):
    torch._dynamo.reset()
    eager = random_block(name, 16, size, kernel="auto").float().train(training)
    block = copy.deepcopy(eager)
    compiled = torch.compile(block, fullgraph=True, backend=backend)
    x = random_maps(16, size).float()
    expected = step(eager, x)
    largest = max(value.abs().max().item() for value in expected)
    for found, value in zip(step(compiled, x), expected, strict=True):
        assert relative(found, value, 1e-3 * largest) <= 1e-5


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(6, 7), (20, 16)])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.filterwarnings("error")
def test_one_graph(name, size, training):
    compare(name, size, "aot_eager", training)


@pytest.mark.filterwarnings("error:.*complex")
def test_inductor():
    compare("srl-fft", (6, 4), "inductor", training=True)


def test_further_steps_need_no_other_graph():
    torch._dynamo.reset()
    block = random_block("srl-fft", 16, (6, 7), kernel="auto").float().train()
    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    optimizer = torch.optim.SGD(block.parameters(), lr=0.1)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for seed in range(3):
            compiled(random_maps(16, (6, 7), seed=seed).float()).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
    assert block.bn2.num_batches_tracked == 3


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(6, 7), (20, 16)])
def test_exported_graph_is_real_and_takes_any_batch(name, size):
    block = random_block(name, 16, size, kernel="auto").eval()
    block(random_maps(16, size))  # LO makes its rounded matrices orthogonal again
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(block, (random_maps(16, size),), dynamic_shapes=({0: batch},))
    values = [node.meta.get("val") for node in program.run_decompositions().graph.nodes]
    dtypes = {value.dtype for value in values if isinstance(value, torch.Tensor)}
    assert torch.float64 in dtypes
    assert not any(dtype.is_complex for dtype in dtypes)
    x = random_maps(16, size, batch=5)
    with torch.no_grad():
        assert relative(program.module()(x), block(x)) <= 1e-12


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit.*")
def test_traced_graph():
    block = random_block("srl-fft", 16, (6, 7), kernel="auto").eval().float()
    first, other = (random_maps(16, (6, 7), seed=seed).float() for seed in range(2))
    with torch.no_grad():
        traced = torch.jit.trace(block, (first,), check_trace=False)
        assert relative(traced(other), block(other)) <= 1e-5
