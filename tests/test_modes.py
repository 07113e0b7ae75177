"""The Fourier block that keeps the lowest frequencies alone, against whole planes written out."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from spectral_residual import create_block
from spectral_residual.cost import measure_cost
from spectral_residual.transforms import FourierTransform
from spectral_residual.transforms.fourier_modes import FourierModes
from srl_blocks import random_block, random_maps, relative

CASES = [((5, 5), 5), ((6, 5), 5), ((5, 6), 5), ((6, 6), 5), ((16, 12), 9), ((13, 31), 1)]
CASES += [((48, 64), 17), ((97, 31), 17), ((18, 33), 3)]


def kept_rows(height, modes) -> list[int]:
    """Rows of an FFT of `height` rows whose frequency is one of -r to r."""
    reach = modes // 2
    return [row for row in range(height) if min(row, height - row) <= reach]


def kept_planes(x, modes) -> Tensor:
    """Stored frequencies of maps, (N, 2 C, m, r + 1), cut from the FFT of the whole plane."""
    whole = torch.fft.fft2(x, norm="ortho")
    kept = whole[:, :, kept_rows(x.shape[2], modes)][..., : modes // 2 + 1]
    return torch.cat((kept.real, kept.imag), dim=1)


def whole_inverse(planes, size) -> Tensor:
    """Real part of the inverse of the whole plane, whose other frequencies are 0.

    Columns 1 to r stand for their mirror images too, column 0 is taken as it is.
    """
    modes, columns = planes.shape[2:]
    kept = torch.complex(*planes.chunk(2, dim=1))
    weights = torch.where(torch.arange(columns) == 0, 1.0, 2.0).to(planes.dtype)
    whole = kept.new_zeros(*kept.shape[:2], *size)
    rows = torch.tensor(kept_rows(size[0], modes))[:, None]
    whole[:, :, rows, torch.arange(columns)] = kept * weights
    return torch.fft.ifft2(whole, norm="ortho").real


def normalise(norm, z) -> Tensor:
    """Batch normalisation, by the function of PyTorch; updates running statistics."""
    return functional.batch_norm(
        z,
        norm.running_mean,
        norm.running_var,
        norm.weight,
        norm.bias,
        norm.training,
        norm.momentum,
        norm.eps,
    )


def naive(block, x, modes) -> Tensor:
    z = kept_planes(x, modes)
    z = normalise(block.bn1, functional.conv2d(z, block.conv1.weight, groups=block.conv1.groups))
    z = torch.relu(block.relu.weight * z + block.relu.bias)
    z = normalise(block.bn2, functional.conv2d(z, block.conv2.weight, groups=block.conv2.groups))
    return x + whole_inverse(block.alpha * z, tuple(x.shape[2:]))


def step(run, block, x) -> dict[str, Tensor]:
    """Output, gradients and statistics after forward and backward."""
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    y = run(x)
    y.backward(random_maps(x.shape[1], x.shape[2:], len(x), seed=1).to(y))
    found = {"output": y.detach(), "input": x.grad}
    found |= {name: parameter.grad for name, parameter in block.named_parameters()}
    return found | {name: b for name, b in block.named_buffers() if "running" in name}


def compare(found, expected, limit):
    assert found.keys() == expected.keys()
    largest = max(value.abs().max().item() for value in expected.values())
    gaps = {k: relative(found[k], v, 1e-3 * largest) for k, v in expected.items()}
    assert max(gaps.values()) <= limit, gaps


@pytest.mark.parametrize(("size", "modes"), CASES)
@pytest.mark.parametrize("kernel", ["reference", "rewrite"])
@pytest.mark.parametrize("training", [True, False])
def test_against_the_whole_plane(size, modes, kernel, training):
    block = random_block("srl-fft", 16, size, modes=modes).train(training)
    other = copy.deepcopy(block)
    other.kernel = kernel
    x = random_maps(16, size, batch=7)
    expected = step(lambda x: naive(block, x, modes), block, x)
    compare(step(other, other, x), expected, 1e-12)
    with torch.no_grad():
        assert relative(other.eval()(x) - x, naive(block.eval(), x, modes) - x) <= 1e-12


@pytest.mark.parametrize("training", [True, False])
def test_memory_formats(training):
    block = random_block("srl-fft", 16, (12, 9), modes=7, kernel="rewrite").train(training)
    other = copy.deepcopy(block)
    x = random_maps(16, (12, 9), batch=3)
    found = step(other, other, x.contiguous(memory_format=torch.channels_last))
    compare(found, step(block, block, x), 1e-12)
    assert found["output"].is_contiguous(memory_format=torch.channels_last)
    strided = torch.cat((x, x), dim=3)[..., ::2]
    with torch.no_grad():
        found, expected = (other.eval()(maps) for maps in (strided, strided.contiguous()))
    assert relative(found, expected) <= 1e-14


@pytest.mark.parametrize("options", [{"groups": 2}, {"reduction": 4}, {"groups": 1}])
def test_groups_and_reductions(options):
    """One group mixes real and imaginary parts, which the rewrite does not."""
    block = random_block("srl-fft", 16, (10, 9), modes=7, kernel="auto", **options).train()
    assert block.explain().startswith("reference" if options == {"groups": 1} else "rewrite")
    other = copy.deepcopy(block)
    x = random_maps(16, (10, 9), batch=3)
    expected = step(lambda x: naive(block, x, 7), block, x)
    compare(step(other, other, x), expected, 1e-12)


@pytest.mark.parametrize("size", [(9, 9), (10, 14), (11, 16)])
def test_transform(size):
    """Kept values are those of the full transform; transforming back and again changes nothing."""
    transform, full = FourierModes(9), FourierTransform()
    x = random_maps(3, size)
    spectrum = transform(x)
    assert spectrum.shape == (2, 2, 3, *transform.spectral_size(size)) == (2, 2, 3, 9, 5)
    rows = kept_rows(size[0], 9)
    assert relative(spectrum, full(x)[:, :, :, rows][..., :5]) <= 1e-14
    smooth = transform.inverse(spectrum, size)
    assert relative(smooth, whole_inverse(spectrum.flatten(1, 2), size)) <= 1e-14
    assert relative(transform(smooth), spectrum) <= 1e-14
    half = transform.inverse(transform(x.bfloat16()), size)
    assert half.dtype == torch.bfloat16
    assert ((half.double() - smooth).norm() / smooth.norm()).item() <= 1e-2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    block = random_block("srl-fft", 32, (19, 16), modes=9, kernel="rewrite").eval()
    x = random_maps(32, (19, 16))
    with torch.no_grad():
        branch = block(x) - x
        block.float()
        with torch.autocast("cpu", dtype=dtype):
            y = block(x.float())
        assert y.dtype == torch.float32
        assert ((y.double() - x - branch).norm() / branch.norm()).item() <= 1e-2
        y = block.to(dtype)(x.to(dtype))
        assert y.dtype == dtype
        assert ((y.double() - x - branch).norm() / (x + branch).norm()).item() <= 3e-2


# ---- any size with the same weights ------------------------------------------------------------


@pytest.mark.parametrize("size", [(9, 9), (32, 24), (17, 40)])
def test_other_sizes_take_the_same_weights(size):
    block = random_block("srl-fft", 16, (16, 12), modes=9, kernel="rewrite").eval()
    fresh = create_block("srl-fft", 16, size, modes=9).double().eval()
    fresh.load_state_dict(block.state_dict())
    assert fresh.relu.weight.shape == fresh.relu.bias.shape == (9, 5)
    x = random_maps(16, size)
    y = block(x)
    y.sum().backward()
    with torch.no_grad():
        assert relative(y, naive(block, x, 9)) <= 1e-12
        assert torch.equal(y, fresh(x))
    assert block.relu.weight.grad.abs().max() > 0
    assert block(x[:0]).shape == (0, 16, *size)


def test_a_block_without_modes_is_unchanged():
    plain, none = (create_block("srl-fft", 16, (16, 12), **o) for o in ({}, {"modes": None}))
    assert repr(plain) == repr(none)
    assert type(none.transform) is FourierTransform
    assert {k: v.shape for k, v in plain.state_dict().items()} == {
        k: v.shape for k, v in none.state_dict().items()
    }
    assert plain.relu.weight.shape == (16, 7)
    assert (
        plain.state_dict().keys()
        == create_block("srl-fft", 16, (16, 12), modes=9).state_dict().keys()
    )


def test_videos_and_costs():
    """Frames are transformed one by one; the convolutions cost the same at every size."""
    block = create_block("srl-fft", 16, (3, 12, 10), modes=5, alpha=0.5)
    assert block.relu.weight.shape == (5, 3)
    assert block.double()(random_maps(48, (12, 10)).view(2, 16, 3, 12, 10)).isfinite().all()
    costs = []
    for size in ((16, 12), (64, 48)):
        block = create_block("srl-fft", 16, size, modes=5)
        layers = {layer.name: layer for layer in measure_cost(block, (16, *size)).layers}
        costs.append(
            [(layers[name].operations, layers[name].parameters) for name in ("conv1", "conv2")]
        )
        assert layers[""].operations == 2 * 16 * 5 * (size[1] + 5) * size[0]
    assert costs[0] == costs[1] == [(16 * 4 * 15, 64)] * 2
    transform, full = FourierModes(65), FourierTransform()
    assert transform.operations(8, (96, 72)) == full.operations(8, (96, 72))


def test_the_backward_pass_keeps_nothing_of_the_size_of_the_maps():
    block = random_block("srl-fft", 16, (64, 48), modes=5, kernel="rewrite").train()
    x = random_maps(16, (64, 48)).requires_grad_()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: kept.append(t.untyped_storage().nbytes()) or t, lambda t: t
    ):
        block(x)
    assert kept
    assert max(kept) < x.untyped_storage().nbytes() / 20


# ---- compiled ----------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.filterwarnings("error")
def test_one_graph(training):
    torch._dynamo.reset()
    eager = random_block("srl-fft", 16, (10, 12), modes=7, kernel="auto").train(training)
    block = copy.deepcopy(eager)
    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    x = random_maps(16, (10, 12))
    compare(step(compiled, block, x), step(eager, eager, x), 1e-12)


def test_exported_graph_is_real_and_takes_any_batch():
    block = random_block("srl-fft", 16, (10, 12), modes=7, kernel="auto").eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    x = random_maps(16, (10, 12), batch=5)
    program = torch.export.export(block, (x[:2],), dynamic_shapes=({0: batch},))
    values = [node.meta.get("val") for node in program.run_decompositions().graph.nodes]
    assert not any(isinstance(v, Tensor) and v.dtype.is_complex for v in values)
    with torch.no_grad():
        assert relative(program.module()(x), block(x)) <= 1e-12


# ---- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("modes", "message"),
    [
        (0, "modes must be a positive odd integer, got 0"),
        (-3, "got -3"),
        (True, "got True"),
        (9.0, r"got 9\.0"),
        (8, "modes must be odd, .* expected 7 or 9, got 8"),
        (13, "modes=13: expected maps of at least 13x13, got 16x12"),
    ],
)
def test_bad_modes_are_refused(modes, message):
    with pytest.raises(ValueError, match=message):
        create_block("srl-fft", 16, (16, 12), modes=modes)


@pytest.mark.parametrize("kernel", ["reference", "rewrite"])
def test_maps_smaller_than_the_modes_are_refused(kernel):
    block = create_block("srl-fft", 16, (16, 12), modes=9, kernel=kernel)
    message = "modes=9: expected maps of at least 9x9, got 8x12"
    with pytest.raises(ValueError, match=message):
        block(torch.zeros(2, 16, 8, 12))
    if kernel == "rewrite":
        assert "16 maps of 16x12 become planes of 9x5 frequencies" in block.explain()
        with pytest.raises(ValueError, match=message):
            block.explain((8, 12))


@pytest.mark.parametrize(("name", "size"), [("srl-dct", (16, 12)), ("srl-fft-3d", (4, 16, 12))])
def test_only_the_planar_fourier_transform_has_modes(name, size):
    transform = name.removeprefix("srl-")
    with pytest.raises(
        ValueError, match=f"'srl-fft', got '{name}' with the transform '{transform}'"
    ):
        create_block(name, 16, size, modes=9)
    with pytest.raises(ValueError, match="unknown option of block 'srl-fft' 'mode'; did you mean"):
        create_block("srl-fft", 16, size[-2:], mode=9)
