"""The block on Triton kernels: run in the interpreter, compiled for a GPU, and on one.

`triton_block_checks` holds the comparisons, in a process of its own as in test_triton_ops.py.
"""

from __future__ import annotations

import json
import os

import pytest
import torch

from spectral_residual.kernels.gpu import mixing_ops as ops
from srl_blocks import random_block, random_maps
from test_triton_ops import TESTS, needs_triton, run


def run_checks(interpret):
    plain = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist")
    return run(*plain, TESTS / "triton_block_checks.py", interpret=interpret)


@needs_triton
def test_in_the_interpreter():
    assert " passed" in run_checks(interpret=True)


@needs_triton
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu():
    assert " passed" in run_checks(interpret=False)


@needs_triton
def test_convolutions_compile_for_a_gpu():
    output = run(TESTS / "triton_block_compilation.py", interpret=False)
    results = json.loads(output.splitlines()[-1])
    assert {result["kernel"] for result in results} == {"mix_kernel", "weight_gradient_kernel"}
    assert all(result["tensor_cores"] and result["wide_loads"] for result in results)
    assert not any(result["atomics"] for result in results)
    assert max(result["shared_memory"] for result in results) <= 96 * 1024


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="interpreted here")
def test_error_without_a_gpu():
    block = random_block("srl-fft", 4, (5, 6), groups=2, kernel="triton").float()
    with pytest.raises(ValueError, match="kernel='triton' is not possible: "):
        block(random_maps(4, (5, 6)).float())
    assert block.explain().startswith("triton: not possible, ")


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("srl-dct", {}, "do not know the transform .*Transform"),
        ("srl-fft", {"order": "interleaved"}, "mix real and imaginary parts"),
        ("srl-fft", {"kernel_size": 3}, "wider than 1"),
    ],
)
def test_options_that_it_does_not_know(name, options, reason):
    with pytest.raises(ValueError, match=f"kernel='triton' is not possible: .*{reason}"):
        random_block(name, 8, (5, 6), kernel="triton", **options)


@pytest.mark.parametrize(
    ("channels", "blocks_"),
    [((1, 1, 3), (16, 16, 64)), ((4, 32, 64), (32, 64, 64)), ((4, 65, 17), (64, 32, 64))],
)
def test_tiles(channels, blocks_):
    assert ops.blocks_of(channels) == blocks_


def test_import_does_not_need_triton():
    program = (
        "import sys\n"
        "import spectral_residual.kernels.gpu.rewrite\n"
        "assert 'triton' not in sys.modules\n"
    )
    run("-c", program, interpret=False)
