"""The recommended SRL block in ONNX Runtime, at the traced size and at others."""

from __future__ import annotations

import copy

import pytest
import torch
from srl_naive import LAYOUTS, randomise

from spectral_residual import create_block

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def build(name, channels, size, **options):
    torch.manual_seed(0)
    return randomise(create_block(name, channels, size, alpha=0.7, **options)).eval()


def session_of(block, x, dynamic=None):
    """ONNX Runtime session of a block, exported with dynamic axes {axis: Dim}."""
    shapes = None if dynamic is None else (dynamic,)
    program = torch.onnx.export(block, (x,), dynamo=True, dynamic_shapes=shapes, verbose=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    model = program.model_proto.SerializeToString()
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def error(session, block, x) -> float:
    """Largest error to the block in float64, by the range of its output."""
    (y,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    with torch.no_grad():
        expected = copy.deepcopy(block).double()(x.double())
    assert y.shape == expected.shape
    return ((torch.from_numpy(y) - expected).abs().max() / (expected.max() - expected.min())).item()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("channels", "size"), [(256, (64, 48)), (512, (28, 28)), (128, (16, 12))])
def test_any_batch_and_any_size(channels, size, layout):
    block = build("srl", channels, size)
    x = torch.randn(2, channels, *size).contiguous(memory_format=LAYOUTS[layout])
    dim = torch.export.Dim
    dynamic = {0: dim("batch"), 2: dim("height", min=12), 3: dim("width", min=12)}
    session = session_of(block, x, dynamic)
    for shape in ((1, *size), (3, 33, 20), (2, 12, 57)):
        batch, *other = shape
        assert error(session, block, torch.randn(batch, channels, *other)) <= 1e-5


@pytest.mark.parametrize("name", ["srl", "srl-dct", "srl-fft", "srl-haar", "srl-lo"])
@pytest.mark.parametrize("modes", [5, None])
def test_one_size(name, modes):
    """With one size, and any batch, every block is exported."""
    options = {"modes": 8 if modes is None else modes} if name == "srl" else {"modes": modes}
    block = build(name, 16, (9, 12), **options)
    session = session_of(block, torch.randn(2, 16, 9, 12), {0: torch.export.Dim("batch")})
    for batch in (1, 2, 5):
        assert error(session, block, torch.randn(batch, 16, 9, 12)) <= 1e-5


@pytest.mark.parametrize("size", [(4, 9, 12)])
def test_video(size):
    block = build("srl", 16, size)
    session = session_of(block, torch.randn(2, 16, *size), {0: torch.export.Dim("batch")})
    for batch in (1, 2, 5):
        assert error(session, block, torch.randn(batch, 16, *size)) <= 1e-5
