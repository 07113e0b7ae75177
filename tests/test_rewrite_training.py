"""The rewritten block in training against the reference: outputs, gradients, statistics."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call

from spectral_residual import create_block
from spectral_residual.kernels import filtering, grouped, native
from srl_blocks import random_block, random_maps, relative, run_rewritten, twins

SIZES = [(2, 2), (1, 6), (7, 1), (5, 5), (5, 8), (6, 9), (16, 12), (31, 18), (64, 48), (97, 7)]
FORMS = ["fft", "separable", "dense"]


@pytest.fixture
def tiny_chunks(monkeypatch):
    for module in (grouped, filtering):
        monkeypatch.setattr(module, "CHUNK_ELEMENTS", 100)


def gradients(block, x, run=None):
    """Output, gradients of input and parameters, and buffers after a training step."""
    x = x.clone().requires_grad_()
    y = (run or block)(x)
    y.backward(random_maps(x.shape[1], x.shape[2:], len(x), seed=1).to(y))
    found = {"output": y.detach(), "input": x.grad}
    found |= {name: p.grad for name, p in block.named_parameters() if p.grad is not None}
    return found, dict(block.named_buffers())


def compare(reference, rewrite, x, limit, run=None):
    expected, buffers = gradients(reference, x)
    found, own_buffers = gradients(rewrite, x.to(rewrite.alpha), run)
    assert found.keys() == expected.keys()
    largest = max(expected[name].abs().max().item() for name in expected)
    gaps = {k: relative(found[k].to(v), v, 1e-3 * largest) for k, v in expected.items()}
    gaps |= {k: relative(own_buffers[k].to(v), v) for k, v in buffers.items()}
    assert max(gaps.values()) <= limit, gaps


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_fourier_block(size, form, dtype, limit):
    positions = size[0] * size[1]
    if (form == "dense" and positions > 1000) or (dtype == torch.float32 and positions < 25):
        return  # too large a matrix; too few values for statistics in float32
    reference, rewrite = (block.train() for block in twins("srl-fft", 16, size))
    x = random_maps(16, size, batch=3)
    compare(reference, rewrite.to(dtype), x, limit, lambda x: run_rewritten(rewrite, x, form))


@pytest.mark.parametrize("options", [{"groups": 2}, {"groups": 4}, {"reduction": 4, "groups": 4}])
@pytest.mark.parametrize("size", [(6, 7), (20, 16)])
@pytest.mark.usefixtures("tiny_chunks")
def test_groups_and_reductions_in_chunks(options, size):
    reference, rewrite = twins("srl-fft", 16, size, **options)
    compare(reference.train(), rewrite.train(), random_maps(16, size, batch=3), 1e-12)


@pytest.mark.parametrize("name", ["srl-lo", "srl-dct", "srl-wht", "srl-haar", "srl-slant"])
@pytest.mark.parametrize("size", [(5, 8), (16, 12)])
@pytest.mark.parametrize("groups", [1, 2])
def test_real_transforms(name, size, groups):
    reference, rewrite = twins(name, 8, size, groups=groups)
    compare(reference.train(), rewrite.train(), random_maps(8, size, batch=3), 1e-12)
    if name == "srl-lo":
        assert rewrite.transform.P.grad.abs().max() > 0


@pytest.mark.parametrize("name", ["srl-fft", "srl-dct"])
@pytest.mark.parametrize("size", [(6, 7), (20, 16)])
def test_channels_last(name, size):
    reference, rewrite = twins(name, 16, size)
    x = random_maps(16, size, batch=3).contiguous(memory_format=torch.channels_last)
    compare(reference.train(), rewrite.train(), x, 1e-12)
    leaf = x.requires_grad_()
    y = rewrite(leaf)
    y.sum().backward()  # an expanded gradient
    for tensor in (y, leaf.grad):
        assert tensor.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", [(6, 7), (20, 16)])
def test_gradients_that_are_expanded_or_absent(size):
    reference, rewrite = twins("srl-fft", 16, size)
    x = random_maps(16, size, batch=3)
    for block in (reference, rewrite):
        block.train().requires_grad_(False)
        block.conv2.weight.requires_grad_()
        block(x).sum().backward()
    assert relative(rewrite.conv2.weight.grad, reference.conv2.weight.grad, 1.0) <= 1e-12
    assert all(p.grad is None for n, p in rewrite.named_parameters() if n != "conv2.weight")


# ---- batch normalisation -----------------------------------------------------------------------


def _without_running_statistics(block):
    for norm in (block.bn1, block.bn2):
        norm.track_running_stats = False
        norm.running_mean = norm.running_var = norm.num_batches_tracked = None


def _set(attribute, value):
    def change(block):
        for norm in (block.bn1, block.bn2):
            setattr(norm, attribute, value)

    return change


NORMS = {
    "cumulative": _set("momentum", None),
    "other momentum": _set("momentum", 0.37),
    "no update": _set("momentum", 0.0),
    "no tracking": _set("track_running_stats", False),
    "no statistics": _without_running_statistics,
    "no statistics in evaluation": lambda block: _without_running_statistics(block.eval()),
    "other eps": _set("eps", 0.2),
    "first frozen": lambda block: block.bn1.eval(),
    "second frozen": lambda block: block.bn2.eval(),
    "evaluation": lambda block: block.eval(),
}


@pytest.mark.parametrize("norms", NORMS)
@pytest.mark.parametrize("name", ["srl-fft", "srl-dct"])
def test_batch_normalisation_is_that_of_pytorch(norms, name):
    """Three steps, so that running statistics are used, updated and counted."""
    reference, rewrite = twins(name, 16, (9, 8))
    for block in (reference, rewrite):
        NORMS[norms](block.train())
    for seed in range(3):
        x = random_maps(16, (9, 8), batch=3, seed=seed) * (seed + 1)
        compare(reference, rewrite, x, 1e-12)
    for block in (reference, rewrite):
        block.zero_grad()
        block.eval()
    with torch.no_grad():
        assert relative(rewrite(x), reference(x)) <= 1e-12


def test_statistics_are_updated_without_gradients_too():
    reference, rewrite = (block.train() for block in twins("srl-fft", 16, (20, 16)))
    x = random_maps(16, (20, 16))
    before = rewrite.bn2.running_var.clone()
    with torch.no_grad():
        assert relative(rewrite(x), reference(x)) <= 1e-12
    assert relative(rewrite.bn2.running_var, reference.bn2.running_var) <= 1e-12
    assert relative(rewrite.bn2.running_var, before) > 1e-3
    assert rewrite.bn2.num_batches_tracked == 1


@pytest.mark.parametrize("bias", [0.0, 100.0])
def test_statistics_of_planes_far_from_0_are_exact(bias):
    """Filtered planes with a mean of 100 and a variance around 1, in float32."""
    exact, rewrite = twins("srl-fft", 16, (20, 16))
    for block in (exact, rewrite):
        block.relu.bias.data.fill_(bias)
        block.train()
    rewrite.float()
    x = random_maps(16, (20, 16), batch=4)
    with torch.no_grad():
        branch = exact(x) - x
        error = (rewrite(x.float()).double() - x - branch).norm() / branch.norm()
    assert error <= 1e-4


def test_one_value_per_plane_is_refused_as_by_pytorch():
    for block in twins("srl-fft", 16, (1, 1)):
        with pytest.raises(ValueError, match=r"[Ee]xpected more than 1 value per"):
            block.train()(random_maps(16, (1, 1), batch=1))


# ---- derivatives -------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "size"), [("srl-fft", (4, 5)), ("srl-dct", (3, 4))])
@pytest.mark.parametrize("limit", [0, 256])
@pytest.mark.parametrize("training", [True, False])
def test_derivatives_of_first_and_second_order(name, size, limit, training, monkeypatch):
    monkeypatch.setattr("spectral_residual.kernels.choice.DENSE_POSITIONS", limit)
    block = random_block(name, 8, size, kernel="rewrite").train(training)
    by_fft = name == "srl-fft" and (limit == 0 or native.unavailable_reason() is None)
    assert ("by FFT" in block.explain()) == by_fft
    for norm in (block.bn1, block.bn2):
        norm.momentum = 0.0
    names = [name for name, _ in block.named_parameters()]

    def function(x, *parameters):
        return functional_call(block, dict(zip(names, parameters, strict=True)), (x,))

    inputs = [random_maps(8, size), *(p.detach().clone() for p in block.parameters())]
    inputs = [tensor.requires_grad_() for tensor in inputs]
    assert gradcheck(function, inputs, fast_mode=True)
    assert gradgradcheck(function, inputs, fast_mode=True, atol=1e-4)


def test_second_order_with_channels_last():
    reference, rewrite = twins("srl-fft", 8, (5, 18))
    x = random_maps(8, (5, 18)).contiguous(memory_format=torch.channels_last)
    found = []
    for block in (reference, rewrite):
        maps = x.clone().requires_grad_()
        (first,) = torch.autograd.grad(block(maps).pow(3).sum(), maps, create_graph=True)
        first.square().sum().backward()
        found.append(maps.grad)
    assert relative(found[1], found[0]) <= 1e-10


def test_functional_gradients():
    block = random_block("srl-fft", 16, (20, 16), kernel="rewrite").eval()
    x = random_maps(16, (20, 16))
    parameters = dict(block.named_parameters())

    def loss(values):
        return functional_call(block, values, (x,)).square().mean()

    found = torch.func.grad(loss)(parameters)
    loss(parameters).backward()
    for name, parameter in parameters.items():
        assert relative(found[name], parameter.grad) <= 1e-12


@pytest.mark.parametrize("name", ["srl-fft", "srl-lo"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_gradients_under_autocast_are_as_close_as_those_of_the_reference(name, dtype):
    """Mean over tensors and inputs: which ReLUs change their sign is chance."""
    errors = {"reference": 0.0, "rewrite": 0.0}
    for seed in range(4):
        x = random_maps(32, (19, 16), seed=seed)
        blocks = dict(zip(errors, twins(name, 32, (19, 16)), strict=True))
        exact, _ = gradients(copy.deepcopy(blocks["reference"]).train(), x)
        for label, block in blocks.items():
            block.float().train()
            with torch.autocast("cpu", dtype=dtype):
                found, _ = gradients(block, x.float())
            for key, value in exact.items():
                assert found[key].dtype == torch.float32
                errors[label] += ((found[key].double() - value).norm() / value.norm()).item()
    assert errors["rewrite"] <= 1.2 * errors["reference"]


@pytest.mark.parametrize("name", ["srl-fft", "srl-lo"])
def test_training_takes_the_same_course(name):
    """Five steps from the identity; LO is made orthogonal after each of them."""
    torch.manual_seed(0)
    reference = create_block(name, 16, (12, 10), kernel="reference", spread=0.1).double()
    rewrite = copy.deepcopy(reference)
    rewrite.kernel = "rewrite"
    losses = []
    for block in (reference.train(), rewrite.train()):
        optimizer = torch.optim.SGD(block.parameters(), lr=0.3, momentum=0.9)
        for _ in range(5):
            optimizer.zero_grad()
            x = random_maps(16, (12, 10), batch=4)
            loss = (block(x) - x.roll(1, 3)).square().mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert losses[5:] == pytest.approx(losses[:5], rel=1e-10)
    assert losses[4] < losses[0]
    for found, expected in zip(rewrite.parameters(), reference.parameters(), strict=True):
        assert relative(found, expected, 1e-2) <= 1e-9
