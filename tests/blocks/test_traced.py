"""Graphs of `torch.jit.trace`: right at other map sizes, or an error."""

from __future__ import annotations

import pytest
import torch

from spectral_residual import BLOCKS, VIDEO_BLOCKS, create_block

CASES = [(name, False) for name in BLOCKS] + [(name, True) for name in VIDEO_BLOCKS]
OTHERS = [(8, 6), (12, 11), (10, 12), (24, 5), (11, 10), (12, 10)]


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize(("name", "video"), CASES, ids=[f"{n}-{v}" for n, v in CASES])
def test_a_traced_block_is_right_or_stops(name, video):
    torch.manual_seed(0)
    time = (4,) if video else ()
    block = create_block(name, 64, (*time, 12, 10)).double().eval()
    for label, parameter in block.named_parameters():
        if not label.startswith("transform."):
            parameter.data.add_(0.3 * torch.randn_like(parameter))
    x = torch.randn(2, 64, *time, 12, 10, dtype=torch.float64)
    traced = torch.jit.trace(block, x, check_trace=False)
    torch.testing.assert_close(traced(x), block(x), rtol=0, atol=1e-5)
    for size in OTHERS:
        y = torch.randn(3, 64, *time, *size, dtype=torch.float64)
        try:
            got = traced(y)
        except RuntimeError:
            assert size != (12, 10)
            continue
        torch.testing.assert_close(got, block(y), rtol=0, atol=1e-5)
