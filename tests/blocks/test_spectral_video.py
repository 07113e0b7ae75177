"""The SRL block for videos against the formula written out frame by frame, and its laws."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from srl_blocks import compare_with_formula, largest_gap, random_maps
from torch import nn

from spectral_residual import (
    BLOCKS,
    VIDEO_BLOCKS,
    SRLVideoBlock,
    create_block,
    create_transform,
    insert_blocks,
)
from spectral_residual.blocks import check_options
from spectral_residual.cost import measure_cost
from spectral_residual.transforms.bases import BASES

SRL_NAMES = [name for name in BLOCKS if name.startswith("srl-")]  # frame by frame, and conv_t
OPERATIONS = ["channel+time", "channel", "time"]
SIZES = [(3, 6, 8), (4, 5, 7), (2, 8, 5), (1, 3, 4), (5, 1, 2)]


def build(name, channels, size, **options):
    """Block in float64 whose every parameter and statistic is drawn at random."""
    torch.manual_seed(sum(size) + channels)
    block = create_block(name, channels, size, **{"alpha": 0.7, **options}).double()
    with torch.no_grad():
        for key, module in block.named_children():
            if key.startswith("bn"):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(std=0.3)
                module.running_mean.normal_(std=0.2)
                module.running_var.uniform_(0.5, 2.0)
            elif key.startswith("relu"):
                module.weight.normal_(mean=1.0, std=0.5)
                module.bias.normal_(std=0.3)
    return block


# ---- the formula, with nothing of the package: lists of frames (N, planes, Hs, Ws) --------------


def dft_matrix(n):
    turns = torch.outer(torch.arange(n), torch.arange(n)) % n
    angle = -2 * math.pi * turns.double() / n
    return torch.complex(angle.cos(), angle.sin()) / math.sqrt(n)


def over_channels(frames, weight, groups):
    ins, outs = frames[0].shape[1] // groups, weight.shape[0] // groups
    result = []
    for frame in frames:
        pieces = []
        for group in range(groups):
            kernel = weight[group * outs : (group + 1) * outs, :, 0, 0]
            inputs = frame[:, group * ins : (group + 1) * ins]
            pieces.append(torch.einsum("oi,nihw->nohw", kernel, inputs))
        result.append(torch.cat(pieces, dim=1))
    return result


def over_time(frames, weight):
    result = []
    for to in range(len(frames)):
        mixed = torch.zeros_like(frames[0])
        for source in range(len(frames)):
            mixed = mixed + weight[to, source, 0, 0] * frames[source]
        result.append(mixed)
    return result


def normalise(frames, weight, bias, eps=1e-5):
    """With the statistics of all frames of the batch."""
    count = sum(frame[:, 0].numel() for frame in frames)
    mean = sum(frame.sum(dim=(0, 2, 3)) for frame in frames)[:, None, None] / count
    squares = sum((frame - mean).square().sum(dim=(0, 2, 3)) for frame in frames)
    deviation = torch.sqrt(squares[:, None, None] / count + eps)
    return [
        (frame - mean) / deviation * weight[:, None, None] + bias[:, None, None] for frame in frames
    ]


def spectral_relu(frames, weight, bias):
    filtered = [weight * frame + bias for frame in frames]
    return [torch.where(frame > 0, frame, 0) for frame in filtered]


def middle(frames, p, operations, groups):
    def convolve(frames, key):
        if operations == "time":
            return over_time(frames, p[f"{key}.conv.weight"])
        return over_channels(frames, p[f"{key}.weight"], groups)

    z = normalise(convolve(frames, "conv1"), p["bn1.weight"], p["bn1.bias"])
    z = spectral_relu(z, p["relu.weight"], p["relu.bias"])
    if operations == "channel+time":
        z = normalise(over_time(z, p["conv_t.conv.weight"]), p["bn_t.weight"], p["bn_t.bias"])
        z = spectral_relu(z, p["relu_t.weight"], p["relu_t.bias"])
    z = normalise(convolve(z, "conv2"), p["bn2.weight"], p["bn2.bias"])
    return [p["alpha"] * frame for frame in z]


def naive_fourier_block(x, p, operations, groups, interleaved):
    channels, _, height, width = x.shape[1:]
    rows, columns = dft_matrix(height), dft_matrix(width)
    frames = []
    for frame in x.unbind(2):
        half = (rows @ frame.to(rows.dtype) @ columns.T)[..., : width // 2 + 1]
        parts = [half.real, half.imag]
        planes = torch.stack(parts, dim=2) if interleaved else torch.stack(parts, dim=1)
        frames.append(planes.flatten(1, 2))
    result = []
    mirrored_rows = [-row % height for row in range(height)]
    mirrored_columns = [width - column for column in range(width // 2 + 1, width)]
    for planes in middle(frames, p, operations, groups):
        if interleaved:
            half = torch.complex(planes[:, 0::2], planes[:, 1::2])
        else:
            half = torch.complex(planes[:, :channels], planes[:, channels:])
        plane = torch.cat((half, half[:, :, mirrored_rows][..., mirrored_columns].conj()), dim=-1)
        result.append((rows.conj().T @ plane @ columns.conj()).real)
    return x + torch.stack(result, dim=2)


def naive_real_block(x, p, operations, groups, P, Q):
    spectra = [torch.einsum("uh,nchw,wv->ncuv", P, frame, Q) for frame in x.unbind(2)]
    frames = middle(spectra, p, operations, groups)
    frames = [torch.einsum("uh,ncuv,wv->nchw", P, frame, Q) for frame in frames]
    return x + torch.stack(frames, dim=2)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("order", ["concatenated", "interleaved"])
@pytest.mark.parametrize("operations", ["channel+time", "channel"])
@pytest.mark.parametrize(("groups", "reduction"), [(8, 2), (1, 4)])
def test_fourier_block_is_the_formula(size, order, operations, groups, reduction):
    block = build(
        "srl-fft", 16, size, operations=operations, groups=groups, reduction=reduction, order=order
    )
    interleaved = order == "interleaved"
    compare_with_formula(
        block,
        random_maps(16, size, batch=3),
        lambda x, p: naive_fourier_block(x, p, operations, groups, interleaved),
    )


@pytest.mark.parametrize("size", SIZES)
def test_fourier_block_over_time_alone_is_the_formula(size):
    block = build("srl-fft", 6, size, operations="time")
    compare_with_formula(
        block,
        random_maps(6, size, batch=3),
        lambda x, p: naive_fourier_block(x, p, "time", 1, False),
    )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("operations", OPERATIONS)
@pytest.mark.parametrize("name", ["srl-lo", "srl-haar"])
def test_real_blocks_are_the_formula(name, size, operations):
    block = build(name, 8, size, operations=operations)
    if name == "srl-lo":
        compare_with_formula(
            block,
            random_maps(8, size, batch=3),
            lambda x, p: naive_real_block(x, p, operations, 2, p["transform.P"], p["transform.Q"]),
        )
        return
    P, Q = (BASES["haar"](n) for n in size[1:])
    compare_with_formula(
        block,
        random_maps(8, size, batch=3),
        lambda x, p: naive_real_block(x, p, operations, 2, P, Q.T),
    )


# ---- what reaches what -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operations", "channels", "frames"),
    [("channel+time", True, True), ("channel", True, False), ("time", False, True)],
)
def test_an_output_sees_all_positions_and_the_channels_and_frames_of_its_operations(
    operations, channels, frames
):
    groups = {} if operations == "time" else {"groups": 1}
    block = build("srl-fft", 4, (3, 6, 5), operations=operations, **groups).eval()
    x = random_maps(4, (3, 6, 5), batch=2).requires_grad_()
    block(x)[0, 1, 2, 3, 4].backward()
    seen = x.grad.abs() > 1e-9
    assert seen[0, 1, 2].all()
    assert not seen[1].any()
    assert bool(seen[0, [0, 2, 3], 2].any()) == channels
    assert bool(seen[0, 1, [0, 1]].any()) == frames
    assert not channels or seen[0, :, 2].all()
    assert not frames or seen[0, 1].all()


@pytest.mark.parametrize("name", SRL_NAMES)
def test_over_channels_alone_is_the_block_for_images_on_every_frame(name):
    block = build(name, 16, (3, 6, 5), operations="channel")
    image = create_block(name, 16, (6, 5)).double()
    image.load_state_dict(block.state_dict())
    x = random_maps(16, (3, 6, 5))
    for training in (False, True):
        y = block.train(training)(x)
        frames = image.train(training)(x.transpose(1, 2).flatten(0, 1))
        assert largest_gap(y, frames.unflatten(0, (2, 3)).transpose(1, 2)) <= 1e-12


def test_reversing_the_frames():
    """The output follows where frames are kept apart, and does not where they are mixed."""
    x = random_maps(16, (4, 6, 5))
    for operations, mixed in (("channel", False), ("channel+time", True), ("time", True)):
        block = build("srl-fft", 16, (4, 6, 5), operations=operations).eval()
        difference = largest_gap(block(x.flip(2)), block(x).flip(2))
        assert difference > 0.05 if mixed else difference <= 1e-12


# ---- start, names, copies, other sizes ----------------------------------------------------------


@pytest.mark.parametrize("name", SRL_NAMES)
@pytest.mark.parametrize("operations", OPERATIONS)
def test_identity_at_the_start_that_learns(name, operations):
    torch.manual_seed(0)
    block = create_block(name, 16, (3, 5, 6), operations=operations)
    x, cotangent = random_maps(16, (3, 5, 6)).float(), random_maps(16, (3, 5, 6), seed=1).float()
    assert torch.equal(block.eval()(x), x)
    y = block.train()(x)
    assert torch.equal(y, x)
    optimizer = torch.optim.SGD(block.parameters(), lr=0.1)
    (y * cotangent).sum().backward()
    assert block.alpha.grad.abs() > 1e-3
    optimizer.step()
    block.zero_grad()
    (block(x) * cotangent).sum().backward()
    for key, parameter in block.named_parameters():
        assert parameter.grad.abs().max() > 0, key


def test_names_and_shapes_of_the_weights():
    shapes = {
        k: tuple(p.shape) for k, p in create_block("srl-fft", 16, (4, 10, 7)).named_parameters()
    }
    spectrum = (10, 4)
    assert shapes == {
        "alpha": (1,),
        "conv1.weight": (16, 4, 1, 1),
        "bn1.weight": (16,),
        "bn1.bias": (16,),
        "relu.weight": spectrum,
        "relu.bias": spectrum,
        "conv_t.conv.weight": (4, 4, 1, 1),
        "bn_t.weight": (16,),
        "bn_t.bias": (16,),
        "relu_t.weight": spectrum,
        "relu_t.bias": spectrum,
        "conv2.weight": (32, 2, 1, 1),
        "bn2.weight": (32,),
        "bn2.bias": (32,),
    }
    block = create_block("srl-fft", 16, (4, 10, 7), operations="time")
    assert block.conv1.conv.weight.shape == block.conv2.conv.weight.shape == (4, 4, 1, 1)
    assert block.bn1.num_features == block.bn2.num_features == 32
    assert not hasattr(block, "conv_t")


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda b: pickle.loads(pickle.dumps(b))])
def test_copies_compute_the_same(duplicate):
    block = build("srl-lo", 8, (3, 6, 5)).eval()
    x = random_maps(8, (3, 6, 5))
    assert torch.equal(block(x), duplicate(block)(x))


def test_a_class_takes_parts_that_the_builder_makes():
    built = create_block("srl-dct", 8, (3, 6, 5), reduction=4, groups=1)
    transform = create_transform("dct", (6, 5))
    parts = SRLVideoBlock(8, (6, 5), transform, frames=3, reduction=4, groups=1)
    assert repr(built) == repr(parts)
    assert "channels=8, frames=3, size=(6, 5), operations='channel+time'" in repr(built)
    parts.load_state_dict(built.state_dict())
    with pytest.raises(TypeError, match="frames"):
        SRLVideoBlock(8, (6, 5), transform)


def test_samples_are_independent_in_evaluation():
    block = build("srl-fft", 8, (3, 6, 5), groups=2).eval()
    x = random_maps(8, (3, 6, 5), batch=3)
    assert largest_gap(block(x)[1:2], block(x[1:2])) <= 1e-14
    assert block(x[:0]).shape == (0, 8, 3, 6, 5)
    assert largest_gap(block(x.to(memory_format=torch.channels_last_3d)), block(x)) <= 1e-12


@pytest.mark.parametrize("operations", OPERATIONS)
def test_other_frame_sizes_use_resampled_filters(operations):
    block = build("srl-fft", 8, (3, 8, 6), operations=operations).eval()
    fresh = create_block("srl-fft", 8, (3, 11, 7), operations=operations).double().eval()
    state = block.state_dict()
    for key in [key for key in state if key.startswith("relu")]:
        state[key] = block.transform.resample(state[key], (8, 6), (11, 7))
    fresh.load_state_dict(state)
    x = random_maps(8, (3, 11, 7))
    assert largest_gap(block(x), fresh(x)) <= 1e-12


# ---- precision ---------------------------------------------------------------------------------


def relative(y, expected):
    return ((y.double() - expected).norm() / expected.norm()).item()


HALVES = [(torch.float16, 4e-3), (torch.bfloat16, 3e-2)]


@pytest.mark.parametrize("operations", OPERATIONS)
@pytest.mark.parametrize("name", ["srl-fft", "srl-lo"])
@pytest.mark.parametrize(("dtype", "limit"), HALVES)
def test_half_precision_is_close_to_float64(name, operations, dtype, limit):
    size = (4, 9, 7)
    block = build(name, 16, size, operations=operations).eval().requires_grad_(False)
    x = random_maps(16, size)
    y = block(x)
    block.float()
    with torch.autocast("cpu", dtype=dtype):
        z = block(x.float())
        assert block(x.to(dtype)).dtype == dtype
    assert z.dtype == torch.float32
    assert relative(z - x, y - x) <= limit
    z = block.to(dtype)(x.to(dtype))
    assert z.dtype == dtype
    assert relative(z, y) <= limit


@pytest.mark.parametrize("operations", OPERATIONS)
@pytest.mark.parametrize(("dtype", "limit"), HALVES)
def test_gradients_under_autocast(operations, dtype, limit):
    block = build("srl-fft", 16, (4, 9, 7), operations=operations).eval()
    x = random_maps(16, (4, 9, 7))
    block(x).square().sum().backward()
    expected = {key: p.grad.clone() for key, p in block.named_parameters()}
    block.zero_grad()
    block.float()
    with torch.autocast("cpu", dtype=dtype):
        loss = block(x.float()).square().sum()
    loss.backward()
    for key, parameter in block.named_parameters():
        assert parameter.grad.dtype == torch.float32
        assert relative(parameter.grad, expected[key]) <= limit, key


# ---- costs -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SRL_NAMES)
def test_operations_of_the_transforms(name):
    image, video = create_block(name, 16, (6, 5)), create_block(name, 16, (4, 6, 5))
    frames = 4 * image.extra_operations((1, 16, 6, 5))
    assert video.extra_operations((9, 16, 4, 6, 5)) == frames > 0


def test_cost_by_hand():
    """Four frames of 6x5 maps store spectra of 6x3; 16 channels are 32 planes, K are 16."""
    positions = 4 * 6 * 3
    convolutions = 2 * (32 * 16 // 8) * positions + 4 * 4 * 16 * 6 * 3
    transforms = 4 * 2 * 16 * 30 * math.log2(30)
    norms = 2 * (16 + 16 + 32) * positions
    block = create_block("srl-fft", 16, (4, 6, 5))
    paper = measure_cost(block, (16, 4, 6, 5))
    assert paper.operations == pytest.approx(convolutions + transforms, rel=1e-12)
    assert paper.parameters == 2 * 64 + 16 + 2 * (16 + 16 + 32)
    with_norms = measure_cost(block, (16, 4, 6, 5), "paper+bn")
    assert with_norms.operations - paper.operations == pytest.approx(norms, rel=1e-9)
    assert with_norms.parameters == paper.parameters
    exact = measure_cost(block, (16, 4, 6, 5), "exact")
    assert exact.parameters == paper.parameters + 4 * 18 + 1


# ---- finding and inserting ---------------------------------------------------------------------


NOT_THE_IDENTITY = {"tsm", "srl"}
"""Blocks for videos that do something at the start: a shift; what learns direction from scratch."""


def test_blocks_for_videos():
    images_only, videos_only = {"rcca", "ffc", "gfnet"}, {"srl-fft-3d", "tsm"}
    images_only |= {"self-attention", "linear-attention", "depthwise", "conv"}
    assert set(BLOCKS) - set(VIDEO_BLOCKS) == images_only
    assert set(VIDEO_BLOCKS) - set(BLOCKS) == videos_only
    for name in VIDEO_BLOCKS:
        block = create_block(name, 16, (3, 6, 5))
        x = random_maps(16, (3, 6, 5)).float()
        assert torch.equal(block(x), x) == (name not in NOT_THE_IDENTITY)
        assert isinstance(block, SRLVideoBlock) == (name in SRL_NAMES)
        assert block.extra_operations((7, 16, 3, 6, 5)) >= 0
    for name in images_only:
        with pytest.raises(ValueError, match=rf"{name}.* not defined for videos: expected a size"):
            create_block(name, 16, (3, 6, 5))
    for name in videos_only:
        message = rf"{name}.* not defined for images: expected a size \(T, H, W\), got \(H, W\)"
        with pytest.raises(ValueError, match=message):
            create_block(name, 16, (6, 5))
    with pytest.raises(ValueError, match="unknown block 'tms'; did you mean 'tsm'"):
        create_block("tms", 16, (6, 5))


def test_options_of_both():
    check_options("srl-fft", {"groups": 1, "alpha": 0.5})
    check_options("srl-fft", {"groups": 1, "operations": "time"}, video=True)
    with pytest.raises(ValueError, match="unknown option of block 'srl-fft' 'operations'"):
        check_options("srl-fft", {"operations": "time"})
    with pytest.raises(ValueError, match="unknown option of block 'srl-fft' 'frames'"):
        check_options("srl-fft", {"frames": 4}, video=True)
    check_options("non-local", {"subsample": True}, video=True)


class Clip(nn.Module):
    """Frames through a layer for images, then as videos through one for videos."""

    def __init__(self):
        super().__init__()
        self.image = nn.Conv2d(3, 8, 3, padding=1)
        self.video = nn.Conv3d(8, 16, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))

    def forward(self, x):
        frames = self.image(x.transpose(1, 2).flatten(0, 1))
        return self.video(frames.unflatten(0, (-1, x.shape[2])).transpose(1, 2))


@pytest.mark.parametrize("name", VIDEO_BLOCKS)
def test_insertion_into_videos(name):
    torch.manual_seed(0)
    model = Clip().eval()
    x = torch.randn(2, 3, 5, 12, 10)
    y = model(x)
    insert_blocks(model, ["video"], name, input_size=(3, 5, 12, 10))
    (block,) = (m for m in model.modules() if hasattr(m, "extra_operations"))
    assert torch.equal(model(x), y) == (name not in NOT_THE_IDENTITY)
    if isinstance(block, SRLVideoBlock):
        assert (block.channels, block.frames, block.size) == (16, 5, (6, 5))
        block.alpha.data.fill_(1.0)
        assert largest_gap(model(x), y) > 0.01


def test_images_and_videos_in_one_network():
    model = insert_blocks(
        Clip(), ["image", "video"], "srl-fft", input_size=(3, 5, 12, 10), options={"groups": 2}
    )
    kinds = [type(m).__name__ for m in model.modules() if hasattr(m, "extra_operations")]
    assert kinds == ["SRLBlock", "SRLVideoBlock"]
    before = list(model.state_dict())
    with pytest.raises(ValueError, match="'rcca' is not defined for videos"):
        insert_blocks(model, ["video"], "rcca", input_size=(3, 5, 12, 10))
    assert list(model.state_dict()) == before


# ---- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (0, 8, 6)}, r"three positive integers \(T, H, W\), got \(0, 8, 6\)"),
        ({"size": (4, 8, 0)}, "three positive integers"),
        ({"size": (4, 8, 6, 1)}, "two positive integers"),
        ({"channels": 0}, "channels must be a positive integer, got 0"),
        ({"channels": 12}, "inner planes .* groups=8; channels=12"),
        ({"kernel_size": 2}, "kernel_size must be odd and positive, got 2"),
        ({"order": "interleafed"}, "did you mean 'interleaved'"),
        ({"operations": "times"}, "unknown operations .* 'times'; did you mean 'time'"),
        ({"operations": "time", "groups": 1}, "'time' has no convolution over channels.*groups=1"),
        ({"operations": "time", "order": "interleaved"}, "over channels.*order='interleaved'"),
        ({"operation": "time"}, "did you mean 'operations'"),
    ],
)
def test_bad_options_are_refused(options, message):
    arguments = {"channels": 16, "size": (4, 8, 6), **options}
    with pytest.raises(ValueError, match=message):
        create_block("srl-fft", arguments.pop("channels"), arguments.pop("size"), **arguments)


@pytest.mark.parametrize("operations", OPERATIONS)
def test_other_numbers_of_frames_are_refused(operations):
    block = create_block("srl-fft", 16, (4, 8, 6), operations=operations)
    with pytest.raises(ValueError, match="built for videos of 4 frames, got 8 in shape"):
        block(torch.zeros(2, 16, 8, 8, 6))
    with pytest.raises(ValueError, match="built for videos of 4 frames, got 2"):
        block.extra_operations((2, 16, 2, 8, 6))


@pytest.mark.parametrize("shape", [(2, 16, 8, 6), (2, 8, 4, 8, 6), (16, 4, 8, 6)])
def test_bad_maps_are_refused(shape):
    block = create_block("srl-fft", 16, (4, 8, 6))
    with pytest.raises(ValueError, match=r"expected a video of shape \(N, 16, 4, H, W\), got"):
        block(torch.zeros(shape))


def test_the_learnable_transform_takes_one_frame_size():
    block = create_block("srl-lo", 16, (4, 8, 6))
    with pytest.raises(ValueError, match="built for maps of 8x6"):
        block(torch.zeros(1, 16, 4, 8, 7))
