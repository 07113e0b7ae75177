"""The learnable orthogonal transform stays orthogonal, whatever changes its matrices."""

from __future__ import annotations

import copy
import io
import pickle
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from spectral_residual import LearnableOrthogonal, SRLBlock, create_block, insert_blocks
from spectral_residual.transforms import orthogonal_factor, orthogonality_error

SIZE = (12, 9)
LIMIT = 1e-5


def build_block(alpha=0.5):
    torch.manual_seed(0)
    return create_block("srl-lo", 8, SIZE, alpha=alpha)


def data(seed=0, channels=8, size=SIZE):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, channels, *size, generator=generator)


def deviation(module):
    transforms = [m for m in module.modules() if isinstance(m, LearnableOrthogonal)]
    assert transforms
    return max(orthogonality_error(m) for t in transforms for m in (t.P, t.Q))


def disturb(transform, scale=0.05):
    """Change the matrices behind autograd's back."""
    for matrix in (transform.P, transform.Q):
        matrix.data += scale * torch.randn_like(matrix)


def backward(module, seed=0):
    """One forward and backward pass; returns the loss."""
    loss = (module(data(seed)) - data(seed + 1000)).square().mean()
    loss.backward()
    return loss


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "sgd-foreach": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, foreach=True),
    "sgd-fused": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, fused=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-2, foreach=False),
    "adamw-foreach": lambda p: torch.optim.AdamW(p, lr=1e-2, foreach=True),
    "adamw-fused": lambda p: torch.optim.AdamW(p, lr=1e-2, fused=True),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_orthogonal_after_every_optimiser_step(name):
    block = build_block()
    start = block.transform.P.detach().clone()
    optimizer = OPTIMIZERS[name](block.parameters())
    for step in range(100):
        optimizer.zero_grad()
        loss = backward(block, seed=step % 4)
        optimizer.step()
        if step % 10 == 9:
            assert deviation(block) <= LIMIT
    assert torch.isfinite(loss)
    assert (block.transform.P - start).abs().max() > 0.01, "P was not trained"


def test_training_follows_the_signs_of_the_matrices():
    """With a small step the matrices move a little: QR's free signs do not flip rows."""
    block = build_block()
    optimizer = torch.optim.SGD(block.parameters(), lr=1e-3)
    for step in range(20):
        before = block.transform.P.detach().clone()
        optimizer.zero_grad()
        backward(block, seed=step)
        optimizer.step()
        assert (block.transform.P - before).abs().max() < 0.05


@pytest.mark.parametrize("n", [1, 2, 5, 33, 128])
def test_an_orthogonal_matrix_is_left_where_it_is(n):
    generator = torch.Generator().manual_seed(n)
    matrix = orthogonal_factor(torch.randn(n, n, dtype=torch.float64, generator=generator))
    assert orthogonality_error(matrix) <= 1e-13
    assert (orthogonal_factor(matrix) - matrix).abs().max() <= 1e-13
    flipped = matrix * torch.where(torch.arange(n) % 2 == 0, -1.0, 1.0)
    assert (orthogonal_factor(flipped) - flipped).abs().max() <= 1e-13


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_matrices_are_decomposed_in_float32(dtype):
    matrix = torch.randn(16, 16, generator=torch.Generator().manual_seed(0)).to(dtype)
    factor = orthogonal_factor(matrix)
    assert factor.dtype == dtype
    assert (factor.float() - orthogonal_factor(matrix.float())).abs().max() <= torch.finfo(
        dtype
    ).eps


def test_frozen_matrices_in_an_optimiser_keep_their_bits():
    block = build_block()
    block.transform.requires_grad_(False)
    before = copy.deepcopy(block.transform.state_dict())
    optimizer = torch.optim.SGD(block.parameters(), lr=0.1)
    for step in range(5):
        optimizer.zero_grad()
        backward(block, seed=step)
        optimizer.step()
    for name, matrix in block.transform.named_parameters():
        assert torch.equal(matrix, before[name])


def test_other_optimisers_leave_the_matrices_alone():
    block, other = build_block(), nn.Linear(3, 3)
    disturb(block.transform)
    before = block.transform.P.detach().clone()
    other(torch.ones(1, 3)).sum().backward()
    torch.optim.SGD(other.parameters(), lr=0.1).step()
    assert torch.equal(block.transform.P, before)


# ---- updates that no optimiser makes -----------------------------------------------------------


def subtract_data(parameter):
    parameter.data -= 0.5 * parameter.grad


def subtract_in_no_grad(parameter):
    with torch.no_grad():
        parameter.sub_(0.5 * parameter.grad)


def assign_data(parameter):
    parameter.data = parameter.data - 0.5 * parameter.grad


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("update", [subtract_data, subtract_in_no_grad, assign_data])
def test_hand_written_training_loop(update, training):
    block = build_block().train(training)
    for step in range(5):
        block.zero_grad()
        backward(block, seed=step)
        for parameter in block.parameters():
            update(parameter)
        assert deviation(block) > LIMIT, "the update is too small to test anything"
        with torch.no_grad():
            block(data())
        assert deviation(block) <= LIMIT


@pytest.mark.parametrize("update", [subtract_data, subtract_in_no_grad, assign_data])
def test_state_dict_is_orthogonal_right_after_a_hand_written_update(update):
    block = build_block()
    backward(block)
    for parameter in block.parameters():
        update(parameter)
    state = block.state_dict()
    assert max(orthogonality_error(state[f"transform.{name}"]) for name in "PQ") <= LIMIT


def test_the_loss_falls_in_a_hand_written_loop():
    block = build_block(alpha=0.1)
    losses = []
    for _ in range(30):
        block.zero_grad()
        losses.append(backward(block).item())
        for parameter in block.parameters():
            subtract_data(parameter)
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize(
    "average", [None, get_ema_multi_avg_fn(0.9)], ids=["equal-weights", "exponential"]
)
def test_averaged_models_are_orthogonal(average):
    block = build_block()
    averaged = AveragedModel(block, multi_avg_fn=average)
    optimizer = torch.optim.SGD(block.parameters(), lr=0.5)
    for step in range(5):
        optimizer.zero_grad()
        backward(block, seed=step)
        optimizer.step()
        averaged.update_parameters(block)
    assert deviation(averaged) > LIMIT
    assert max(map(orthogonality_error, lo_entries(averaged.state_dict()))) <= LIMIT
    averaged.update_parameters(block)
    averaged.eval()
    with torch.no_grad():
        averaged(data())
    assert deviation(averaged) <= LIMIT
    assert not torch.equal(averaged.module.transform.P, block.transform.P)


def lo_entries(state):
    return [value for key, value in state.items() if key.rpartition(".")[2] in "PQ"]


def test_averages_swapped_in_through_data_for_evaluation():
    """As averaging libraries do: train, copy the average in, evaluate, copy back."""
    block = build_block()
    optimizer = torch.optim.SGD(block.parameters(), lr=0.1)
    for step in range(2):
        optimizer.zero_grad()
        backward(block, seed=step)
        optimizer.step()
        stored = copy.deepcopy(block.transform.state_dict())
        disturb(block.transform)
        block.eval()
        with torch.no_grad():
            block(data())
        assert deviation(block) <= LIMIT
        block.transform.load_state_dict(stored)
        block.train()
        assert deviation(block) <= LIMIT


# ---- loading, copying, converting --------------------------------------------------------------


@pytest.mark.parametrize("assign", [False, True])
@pytest.mark.parametrize("where", ["cpu", "meta"])
def test_loading_matrices_that_are_not_orthogonal(assign, where):
    state = {k: v.clone() for k, v in build_block().state_dict().items()}
    for matrix in lo_entries(state):
        matrix += 0.01
    with torch.device(where):
        block = create_block("srl-lo", 8, SIZE, alpha=0.5)
    if where == "meta" and not assign:
        block.to_empty(device="cpu")
    block.load_state_dict(state, assign=assign)
    assert deviation(block) > LIMIT
    block.eval()
    with torch.no_grad():
        block(data())
    assert deviation(block) <= LIMIT


def test_state_round_trip_keeps_the_bits():
    block = build_block()
    other = create_block("srl-lo", 8, SIZE, alpha=0.5)
    other.load_state_dict(block.state_dict())
    x = data()
    assert torch.equal(other(x), block(x))
    assert torch.equal(other.transform.P, block.transform.P)


def through_pickle(module):
    return pickle.loads(pickle.dumps(module))


def through_torch_save(module):
    buffer = io.BytesIO()
    torch.save(module, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


COPIES = [copy.deepcopy, through_pickle, through_torch_save]


@pytest.mark.parametrize("duplicate", COPIES)
def test_copies_are_equal_and_retracted_on_their_own(duplicate):
    block = build_block()
    other = duplicate(block)
    x = data()
    block.eval(), other.eval()
    assert torch.equal(other(x), block(x))
    kept = block.transform.P.detach().clone()
    other.train()
    optimizer = torch.optim.SGD(other.parameters(), lr=0.5)
    backward(other)
    optimizer.step()
    assert deviation(other) <= LIMIT
    assert not torch.equal(other.transform.P, kept)
    assert torch.equal(block.transform.P, kept)


@pytest.mark.parametrize("updates", range(4))
@pytest.mark.parametrize("duplicate", COPIES)
def test_a_copy_of_an_unsettled_transform_settles(duplicate, updates):
    """Whatever the version counters of the copy happen to be."""
    transform = LearnableOrthogonal(SIZE)
    disturb(transform)
    other = duplicate(transform)
    with torch.no_grad():
        for _ in range(updates):
            for matrix in (other.P, other.Q):
                matrix.add_(0.01)
        other(data())
    assert deviation(other) <= LIMIT


def test_conversions_between_precisions():
    transform = LearnableOrthogonal(SIZE)
    x = data().double()
    transform.half().float()
    with torch.no_grad():
        assert (transform.inverse(transform(x.float()), SIZE) - x.float()).abs().max() <= 1e-5
    transform.double()
    with torch.no_grad():
        assert (transform.inverse(transform(x), SIZE) - x).abs().max() <= 1e-13
    assert deviation(transform) <= 1e-14


# ---- autograd ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(6, 5), (33, 64), (160, 97)])
def test_two_forwards_before_one_backward(size, dtype):
    block = create_block("srl-lo", 4, size, alpha=0.5).to(dtype)
    optimizer = torch.optim.SGD(block.parameters(), lr=0.01)
    for step in range(3):
        optimizer.zero_grad()
        first = block(data(2 * step, 4, size).to(dtype))
        second = block(data(2 * step + 1, 4, size).to(dtype))
        (first.square().mean() + second.square().mean()).backward()
        optimizer.step()
    assert deviation(block) <= LIMIT


def test_state_dict_and_evaluation_between_forward_and_backward():
    """They change nothing that the backward pass needs: the gradients are those without them."""
    block, undisturbed = build_block(), build_block()
    optimizers = [torch.optim.SGD(b.parameters(), lr=0.1) for b in (block, undisturbed)]
    for step in range(3):
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss = block(data(step)).square().mean()
        block.state_dict()
        evaluated = copy.deepcopy(block.state_dict())
        with torch.no_grad():
            block.eval()(data(step + 1))
        block.train()
        loss.backward()
        undisturbed(data(step)).square().mean().backward()
        for (name, mine), its in zip(
            block.named_parameters(), undisturbed.parameters(), strict=True
        ):
            assert mine.grad.abs().max() > 0, name
            assert torch.equal(mine.grad, its.grad), name
        assert all(torch.equal(value, evaluated[k]) for k, value in block.state_dict().items())
        for optimizer in optimizers:
            optimizer.step()


def test_gradient_accumulation_equals_one_large_batch():
    whole, parts = build_block().double().eval(), build_block().double().eval()
    x = torch.cat((data(0), data(1))).double()
    whole(x).square().mean().backward()
    for chunk in x.chunk(2):
        (parts(chunk).square().mean() / 2).backward()
    gradients = dict(parts.named_parameters())
    for name, parameter in whole.named_parameters():
        assert (parameter.grad - gradients[name].grad).abs().max() <= 1e-12, name
    optimizer = torch.optim.SGD(parts.parameters(), lr=0.1)
    optimizer.step()
    assert deviation(parts) <= 1e-13


def test_gradients_of_the_matrices_are_those_of_the_formula():
    P, Q = (torch.randn(n, n, dtype=torch.float64) for n in SIZE)
    transform = LearnableOrthogonal(SIZE).double()
    with torch.no_grad():
        transform.P.copy_(orthogonal_factor(P))
        transform.Q.copy_(orthogonal_factor(Q))
    x, weight = data(0).double(), data(1).double()
    y = transform.inverse(torch.tanh(transform(x)), SIZE)
    (y * weight).sum().backward()
    P, Q = (m.detach().clone().requires_grad_() for m in (transform.P, transform.Q))
    spectrum = torch.einsum("uh,nchw,wv->ncuv", P, x, Q)
    naive = torch.einsum("uh,ncuv,wv->nchw", P, torch.tanh(spectrum), Q)
    (naive * weight).sum().backward()
    assert (y - naive).abs().max() <= 1e-12
    assert (transform.P.grad - P.grad).abs().max() <= 1e-12
    assert (transform.Q.grad - Q.grad).abs().max() <= 1e-12


@pytest.mark.parametrize("name", ["srl-fft", "srl-lo", "srl-dct", "srl-wht", "srl-haar"])
def test_training_after_inference_mode(name):
    torch.manual_seed(0)
    block = create_block(name, 8, (13, 11), alpha=0.5)
    block.eval()
    with torch.inference_mode():
        block(data(0, 8, (13, 11)))
    block.train()
    optimizer = torch.optim.SGD(block.parameters(), lr=0.1)
    for step in range(2):
        optimizer.zero_grad()
        block(data(step, 8, (13, 11))).square().mean().backward()
        optimizer.step()
        with torch.inference_mode():
            block(data(step, 8, (13, 11)))
    assert all(p.grad is not None for p in block.parameters())


def test_built_and_used_in_inference_mode():
    with torch.inference_mode():
        block = build_block()
        y = block(data())
        state = block.state_dict()
    assert y.shape == data().shape
    assert max(map(orthogonality_error, lo_entries(state))) <= LIMIT


def test_the_hook_reaches_inserted_blocks():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
    insert_blocks(model, ["1"], "srl-lo", input_size=(3, *SIZE), options={"alpha": 0.5})
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(10):
        optimizer.zero_grad()
        model(data(step, 3)).square().mean().backward()
        optimizer.step()
        assert deviation(model) <= LIMIT


def test_the_hook_is_registered_by_the_first_transform_and_not_by_the_import():
    program = """
import copy, torch
from torch.optim.optimizer import _global_optimizer_post_hooks as hooks
import spectral_residual
from spectral_residual.transforms import LearnableOrthogonal
spectral_residual.create_block("srl-fft", 8, (4, 3))
counts = [len(hooks)]
transform = LearnableOrthogonal((4, 3))
counts.append(len(hooks))
others = LearnableOrthogonal((4, 3)), copy.deepcopy(transform)
counts.append(len(hooks))
print(counts)
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[0, 1, 1]"


# ---- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(12, 10), (9, 12), (24, 18)])
def test_other_sizes_name_both(size):
    block = build_block()
    assert isinstance(block, SRLBlock)
    expected = f"built for maps of 12x9 .* got {size[0]}x{size[1]}"
    with pytest.raises(ValueError, match=expected):
        block(data(0, 8, size))
    with pytest.raises(ValueError, match=expected):
        block.transform.inverse(data(0, 8, size).unsqueeze(1), size)


def test_start_is_random_and_orthogonal():
    torch.manual_seed(1)
    first, second = LearnableOrthogonal((20, 30)), LearnableOrthogonal((20, 30))
    assert deviation(first) <= 1e-6
    assert (first.P - second.P).abs().max() > 0.1
    before = first.P.detach().clone()
    first.reset_parameters()
    assert (first.P - before).abs().max() > 0.1
    assert deviation(first) <= 1e-6
