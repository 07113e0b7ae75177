"""Temporal shift against a loop over frames and channels, and what it must not touch."""

from __future__ import annotations

import pytest
import torch

from spectral_residual import create_block
from spectral_residual.blocks import TemporalShift, check_options
from spectral_residual.cost import measure_cost


def videos(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def naive_shift(x, shifted):
    """Frame by frame and channel by channel."""
    y = torch.zeros_like(x)
    frames = x.shape[2]
    for t in range(frames):
        for c in range(x.shape[1]):
            source = t - 1 if c < shifted else t + 1 if c < 2 * shifted else t
            if 0 <= source < frames:
                y[:, c, t] = x[:, c, source]
    return y


@pytest.mark.parametrize("frames", [1, 2, 3, 8])
@pytest.mark.parametrize(
    ("channels", "fraction", "shifted"),
    [(16, None, 2), (8, None, 1), (23, None, 2), (12, 0.25, 3), (6, 0.5, 3), (10, 0.3, 3)],
)
def test_shift_is_the_loop(frames, channels, fraction, shifted):
    options = {} if fraction is None else {"fraction": fraction}
    block = create_block("tsm", channels, (frames, 3, 2), **options)
    x = videos(2, channels, frames, 3, 2).requires_grad_()
    y = block(x)
    assert torch.equal(y, naive_shift(x.detach(), shifted))
    cotangent = videos(*x.shape, seed=1)
    (y * cotangent).sum().backward()
    back = naive_shift(cotangent.flip(2), shifted).flip(2)  # the adjoint shifts the other way
    assert torch.equal(x.grad, back)


def test_forward_in_time_first():
    x = torch.arange(1.0, 5.0)[None, None, :, None, None].expand(1, 8, 4, 1, 1)
    y = TemporalShift(8)(x)[0, :, :, 0, 0]
    assert y[0].tolist() == [0, 1, 2, 3]
    assert y[1].tolist() == [2, 3, 4, 0]
    assert torch.equal(y[2:], x[0, 2:, :, 0, 0])


def test_running_backwards_gives_another_result():
    x = videos(1, 16, 4, 3, 2)
    block = TemporalShift(16)
    assert not torch.equal(block(x.flip(2)), block(x).flip(2))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_dtype_number_of_videos_and_any_frames(dtype):
    block = create_block("tsm", 8, (4, 3, 2))
    y = block(torch.ones(2, 8, 5, 4, 6, dtype=dtype))
    assert (y.dtype, y.shape) == (dtype, (2, 8, 5, 4, 6))
    assert block(torch.ones(0, 8, 4, 3, 2)).shape == (0, 8, 4, 3, 2)


def test_it_is_free():
    block = create_block("tsm", 16, (4, 6, 5))
    assert block.extra_operations((3, 16, 4, 6, 5)) == 0
    assert not list(block.parameters())
    assert not block.state_dict()
    for accounting in ("paper", "paper+bn", "exact"):
        cost = measure_cost(block, (16, 4, 6, 5), accounting)
        assert (cost.operations, cost.parameters) == (0, 0)


def test_options():
    check_options("tsm", {"fraction": 0.25}, video=True)
    with pytest.raises(ValueError, match="unknown option of block 'tsm' 'fractoin'"):
        check_options("tsm", {"fractoin": 0.25}, video=True)
    with pytest.raises(ValueError, match="'tsm' is not defined for images: expected a size"):
        check_options("tsm", {})
    assert repr(create_block("tsm", 16, (4, 6, 5))) == "TemporalShift(channels=16, shifted=2)"


@pytest.mark.parametrize(
    ("channels", "options", "message"),
    [
        (0, {}, "channels must be a positive integer, got 0"),
        (16, {"fraction": 0}, "fraction must be above 0 and at most 0.5, got 0"),
        (16, {"fraction": 0.6}, "fraction must be above 0 and at most 0.5, got 0.6"),
        (7, {}, "must be at least one channel, got 0.125 of 7"),
    ],
)
def test_bad_options_are_refused(channels, options, message):
    with pytest.raises(ValueError, match=message):
        create_block("tsm", channels, (4, 6, 5), **options)


@pytest.mark.parametrize("shape", [(8, 16, 3, 2), (2, 8, 4, 3, 2), (16, 4, 3, 2)])
def test_bad_maps_are_refused(shape):
    block = create_block("tsm", 16, (4, 3, 2))
    for call in (lambda: block(torch.zeros(shape)), lambda: block.extra_operations(shape)):
        with pytest.raises(ValueError, match=r"videos of shape \(N, 16, T, H, W\), got"):
            call()
