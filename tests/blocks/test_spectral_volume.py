"""The Fourier transform over T, H and W, and its SRL block, against formulas written out."""

from __future__ import annotations

import cmath
import itertools
import math

import pytest
import torch
from srl_blocks import compare_with_formula

from spectral_residual import create_block
from spectral_residual.blocks import SRLBlock
from spectral_residual.cost import measure_cost
from spectral_residual.transforms import FourierTransform, FourierVolume
from spectral_residual.transforms.fourier import column_weights

EXACT = 1e-10
METHODS = ["fft", "matmul"]
SIZES = [(3, 6, 8), (4, 5, 7), (2, 8, 5), (1, 3, 4), (1, 1, 1), (5, 1, 2), (6, 4, 1), (7, 2, 6)]
by_size = pytest.mark.parametrize("size", SIZES, ids=str)
by_method = pytest.mark.parametrize("method", METHODS)


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def gap(a, b):
    assert a.shape == b.shape
    return (a - b).abs().max().item()


# ---- the formula, with nothing of the package --------------------------------------------------


def dft_matrix(n):
    rows = [[cmath.exp(-2j * math.pi * (k * j % n) / n) for j in range(n)] for k in range(n)]
    return torch.tensor(rows, dtype=torch.complex128) / math.sqrt(n)


def whole_dft(x):
    """Complex spectrum (..., T, H, W) of (..., T, H, W), axis by axis."""
    t, h, w = map(dft_matrix, x.shape[-3:])
    return torch.einsum("at,bh,cw,...thw->...abc", t, h, w, x.to(torch.complex128))


def extended(half, width):
    """Whole spectrum of a stored half: its mirror image, columns 0 and W / 2 as they are."""
    frames, height = half.shape[-3:-1]
    whole = torch.zeros(*half.shape[:-1], width, dtype=half.dtype)
    for t, h, w in itertools.product(range(frames), range(height), range(width)):
        if w <= width // 2:
            whole[..., t, h, w] = half[..., t, h, w]
        else:
            whole[..., t, h, w] = half[..., -t % frames, -h % height, width - w].conj()
    return whole


def whole_inverse(half, width):
    return whole_dft(extended(half, width).conj()).conj().real


# ---- the transform -----------------------------------------------------------------------------


@by_size
@by_method
def test_forward_is_half_of_the_dft(size, method):
    x = random(2, 3, *size)
    spectrum = FourierVolume(method)(x)
    half = whole_dft(x)[..., : size[2] // 2 + 1]
    assert gap(spectrum, torch.stack((half.real, half.imag), dim=1)) <= EXACT
    assert spectrum.shape[3:] == FourierVolume().spectral_size(size)


@by_size
@by_method
def test_inverse_of_any_half_is_the_real_part_of_the_whole_inverse(size, method):
    transform = FourierVolume(method)
    z = random(2, 2, 3, *transform.spectral_size(size))
    expected = whole_inverse(torch.complex(z[:, 0], z[:, 1]), size[2])
    assert gap(transform.inverse(z, size), expected) <= EXACT
    x = random(2, 3, *size, seed=1)
    assert gap(transform.inverse(transform(x), size), x) <= EXACT


@by_size
@by_method
def test_parseval_and_adjoint(size, method):
    transform = FourierVolume(method)
    x, z = random(1, 2, *size), random(1, 2, 2, *transform.spectral_size(size), seed=1)
    spectrum, weights = transform(x), column_weights(size[2], x)
    assert (spectrum.square() * weights).sum().item() == pytest.approx(x.square().sum().item())
    forward, backward = (spectrum * z * weights).sum(), (x * transform.inverse(z, size)).sum()
    assert forward.item() == pytest.approx(backward.item(), rel=1e-9, abs=1e-12)


@by_method
def test_one_frame_is_the_transform_of_an_image(method):
    x, z = random(2, 3, 1, 6, 5), random(2, 2, 3, 1, 6, 3, seed=1)
    volume, image = FourierVolume(method), FourierTransform(method)
    assert gap(volume(x).squeeze(3), image(x.squeeze(2))) <= EXACT
    assert (
        gap(volume.inverse(z, (1, 6, 5)).squeeze(2), image.inverse(z.squeeze(3), (6, 5))) <= EXACT
    )


def test_a_pattern_and_the_same_pattern_moving_back_are_two_frequencies():
    t, w = torch.arange(8.0).double(), torch.arange(12.0).double()
    spectra = []
    for direction in (1, -1):
        phase = 2 * math.pi * (3 * w[None, :] / 12 - direction * 2 * t[:, None] / 8)
        x = torch.cos(phase)[None, None, :, None, :]
        spectra.append(FourierVolume()(x)[0, :, 0, :, 0].square().sum(0))
    peaks = [divmod(int(energy.argmax()), 7) for energy in spectra]
    assert peaks == [(-2 % 8, 3), (2, 3)]
    assert gap(spectra[0], spectra[1].flip(0).roll(1, 0)) <= EXACT


@by_method
@pytest.mark.parametrize("size", [(3, 2, 4), (2, 3, 5)])
def test_gradcheck(size, method):
    transform = FourierVolume(method)
    x = random(1, 1, *size).requires_grad_()
    z = random(1, 2, 1, *transform.spectral_size(size)).requires_grad_()
    assert torch.autograd.gradcheck(transform, (x,))
    assert torch.autograd.gradcheck(lambda z: transform.inverse(z, size), (z,))


@by_method
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float16, 1e-3), (torch.bfloat16, 8e-3)])
def test_half_precision_is_transformed_in_float32(method, dtype, limit):
    """The only error is that of rounding the result, inside autocast too."""
    transform = FourierVolume(method)
    x = random(2, 3, 5, 7, 6).to(dtype)
    expected = transform(x.double())
    with torch.autocast("cpu", dtype=dtype):
        single = transform(x.float())
        spectrum = transform(x)
    assert (spectrum.dtype, single.dtype) == (dtype, torch.float32)
    assert (spectrum.double() - expected).norm() <= limit * expected.norm()
    assert gap(single.double(), expected) <= 1e-5
    back = transform.inverse(spectrum, (5, 7, 6))
    assert back.dtype == dtype
    assert (back.double() - x.double()).norm() <= 2 * limit * x.double().norm()


# ---- filters for other sizes -------------------------------------------------------------------


@by_size
def test_resampling_keeps_constants_and_does_nothing_at_the_same_size(size):
    weights = random(*FourierVolume().spectral_size(size))
    assert gap(FourierVolume().resample(weights, size, size), weights) <= EXACT
    for new in ((4, 9, 6), (1, 2, 3), (7, 1, 1)):
        found = FourierVolume().resample(torch.full_like(weights, 1.7), size, new)
        assert found.shape == FourierVolume().spectral_size(new)
        assert (found - 1.7).abs().max() <= EXACT


@pytest.mark.parametrize("size", [(4, 4, 4), (3, 4, 5), (5, 2, 6), (1, 6, 9)])
def test_doubling_puts_means_of_neighbours_in_the_whole_volume_in_between(size):
    weights = random(*FourierVolume().spectral_size(size))
    whole = extended(weights.to(torch.complex128), size[2]).real
    new = tuple(2 * n for n in size)
    found = FourierVolume().resample(weights, size, new)
    assert found.shape == FourierVolume().spectral_size(new)
    for position in itertools.product(*map(range, found.shape)):
        near = itertools.product(*({i // 2, -(-i // 2)} for i in position))
        values = [whole[tuple(i % n for i, n in zip(index, size, strict=True))] for index in near]
        assert abs(found[position] - sum(values) / len(values)) <= EXACT


def test_a_filter_that_is_the_same_for_all_of_time_is_resampled_as_for_images():
    plane = random(6, 4)
    plane = (plane + plane.flip(0).roll(1, 0)) / 2  # its own mirror image over H
    found = FourierVolume().resample(plane.expand(5, 6, 4), (5, 6, 7), (3, 9, 10))
    image = FourierTransform().resample(plane, (6, 7), (9, 10))
    assert gap(found, image.expand(3, 9, 6)) <= EXACT
    weights = random(5, 6, 4).requires_grad_()
    FourierVolume().resample(weights, (5, 6, 7), (9, 13, 16)).sum().backward()
    assert (weights.grad > 0).all()


# ---- the block ---------------------------------------------------------------------------------


def build(channels, size, **options):
    """Block in float64 whose every parameter and statistic is drawn at random."""
    torch.manual_seed(sum(size) + channels)
    block = create_block("srl-fft-3d", channels, size, **{"alpha": 0.7, "spread": 0.5, **options})
    with torch.no_grad():
        for norm in (block.bn1, block.bn2):
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.normal_(std=0.3)
            norm.running_mean.normal_(std=0.2)
            norm.running_var.uniform_(0.5, 2.0)
        block.relu.bias.normal_(std=0.3)
    return block.double()


def pointwise(z, weight, groups):
    ins, outs = z.shape[1] // groups, weight.shape[0] // groups
    pieces = []
    for group in range(groups):
        kernel = weight[group * outs : (group + 1) * outs, :, 0, 0]
        inputs = z[:, group * ins : (group + 1) * ins]
        pieces.append(torch.einsum("oi,nithw->nothw", kernel, inputs))
    return torch.cat(pieces, dim=1)


def normalise(z, weight, bias, eps=1e-5):
    mean = z.mean(dim=(0, 2, 3, 4), keepdim=True)
    deviation = ((z - mean).square().mean(dim=(0, 2, 3, 4), keepdim=True) + eps).sqrt()
    return (z - mean) / deviation * weight[:, None, None, None] + bias[:, None, None, None]


def naive_block(x, p, groups, interleaved):
    channels, width = x.shape[1], x.shape[-1]
    half = whole_dft(x)[..., : width // 2 + 1]
    parts = torch.stack((half.real, half.imag), dim=2 if interleaved else 1)
    z = normalise(
        pointwise(parts.flatten(1, 2), p["conv1.weight"], groups), p["bn1.weight"], p["bn1.bias"]
    )
    z = p["relu.weight"] * z + p["relu.bias"]
    z = torch.where(z > 0, z, 0)
    z = normalise(pointwise(z, p["conv2.weight"], groups), p["bn2.weight"], p["bn2.bias"])
    real, imag = (z[:, 0::2], z[:, 1::2]) if interleaved else (z[:, :channels], z[:, channels:])
    return x + p["alpha"] * whole_inverse(torch.complex(real, imag), width)


@by_size
@pytest.mark.parametrize("order", ["concatenated", "interleaved"])
@pytest.mark.parametrize(("groups", "reduction"), [(8, 2), (1, 4)])
def test_block_is_the_formula(size, order, groups, reduction):
    block = build(8, size, groups=groups, reduction=reduction, order=order)
    compare_with_formula(
        block,
        random(3, 8, *size),
        lambda x, p: naive_block(x, p, groups, order == "interleaved"),
    )


@pytest.mark.parametrize("training", [True, False])
def test_identity_at_the_start_that_learns(training):
    torch.manual_seed(0)
    block = create_block("srl-fft-3d", 16, (3, 5, 6), spread=0.5).train(training)
    x = random(2, 16, 3, 5, 6).float()
    y = block(x)
    assert torch.equal(y, x)
    (y * random(2, 16, 3, 5, 6, seed=1).float()).sum().backward()
    assert block.alpha.grad.abs() > 1e-3
    torch.optim.SGD(block.parameters(), lr=0.1).step()
    assert gap(block(x), x) > 1e-3


def test_an_output_sees_all_frames_and_positions_of_its_video():
    block = build(4, (3, 6, 5), groups=1).eval()
    x = random(2, 4, 3, 6, 5).requires_grad_()
    block(x)[0, 1, 2, 3, 4].backward()
    seen = x.grad.abs() > 1e-9
    assert seen[0].all()
    assert not seen[1].any()
    assert gap(block(x[:1]), block(x)[:1]) <= 1e-13
    assert block(x[:0]).shape == (0, 4, 3, 6, 5)


def backwards(x):
    """Frame t takes the place of frame -t: backwards in time, the first frame kept."""
    return x.flip(2).roll(1, 2)


def test_only_unlike_weights_over_frequency_tell_the_direction_of_time():
    """With one W for all frequencies a video run backwards gives the result run backwards.

    Frame 0 keeps its place: a shift in time changes what the ReLU does to real and imaginary
    parts, so that the frames in plain reverse give another result even then.
    """
    x = random(2, 8, 5, 6, 4)
    for weight in (1.0, 0.6):
        block = build(8, (5, 6, 4)).eval()
        torch.nn.init.constant_(block.relu.weight, weight)
        torch.nn.init.constant_(block.relu.bias, 0.1)
        assert gap(block(backwards(x)), backwards(block(x))) <= 1e-12
        assert gap(block(x.flip(2)), block(x).flip(2)) > 0.05
    block = build(8, (5, 6, 4)).eval()
    mirrored = build(8, (5, 6, 4)).eval()
    for old, new in zip(block.relu.parameters(), mirrored.relu.parameters(), strict=True):
        new.data = old.data.flip(0).roll(1, 0)
    assert gap(block(backwards(x)), backwards(block(x))) > 0.05
    assert gap(block(backwards(x)), backwards(mirrored(x))) <= 1e-12


@pytest.mark.parametrize("new", [(3, 8, 6), (5, 11, 7), (1, 4, 9)])
def test_other_sizes_use_resampled_filters(new):
    block = build(8, (4, 8, 6)).eval()
    fresh = create_block("srl-fft-3d", 8, new).double().eval()
    state = block.state_dict()
    for key in ("relu.weight", "relu.bias"):
        state[key] = FourierVolume().resample(state[key], (4, 8, 6), new)
    fresh.load_state_dict(state)
    x = random(2, 8, *new)
    assert gap(block(x), fresh(x)) <= 1e-12


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float16, 4e-3), (torch.bfloat16, 3e-2)])
def test_half_precision_is_close_to_float64(dtype, limit):
    block = build(16, (4, 9, 7)).eval().requires_grad_(False)
    x = random(2, 16, 4, 9, 7)
    branch = block(x) - x
    block.float()
    with torch.autocast("cpu", dtype=dtype):
        z = block(x.float())
        assert block(x.to(dtype)).dtype == dtype
    assert z.dtype == torch.float32
    assert ((z - x) - branch).norm() <= limit * branch.norm()
    y = block.to(dtype)(x.to(dtype))
    assert y.dtype == dtype
    assert (y.double() - x - branch).norm() <= limit * (x + branch).norm()


def test_names_shapes_and_cost():
    block = create_block("srl-fft-3d", 16, (8, 20, 30), spread=0.5)
    assert isinstance(block, SRLBlock)
    assert {k: tuple(p.shape) for k, p in block.named_parameters()} == {
        "alpha": (1,),
        "conv1.weight": (16, 4, 1, 1),
        "bn1.weight": (16,),
        "bn1.bias": (16,),
        "relu.weight": (8, 20, 16),
        "relu.bias": (8, 20, 16),
        "conv2.weight": (32, 2, 1, 1),
        "bn2.weight": (32,),
        "bn2.bias": (32,),
    }
    positions, log = 8 * 20 * 16, math.log2(8 * 20 * 30)
    transforms = 2 * 16 * 8 * 20 * 30 * log
    assert block.extra_operations((5, 16, 8, 20, 30)) == pytest.approx(transforms, rel=1e-12)
    cost = measure_cost(block, (16, 8, 20, 30))
    assert cost.operations == pytest.approx(2 * 16 * 32 // 8 * positions + transforms, rel=1e-12)


SPREAD = [("srl-lo", (40, 40)), ("srl-fft", (3, 40, 40)), ("srl-fft-3d", (3, 40, 40))]


@pytest.mark.parametrize(("name", "size"), SPREAD)
def test_spread_is_the_deviation_of_w_around_one(name, size):
    torch.manual_seed(0)
    filters = [
        m for m in create_block(name, 8, size, spread=0.5).children() if hasattr(m, "filters")
    ]
    assert len(filters) == (2 if (name, len(size)) == ("srl-fft", 3) else 1)
    for relu in filters:
        n = relu.weight.numel()
        assert relu.weight.mean().item() == pytest.approx(1, abs=2 / math.sqrt(n))
        assert relu.weight.std().item() == pytest.approx(0.5, rel=4 / math.sqrt(2 * n))
        assert not relu.bias.any()
    state = torch.get_rng_state()
    plain = create_block(name, 8, size)
    assert (plain.relu.weight == 1).all()
    torch.set_rng_state(state)
    assert torch.equal(plain.conv1.weight, create_block(name, 8, size, spread=0.5).conv1.weight)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (0, 8, 6)}, r"three positive integers \(T, H, W\), got \(0, 8, 6\)"),
        ({"channels": 0}, "channels must be a positive integer, got 0"),
        ({"channels": 12}, "inner planes .* groups=8; channels=12"),
        ({"order": "interleafed"}, "did you mean 'interleaved'"),
        ({"kernel_size": 3}, "kernel_size must be 1 for volumes, got 3"),
        ({"spread": -0.1}, "spread must be a finite number of at least 0, got -0.1"),
        ({"spread": math.nan}, "spread must be .*got nan"),
    ],
)
def test_bad_options_are_refused(options, message):
    arguments = {"channels": 16, "size": (4, 8, 6), **options}
    with pytest.raises(ValueError, match=message):
        create_block("srl-fft-3d", arguments.pop("channels"), arguments.pop("size"), **arguments)
    with pytest.raises(ValueError, match=r"three positive integers \(T, H, W\), got \(8, 6\)"):
        SRLBlock(16, (8, 6), FourierVolume())


@pytest.mark.parametrize("shape", [(2, 16, 8, 6), (2, 8, 4, 8, 6), (16, 4, 8, 6)])
def test_bad_maps_are_refused(shape):
    block = create_block("srl-fft-3d", 16, (4, 8, 6))
    for call in (lambda: block(torch.zeros(shape)), lambda: block.extra_operations(shape)):
        with pytest.raises(ValueError, match=r"a video of shape \(N, 16, T, H, W\), got"):
            call()
