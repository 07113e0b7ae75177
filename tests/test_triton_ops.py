"""The Triton operators: run in the interpreter, compiled for a GPU, and on one where there is one.

`triton_checks` holds the comparisons. They run in a process of their own, since Triton decides
when it is imported whether it compiles or interprets.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from spectral_residual.kernels.gpu import ops
from spectral_residual.kernels.gpu.launch import (
    half_waves,
    programs,
    quarter_tile,
    shared_memory,
    warps,
)

TESTS = Path(__file__).parent
needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="the package triton is not installed"
)


def run(*command, interpret):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TRITON_INTERPRET": str(int(interpret))}
    process = subprocess.run(
        [sys.executable, *command],
        cwd=TESTS.parent, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stdout[-5000:] + process.stderr[-5000:]
    return process.stdout


def run_checks(interpret):
    plain = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist")
    return run(*plain, TESTS / "triton_checks.py", interpret=interpret)


@needs_triton
def test_in_the_interpreter():
    assert " passed" in run_checks(interpret=True)


@needs_triton
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu():
    assert " passed" in run_checks(interpret=False)


@needs_triton
def test_all_kernels_compile_for_a_gpu():
    """The interpreter takes programs that the compiler does not."""
    results = json.loads(run(TESTS / "triton_compilation.py", interpret=False).splitlines()[-1])
    assert len({result["kernel"] for result in results}) == 6
    assert all(result["tensor_cores"] for result in results)
    assert results[-1]["size"] == [96, 72]
    needed = shared_memory((96, 72), torch.bfloat16, "tf32x3")
    assert results[-1]["shared_memory"] == needed == 40960


def test_import_does_not_need_triton():
    program = (
        "import sys, spectral_residual.kernels.gpu.ops as ops\n"
        "assert 'triton' not in sys.modules\n"
        "sys.modules['triton'] = None\n"
        "try:\n"
        "    import spectral_residual.kernels.gpu.kernels\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    assert "need the package triton" in run("-c", program, interpret=False)


H100 = SimpleNamespace(
    name="H100", major=9, minor=0, multi_processor_count=132, shared_memory_per_block_optin=232448
)
CUDA = torch.device("cuda")


def device_properties(monkeypatch, **changes):
    properties = SimpleNamespace(**{**vars(H100), **changes})
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)


@pytest.fixture
def h100(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    device_properties(monkeypatch)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", [(1, 1), (12, 9), (64, 48), (96, 72), (127, 127)])
def test_usable_on_an_h100(h100, size, dtype):
    assert ops.unavailable_reason(CUDA, size, dtype) is None


def test_reasons_not_to_use_it(h100, monkeypatch):
    bf16 = torch.bfloat16
    assert ops.unavailable_reason(CUDA, (128, 96), bf16) is None
    assert ops.unavailable_reason(CUDA, (128, 96), precision="tf32") is None
    assert "393216 bytes of shared memory, H100 has 232448" in ops.unavailable_reason(
        CUDA, (128, 96)
    )
    for size in ((129, 8), (8, 200), (128, 128)):
        assert f"{size[0]}x{size[1]}" in ops.unavailable_reason(CUDA, size, bf16)
    assert "torch.float64" in ops.unavailable_reason(CUDA, (8, 8), torch.float64)
    assert "planes are on cpu" in ops.unavailable_reason(torch.device("cpu"), (8, 8))
    device_properties(monkeypatch, major=7, minor=5, name="T4")
    assert "T4 has compute capability 7.5" in ops.unavailable_reason(CUDA, (8, 8))
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "need an NVIDIA GPU" in ops.unavailable_reason(CUDA, (8, 8))
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert ops.unavailable_reason(torch.device("cpu"), (8, 8)) is None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "not installed" in ops.unavailable_reason(CUDA, (8, 8))


def test_geometry(h100):
    """One wave of programs; shared memory as the compiler reports it for an H100."""
    assert quarter_tile((96, 72)) == quarter_tile((127, 64)) == (64, 64)
    assert quarter_tile((128, 30)) == (128, 16)
    assert quarter_tile((31, 32)) == (16, 32)
    assert [warps(size) for size in ((16, 12), (48, 72), (64, 48), (96, 72), (128, 96))] == [
        1, 2, 4, 4, 8
    ]  # fmt: skip
    assert programs((32, 128, 96, 72), CUDA) == 2
    assert programs((32, 512, 96, 72), CUDA) == 1
    assert programs((3, 16, 16, 12), CUDA) == 3
    assert shared_memory((96, 72), torch.float32, "tf32") == 81920
    assert shared_memory((96, 72), torch.float32, "tf32x3") == 163840


@pytest.mark.parametrize("side", [1, 2, 5, 12])
def test_half_waves(side):
    """A folded sequence times the matrices is its Fourier transform, in the first half."""
    block, half = 16, side // 2 + 1
    cosine, sine = half_waves(side, block, torch.float64, torch.device("cpu"))
    x = torch.randn(side, dtype=torch.float64)
    mirrored = torch.tensor([x[-j] if 2 * j % side else 0 for j in range(half)])
    z = torch.fft.rfft(x, norm="ortho")
    torch.testing.assert_close(cosine[:half, :half] @ (x[:half] + mirrored), z.real)
    torch.testing.assert_close(sine[:half, :half] @ (mirrored - x[:half]), z.imag)
    for matrix in (cosine, sine):
        assert matrix.shape == (block, block)
        torch.testing.assert_close(matrix, matrix.mT, rtol=0, atol=0)
        assert matrix[half:].abs().max() == 0


def inputs(**changes):
    """Arguments of `filter_planes`, with some replaced."""
    shapes = {"scale": (2, 3), "shift": (2, 3), "weight": (4, 3), "bias": (4, 3)}
    return {"h": torch.zeros(2, 3, 4, 5), **{k: torch.zeros(s) for k, s in shapes.items()},
            **changes}  # fmt: skip


@pytest.mark.parametrize("operator", [ops.filter_planes, ops.spectral_planes])
def test_inputs_that_do_not_fit(operator):
    for name, shape in (("scale", (3, 2)), ("shift", (3,)), ("weight", (4, 5)), ("bias", (3, 4))):
        with pytest.raises(ValueError, match=f"expected {name} of shape .*got"):
            operator(**inputs(**{name: torch.zeros(shape)}))
    with pytest.raises(ValueError, match="expected planes of shape .N, K, H, W.*4, 5"):
        operator(**inputs(h=torch.zeros(3, 4, 5)))
    with pytest.raises(TypeError, match="float64"):
        operator(**inputs(h=torch.zeros(2, 3, 4, 5).double()))
    with pytest.raises(ValueError, match="sides up to 128.*got 129x5"):
        operator(**inputs(h=torch.zeros(1, 3, 129, 5)))
    with pytest.raises(ValueError, match="did you mean"):
        operator(**inputs(), precision="tf32x2")


def test_other_inputs_that_do_not_fit():
    with pytest.raises(ValueError, match="expected planes of shape"):
        ops.plane_statistics(torch.zeros(4, 5))
    with pytest.raises(ValueError, match="128x128"):
        ops.plane_statistics(torch.zeros(1, 1, 128, 128))
    for shape, width in (((1, 2, 3, 4, 3), 6), ((1, 1, 3, 4, 3), 5), ((1, 2, 4, 3), 5)):
        with pytest.raises(ValueError, match=f"for width {width}, got"):
            ops.inverse_planes(torch.zeros(shape), width)
    with pytest.raises(TypeError, match="int64"):
        ops.inverse_planes(torch.zeros(1, 2, 3, 4, 3).long(), 5)
