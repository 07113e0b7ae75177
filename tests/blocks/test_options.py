"""Any options of any block: our errors, or a block that works; odd inputs to every block."""

from __future__ import annotations

import contextlib
import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from srl_naive import naive, randomise

from spectral_residual import BLOCKS, VIDEO_BLOCKS, LearnableOrthogonal, SRLBlock, create_block
from spectral_residual.blocks import option_names

CASES = [(name, False) for name in BLOCKS] + [(name, True) for name in VIDEO_BLOCKS]
IDS = [f"{name}-video" if video else name for name, video in CASES]
# Odd numbers, types, signs and sizes; sound values are likelier.
VALUES = some.one_of(
    some.sampled_from([1, 2, 3, 4, 5, 8, True, False, None, 0.5, 0.0]),
    some.sampled_from(["concatenated", "interleaved", "both", "dot", "embedded", "gaussian", ""]),
    some.sampled_from(["channel", "time", "channel+time", "softmax", "dot_product", "polynomial"]),
    some.integers(-2, 70),
    some.floats(allow_nan=True, allow_infinity=True),
    some.tuples(some.integers(-1, 12), some.integers(-1, 12)),
    some.lists(some.integers(0, 4), max_size=3),
    some.just(b"4"),
    some.just({}),
)


@pytest.mark.parametrize(("name", "video"), CASES, ids=IDS)
@settings(max_examples=25, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.too_slow])  # fmt: skip
@given(data=some.data())
def test_options_give_our_errors_or_a_block(name, video, data):
    known = option_names(name, video=video)
    chosen = (
        data.draw(some.lists(some.sampled_from(known), max_size=2, unique=True)) if known else []
    )
    options = {option: data.draw(VALUES, label=option) for option in chosen}
    channels = data.draw(some.sampled_from([16, 64, 24, 1]))
    size = ((3,) if video else ()) + (7, 6)
    x = torch.randn(2, channels, *size, dtype=torch.float64)
    with contextlib.suppress(ValueError, TypeError):
        block = randomise(create_block(name, channels, size, **options).double().eval())
        check(block, x, block(x), options)


def check(block, x, y, options):
    assert y.shape == x.shape
    finite = all(
        math.isfinite(value) for value in options.values() if isinstance(value, (int, float))
    )
    if finite:
        assert torch.isfinite(y).all()
    few = isinstance(block, SRLBlock) and block.transform.modes is not None and x.dim() == 4
    if few and not isinstance(block.transform, LearnableOrthogonal):
        torch.testing.assert_close(y, naive(block, x), rtol=1e-8, atol=1e-8)


def built(name, video):
    torch.manual_seed(0)
    size = ((4,) if video else ()) + (8, 6)
    block = create_block(name, 64, size).double().eval()
    for label, parameter in block.named_parameters():
        if not label.startswith("transform."):
            parameter.data.add_(0.2 * torch.randn_like(parameter))
    return block, torch.randn(2, 64, *size, dtype=torch.float64)


@pytest.mark.parametrize(("name", "video"), CASES, ids=IDS)
def test_odd_views_are_read_as_what_they_show(name, video):
    """Negated and conjugated views that are lazy, expanded and overlapping memory."""
    block, x = built(name, video)
    lazy = torch.complex(torch.zeros_like(x), -x).conj().imag
    assert lazy.is_neg()
    expanded = x[:1].expand_as(x)
    overlapping = x.as_strided(x.shape, (x.stride(0), x.stride(1) // 2, *x.stride()[2:]))
    strided = torch.stack([x, -x], dim=-1)[..., 0]
    for view in (lazy, expanded, overlapping, strided):
        torch.testing.assert_close(block(view), block(view.clone().contiguous()))


@pytest.mark.parametrize(("name", "video"), CASES, ids=IDS)
def test_wrong_inputs_are_errors_or_defined(name, video):
    block, x = built(name, video)
    empty = block(x[:0])
    assert empty.shape == x[:0].shape
    others = () if name == "tsm" else (x.to(torch.int64), x.to(torch.complex128))
    for wrong in (x[:, :5], x[0, 0], x[..., None, None], *others):
        with pytest.raises((ValueError, TypeError, RuntimeError)):
            block(wrong)
    with pytest.raises((ValueError, TypeError, AttributeError)):
        block(None)
    bad = x.clone()
    bad[0, 0] = float("nan")
    first, second = block(bad)
    assert not torch.isfinite(first).all(), "a NaN is not hidden"
    torch.testing.assert_close(second, block(x)[1])


@pytest.mark.parametrize(("name", "video"), CASES, ids=IDS)
def test_maps_without_positions_are_errors_or_empty(name, video):
    block, x = built(name, video)
    none = x[..., :0]
    with contextlib.suppress(ValueError, RuntimeError):
        assert block(none).shape == none.shape
