"""The SRL block against the formula written out, and the laws it keeps."""

from __future__ import annotations

import cmath
import copy
import itertools
import math
import pickle

import pytest
import torch
from srl_blocks import EXACT, compare_with_formula, largest_gap, random_block, random_maps

from spectral_residual import BLOCKS, SRLBlock, create_block, create_transform
from spectral_residual.transforms.bases import BASES

SRL_NAMES = [name for name in BLOCKS if name.startswith("srl-")]
SIZES = [(6, 8), (5, 7), (8, 5), (3, 4), (2, 2), (1, 1)]


# ---- the formula, with nothing of the package --------------------------------------------------


def dft_matrix(n):
    rows = [[cmath.exp(-2j * math.pi * (k * j % n) / n) for j in range(n)] for k in range(n)]
    return torch.tensor(rows, dtype=torch.complex128) / math.sqrt(n)


def pointwise_convolution(z, weight, groups):
    """1x1 convolution, group by group."""
    ins, outs = z.shape[1] // groups, weight.shape[0] // groups
    pieces = []
    for group in range(groups):
        kernel = weight[group * outs : (group + 1) * outs, :, 0, 0]
        inputs = z[:, group * ins : (group + 1) * ins]
        pieces.append(torch.einsum("oi,nihw->nohw", kernel, inputs))
    return torch.cat(pieces, dim=1)


def batch_normalisation(z, weight, bias, eps=1e-5):
    """With the statistics of the batch."""
    mean = z.mean(dim=(0, 2, 3), keepdim=True)
    variance = (z - mean).square().mean(dim=(0, 2, 3), keepdim=True)
    scaled = (z - mean) / torch.sqrt(variance + eps)
    return scaled * weight[:, None, None] + bias[:, None, None]


def middle(planes, p, groups):
    z = pointwise_convolution(planes, p["conv1.weight"], groups)
    z = batch_normalisation(z, p["bn1.weight"], p["bn1.bias"])
    z = p["relu.weight"] * z + p["relu.bias"]
    z = torch.where(z > 0, z, 0)
    z = pointwise_convolution(z, p["conv2.weight"], groups)
    return p["alpha"] * batch_normalisation(z, p["bn2.weight"], p["bn2.bias"])


def naive_fourier_block(x, p, groups, interleaved):
    channels, height, width = x.shape[1:]
    rows, columns = dft_matrix(height), dft_matrix(width)
    spectrum = (rows @ x.to(rows.dtype) @ columns.T)[..., : width // 2 + 1]
    planes = []
    if interleaved:
        for channel in range(channels):
            planes += [spectrum.real[:, channel], spectrum.imag[:, channel]]
    else:
        planes += [spectrum.real[:, channel] for channel in range(channels)]
        planes += [spectrum.imag[:, channel] for channel in range(channels)]
    planes = middle(torch.stack(planes, dim=1), p, groups)
    if interleaved:
        half = torch.complex(planes[:, 0::2], planes[:, 1::2])
    else:
        half = torch.complex(planes[:, :channels], planes[:, channels:])
    mirrored_rows = [-row % height for row in range(height)]
    mirrored_columns = [width - column for column in range(width // 2 + 1, width)]
    plane = torch.cat((half, half[:, :, mirrored_rows][..., mirrored_columns].conj()), dim=-1)
    return x + (rows.conj().T @ plane @ columns.conj()).real


def naive_real_block(x, p, groups, P, Q):
    spectrum = torch.einsum("uh,nchw,wv->ncuv", P, x, Q)
    return x + torch.einsum("uh,ncuv,wv->nchw", P, middle(spectrum, p, groups), Q)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("order", ["concatenated", "interleaved"])
@pytest.mark.parametrize("reduction", [2, 4])
@pytest.mark.parametrize("groups", [1, 8])
def test_fourier_block_is_the_formula(size, order, reduction, groups):
    block = random_block("srl-fft", 16, size, groups=groups, reduction=reduction, order=order)
    interleaved = order == "interleaved"
    compare_with_formula(
        block,
        random_maps(16, size, batch=3),
        lambda x, p: naive_fourier_block(x, p, groups, interleaved),
    )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("groups", "reduction"), [(1, 2), (2, 4), (2, 2)])
@pytest.mark.parametrize("name", ["srl-lo", "srl-dct", "srl-haar"])
def test_real_blocks_are_the_formula(name, size, groups, reduction):
    block = random_block(name, 8, size, groups=groups, reduction=reduction)
    if name == "srl-lo":
        compare_with_formula(
            block,
            random_maps(8, size, batch=3),
            lambda x, p: naive_real_block(x, p, groups, p["transform.P"], p["transform.Q"]),
        )
        return
    P, Q = (BASES[name.removeprefix("srl-")](n) for n in size)
    compare_with_formula(
        block, random_maps(8, size, batch=3), lambda x, p: naive_real_block(x, p, groups, P, Q.T)
    )


def test_concatenated_and_interleaved_differ_only_with_groups():
    x = random_maps(16, (6, 8))
    outputs = {}
    for order, groups in itertools.product(("concatenated", "interleaved"), (1, 8)):
        block = random_block("srl-fft", 16, (6, 8), groups=groups, order=order, reduction=1)
        outputs[order, groups] = block.eval()(x)
    assert largest_gap(outputs["concatenated", 8], outputs["interleaved", 8]) > 0.1

    concatenated = random_block("srl-fft", 4, (6, 8), groups=1, reduction=1)
    interleaved = random_block("srl-fft", 4, (6, 8), groups=1, reduction=1, order="interleaved")
    place = [0, 4, 1, 5, 2, 6, 3, 7]  # interleaved plane i is concatenated plane place[i]
    with torch.no_grad():
        for name, tensor in interleaved.state_dict().items():
            source = concatenated.state_dict()[name]
            if name.startswith("conv"):
                tensor.copy_(source[place][:, place])
            elif name.startswith("bn") and source.dim():
                tensor.copy_(source[place])
            else:
                tensor.copy_(source)
    x = random_maps(4, (6, 8))
    assert largest_gap(concatenated.eval()(x), interleaved.eval()(x)) <= EXACT


@pytest.mark.parametrize("order", ["concatenated", "interleaved"])
def test_groups_keep_parts_or_channels_apart(order):
    """Concatenated, 2 groups: one real, one imaginary. Interleaved: channels 0-1 and 2-3."""
    block = random_block("srl-fft", 4, (6, 7), groups=2, order=order).eval()
    x = random_maps(4, (6, 7), batch=1).requires_grad_()
    block(x)[0, 0, 2, 3].backward()
    reached = [bool((x.grad[0, channel].abs() > 1e-9).any()) for channel in range(4)]
    assert reached == ([True] * 4 if order == "concatenated" else [True, True, False, False])


@pytest.mark.parametrize("name", SRL_NAMES)
def test_every_output_sees_every_position(name):
    block = random_block(name, 8, (7, 6)).eval()
    x = random_maps(8, (7, 6), batch=1).requires_grad_()
    block(x)[0, 0, 2, 3].backward()
    seen = x.grad.abs().amax(dim=(0, 1)) > 1e-9
    assert seen.all()


@pytest.mark.parametrize("name", SRL_NAMES)
def test_wider_spectral_convolutions(name):
    """A 3x3 kernel with zeros around its centre is the 1x1 kernel."""
    narrow = random_block(name, 8, (6, 5)).eval()
    wide = create_block(name, 8, (6, 5), kernel_size=3).double().eval()
    state = narrow.state_dict()
    for key in ("conv1.weight", "conv2.weight"):
        state[key] = torch.nn.functional.pad(state[key], (1, 1, 1, 1))
    wide.load_state_dict(state)
    x = random_maps(8, (6, 5))
    assert largest_gap(narrow(x), wide(x)) <= EXACT
    torch.nn.init.normal_(wide.conv1.weight)
    assert wide(x).shape == x.shape
    assert largest_gap(narrow(x), wide(x)) > 0.01


# ---- alpha, names, shifts ----------------------------------------------------------------------


@pytest.mark.parametrize("name", SRL_NAMES)
@pytest.mark.parametrize("training", [True, False])
def test_identity_at_the_start_that_learns(name, training):
    torch.manual_seed(0)
    block = create_block(name, 16, (9, 6)).train(training)
    x = random_maps(16, (9, 6)).float()
    y = block(x)
    assert torch.equal(y, x)
    optimizer = torch.optim.SGD(block.parameters(), lr=0.1)
    (y * random_maps(16, (9, 6), seed=1).float()).sum().backward()
    assert block.alpha.grad.abs() > 1e-3
    assert block.conv1.weight.grad.abs().max() == 0
    optimizer.step()
    assert largest_gap(block(x), x) > 1e-3
    block.zero_grad()
    (block(x) * random_maps(16, (9, 6), seed=1).float()).sum().backward()
    for key, parameter in block.named_parameters():
        assert parameter.grad.abs().max() > 0, key


@pytest.mark.parametrize("name", SRL_NAMES)
def test_names_of_the_weights(name):
    batch_norm = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    expected = {"alpha", "conv1.weight", "conv2.weight", "relu.weight", "relu.bias"}
    expected |= {f"{part}.{key}" for part in ("bn1", "bn2") for key in batch_norm}
    if name == "srl-lo":
        expected |= {"transform.P", "transform.Q"}
    block = create_block(name, 16, (10, 7))
    shapes = {key: tuple(value.shape) for key, value in block.state_dict().items()}
    assert set(shapes) == expected
    assert shapes["alpha"] == (1,)
    fourier = name == "srl-fft"
    assert shapes["relu.weight"] == shapes["relu.bias"] == ((10, 4) if fourier else (10, 7))
    assert shapes["conv1.weight"] == ((16, 4, 1, 1) if fourier else (8, 8, 1, 1))
    assert shapes["conv2.weight"] == ((32, 2, 1, 1) if fourier else (16, 4, 1, 1))


@pytest.mark.parametrize("name", SRL_NAMES)
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda b: pickle.loads(pickle.dumps(b))])
def test_copies_compute_the_same(name, duplicate):
    block = random_block(name, 8, (6, 5)).eval()
    other = duplicate(block)
    x = random_maps(8, (6, 5))
    assert torch.equal(block(x), other(x))
    if name != "srl-lo":
        x = random_maps(8, (9, 8))
        assert torch.equal(block(x), other(x))


def linear_pair(weight):
    """Fourier block whose hidden planes come in pairs u, -u, so that the ReLU cancels out.

    ``relu(W u) - relu(-W u) = W u`` where W is not negative and B is 0; real and imaginary
    parts share their weights: what remains is a filter, without the non-linearity.
    """
    block = create_block("srl-fft", 4, (6, 7), groups=1, reduction=1, alpha=0.8).double().eval()
    first, second = (
        random_maps(1, (2, 4), batch=1)[0, 0],
        random_maps(1, (4, 2), batch=1, seed=1)[0, 0],
    )
    real = torch.cat((first, -first))
    back = torch.cat((second, -second), dim=1)
    with torch.no_grad():
        block.conv1.weight.copy_(torch.block_diag(real, real)[..., None, None])
        block.conv2.weight.copy_(torch.block_diag(back, back)[..., None, None])
        block.relu.weight.copy_(weight)
        block.bn1.running_var.fill_(2.0)
    return block


@pytest.mark.parametrize("shift", [(1, 0), (0, 1), (2, 3), (5, 4)])
@pytest.mark.parametrize("constant", [True, False])
def test_without_the_non_linearity_rolling_the_input_rolls_the_output(shift, constant):
    generator = torch.Generator().manual_seed(0)
    weight = torch.rand(6, 4, dtype=torch.float64, generator=generator)
    block = linear_pair(torch.full_like(weight, 0.9) if constant else weight)
    x = random_maps(4, (6, 7))
    assert largest_gap(block(x), x) > 0.1
    assert largest_gap(block(x.roll(shift, (-2, -1))), block(x).roll(shift, (-2, -1))) <= 1e-12


def test_the_non_linearity_is_not_equivariant_to_rolling():
    """Documents the model: ReLU sees real and imaginary parts, which a shift mixes."""
    block = random_block("srl-fft", 16, (6, 8)).eval()
    with torch.no_grad():
        block.relu.weight.fill_(1.0)
        block.relu.bias.zero_()
        for norm in (block.bn1, block.bn2):
            norm.reset_running_stats()
            norm.bias.zero_()
    x = random_maps(16, (6, 8))
    rolled, expected = block(x.roll(1, -1)), block(x).roll(1, -1)
    assert largest_gap(rolled, expected) > 0.05


@pytest.mark.parametrize("name", SRL_NAMES)
def test_samples_of_a_batch_are_independent_in_evaluation(name):
    block = random_block(name, 8, (6, 5)).eval()
    x = random_maps(8, (6, 5), batch=3)
    assert largest_gap(block(x)[1:2], block(x[1:2])) <= 1e-14
    assert largest_gap(block(x.to(memory_format=torch.channels_last)), block(x)) <= 1e-12
    assert block(x[:0]).shape == (0, 8, 6, 5)


# ---- other map sizes, other precisions ---------------------------------------------------------

RESAMPLED = [name for name in SRL_NAMES if name != "srl-lo"]


@pytest.mark.parametrize("name", RESAMPLED)
@pytest.mark.parametrize("new_size", [(16, 12), (4, 3), (9, 7), (8, 5), (1, 1), (33, 18)])
def test_other_sizes_use_resampled_filters(name, new_size):
    size = (8, 6)
    block = random_block(name, 8, size).eval()
    fresh = create_block(name, 8, new_size).double().eval()
    transform = create_transform(name.removeprefix("srl-"), size)
    state = block.state_dict()
    for key in ("relu.weight", "relu.bias"):
        state[key] = transform.resample(state[key], size, new_size)
    fresh.load_state_dict(state)
    x = random_maps(8, new_size)
    y = block(x)
    assert largest_gap(y, fresh(x)) <= 1e-12
    y.sum().backward()
    for parameter in (block.relu.weight, block.relu.bias, block.conv1.weight):
        assert parameter.grad.abs().max() > 0


@pytest.mark.parametrize("name", RESAMPLED)
def test_constant_filters_do_not_depend_on_the_size_built_for(name):
    blocks = [create_block(name, 8, size, alpha=0.7).double() for size in ((8, 6), (13, 17))]
    own = {k: v for k, v in blocks[0].state_dict().items() if not k.startswith("relu.")}
    blocks[1].load_state_dict(own, strict=False)
    for block in blocks:
        with torch.no_grad():
            block.relu.weight.fill_(0.8)
            block.relu.bias.fill_(0.1)
    x = random_maps(8, (11, 10))
    assert largest_gap(blocks[0].eval()(x), blocks[1].eval()(x)) <= 1e-12


HALVES = [(torch.float16, 4e-3), (torch.bfloat16, 3e-2)]


def relative(y, expected):
    return ((y.double() - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("name", SRL_NAMES)
@pytest.mark.parametrize("size", [(5, 7), (33, 31), (24, 18)])
@pytest.mark.parametrize(("dtype", "limit"), HALVES)
@pytest.mark.parametrize("how", ["autocast", "module", "module-resampled"])
def test_half_precision_is_close_to_float64(name, size, dtype, limit, how):
    if how == "module-resampled" and name == "srl-lo":
        return
    built_for = (12, 10) if how == "module-resampled" else size
    block = random_block(name, 16, built_for).eval()
    x = random_maps(16, size)
    branch = block(x) - x
    block.float()
    if how == "autocast":
        with torch.autocast("cpu", dtype=dtype):
            y = block(x.float())
        assert y.dtype == torch.float32
        assert relative(y - x, branch) <= limit
        with torch.autocast("cpu", dtype=dtype):
            assert block(x.to(dtype)).dtype == dtype
    else:
        y = block.to(dtype)(x.to(dtype))
        assert y.dtype == dtype
        assert relative(y, x + branch) <= limit


@pytest.mark.parametrize("name", ["srl-fft", "srl-lo", "srl-dct"])
@pytest.mark.parametrize(("dtype", "limit"), HALVES)
def test_gradients_under_autocast(name, dtype, limit):
    block = random_block(name, 16, (9, 7)).train()
    x = random_maps(16, (9, 7))
    block(x).square().mean().backward()
    expected = {k: p.grad.clone() for k, p in block.named_parameters()}
    block.zero_grad()
    block.float()
    with torch.autocast("cpu", dtype=dtype):
        loss = block(x.float()).square().mean()
    loss.backward()
    for key, parameter in block.named_parameters():
        assert parameter.grad.dtype == torch.float32
        assert relative(parameter.grad, expected[key]) <= 10 * limit, key


# ---- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 0}, "channels must be a positive integer, got 0"),
        ({"channels": 15}, "divisible by reduction, got 15 and 2"),
        ({"channels": 12}, "inner planes .* groups=8; channels=12"),
        ({"reduction": 0}, "reduction must be a positive integer, got 0"),
        ({"groups": True}, "groups must be a positive integer, got True"),
        ({"groups": 5}, "inner planes .* divisible by groups, got groups=5"),
        ({"kernel_size": 2}, "kernel_size must be odd and positive, got 2"),
        ({"kernel_size": -1}, "kernel_size must be odd and positive, got -1"),
        ({"order": "concatinated"}, "did you mean 'concatenated'"),
        ({"size": (8, 0)}, "two positive integers"),
        ({"gruops": 4}, "unknown option of block 'srl-fft' 'gruops'; did you mean 'groups'"),
    ],
)
def test_bad_options_are_refused(options, message):
    arguments = {"channels": 16, "size": (8, 6), **options}
    with pytest.raises(ValueError, match=message):
        create_block("srl-fft", arguments.pop("channels"), arguments.pop("size"), **arguments)


def test_unknown_blocks_are_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match="unknown block 'srl-fftt'; did you mean 'srl-fft'"):
        create_block("srl-fftt", 16, (8, 6))


@pytest.mark.parametrize("shape", [(2, 8, 8, 6), (16, 8, 6), (2, 16, 4, 8, 6)])
def test_bad_maps_are_refused(shape):
    block = create_block("srl-fft", 16, (8, 6))
    with pytest.raises(ValueError, match=r"expected a feature map of shape \(N, 16, H, W\), got"):
        block(torch.zeros(shape))


def test_a_class_takes_parts_that_the_builder_makes():
    built = create_block("srl-dct", 8, (6, 5), reduction=4, groups=1)
    parts = SRLBlock(8, (6, 5), create_transform("dct", (6, 5)), reduction=4, groups=1)
    assert repr(built) == repr(parts)
    assert "channels=8, size=(6, 5), order='concatenated'" in repr(built)
    assert "frequencies=(6, 5)" in repr(built)
    parts.load_state_dict(built.state_dict())


@pytest.mark.parametrize(
    ("name", "size"), [("srl-fft", (6, 5)), ("srl-lo", (6, 5)), ("srl-fft", (3, 6, 5))]
)
def test_checkpoints_whose_alpha_has_no_axis_load(name, size):
    torch.manual_seed(0)
    state = create_block(name, 16, size, alpha=0.7, spread=0.5).state_dict()
    state["alpha"] = state["alpha"].squeeze()
    network = torch.nn.Sequential(create_block(name, 16, size))
    network.load_state_dict({f"0.{key}": value for key, value in state.items()})
    assert network[0].alpha.shape == (1,)
    assert network[0].alpha.item() == pytest.approx(0.7)
