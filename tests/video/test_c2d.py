"""C2D: protocol C1 in numbers, the order of the frames, and blocks in it (C-tests 2 and 3)."""

from __future__ import annotations

import copy
from functools import cache

import pytest
import torch
import torchvision
from torch import nn

from networks import create_c2d
from spectral_residual import BLOCKS, VIDEO_BLOCKS, insert_blocks
from spectral_residual.blocks import FoldedVideoBlock
from spectral_residual.cost import measure_cost
from spectral_residual.lab.cost.command import create_network
from spectral_residual.training.resnet import ResNetTrunk
from spectral_residual.video.network import C2D, VideoNetwork

CLIP = (3, 8, 32, 48)
EXACT = 1e-11
EVERY_BLOCK = tuple(dict.fromkeys(BLOCKS + VIDEO_BLOCKS))


@cache
def trained(dtype=torch.float64):
    """C2D-ResNet-18 in evaluation whose statistics and classifier are drawn at random, too."""
    torch.manual_seed(0)
    model = create_c2d(num_classes=7, input_size=CLIP[2:]).eval().requires_grad_(False)
    for name, value in model.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif name.endswith("running_mean"):
            value.normal_(std=0.1)
        elif name.startswith("fc."):
            value.normal_(std=0.5)
    return model.to(dtype)


def build(block, options=None, dtype=torch.float64):
    """The same network with blocks, as `create_c2d` inserts them, which takes longer."""
    torch.manual_seed(1)
    model = copy.deepcopy(trained(dtype))
    insert_blocks(
        model, VideoNetwork().block_after, block, input_size=CLIP, options=options,
        folded_time=block in VIDEO_BLOCKS,
    )  # fmt: skip
    return model.requires_grad_(False)


@pytest.fixture(scope="module")
def base():
    return trained()


def clips(batch=1, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, *CLIP, dtype=dtype, generator=generator)


def gap(a, b):
    assert a.shape == b.shape
    return (a - b).abs().max().item()


def opened(block, options=None):
    """C2D with blocks that add something: scales of 0 are 1."""
    model = build(block, options)
    for name, parameter in model.named_parameters():
        if "_srl." in name and not name.endswith("bias") and not parameter.any():
            parameter.fill_(1.0)
    return model


# ---- protocol C1 -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backbone", "side", "parameters", "operations"),
    [
        ("resnet18", 224, 11_381_712, 9.576e9),
        ("resnet50", 224, 24_327_632, 19.49e9),
        ("resnet50", 256, 24_327_632, 25.46e9),
    ],
)
def test_parameters_and_operations(backbone, side, parameters, operations):
    model = create_network(f"c2d_{backbone}", (3, 8, side, side))
    assert sum(p.numel() for p in model.parameters()) == parameters
    for accounting in ("paper", "exact"):
        cost = measure_cost(model, (3, 8, side, side), accounting)
        assert cost.parameters == parameters
        assert cost.operations == pytest.approx(operations, rel=3e-4)
    if backbone == "resnet18":
        assert cost.gflops == pytest.approx(8.919, abs=1e-3)


def test_shapes_on_the_way():
    with torch.device("meta"):
        model = create_c2d()
    shapes = {}
    for name in ("conv1", "maxpool", "layer1", "layer2", "layer3", "layer4"):
        model.backbone.get_submodule(name).register_forward_hook(
            lambda module, args, output, name=name: shapes.update({name: tuple(output.shape)})
        )
    assert model(torch.empty(2, 3, 8, 224, 224, device="meta")).shape == (2, 400)
    assert shapes == {
        "conv1": (2 * 8, 64, 112, 112),
        "maxpool": (2 * 8, 64, 56, 56),
        "layer1": (2 * 8, 64, 56, 56),
        "layer2": (2 * 4, 128, 28, 28),
        "layer3": (2 * 4, 256, 14, 14),
        "layer4": (2 * 4, 512, 7, 7),
    }


def test_start_of_the_classifier():
    torch.manual_seed(0)
    model = create_c2d(num_classes=400)
    assert model.fc.weight.std().item() == pytest.approx(0.01, rel=0.01)
    assert model.fc.weight.mean().abs() < 1e-4
    assert not model.fc.bias.any()
    assert model.dropout.p == 0.5


def test_it_is_the_network_written_frame_by_frame(base):
    """Forward and gradient: each frame alone, pooling of torch over an axis of its own."""
    trunk, x = base.backbone, clips().requires_grad_()
    leaf = x.detach().clone().requires_grad_()
    frames = [trunk.first_stage(frame) for frame in leaf.unbind(2)]
    pooled = nn.MaxPool3d((2, 1, 1), stride=(2, 1, 1))(torch.stack(frames, dim=2))
    maps = [trunk.layer4(trunk.layer3(trunk.layer2(frame))) for frame in pooled.unbind(2)]
    expected = base.fc(torch.stack(maps, dim=2).mean(dim=(2, 3, 4)))
    y = base(x)
    assert gap(y, expected) <= EXACT
    y.square().sum().backward()
    expected.square().sum().backward()
    assert gap(x.grad, leaf.grad) <= EXACT * leaf.grad.abs().max()
    assert leaf.grad.abs().amax(dim=(0, 1, 3, 4)).min() > 0


def test_dropout_acts_on_pooled_features_in_training_only(base):
    model = copy.deepcopy(base)
    seen = []
    model.fc.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    model.dropout.train()
    model(clips(batch=4)), model.eval()(clips(batch=4))
    dropped, kept = seen
    zero = dropped == 0
    assert 0.4 < zero.double().mean() < 0.6
    assert gap(dropped[~zero], 2 * kept[~zero]) <= EXACT


# ---- the order of the frames -------------------------------------------------------------------


def test_identical_frames_give_the_logits_of_the_network_for_images(base):
    image = clips(batch=2)[:, :, 0]
    reference = torchvision.models.resnet18(num_classes=7).double().eval()
    state = {k.removeprefix("backbone."): v for k, v in base.state_dict().items()}
    reference.load_state_dict(state)
    video = image[:, :, None].expand(2, *CLIP)
    assert gap(base(video), reference(image)) <= EXACT


PAIRS_KEPT = {
    "swapped in pairs": [1, 0, 2, 3, 5, 4, 6, 7],
    "pairs permuted": [4, 5, 0, 1, 6, 7, 2, 3],
    "reversed": [7, 6, 5, 4, 3, 2, 1, 0],
}


@pytest.mark.parametrize("order", PAIRS_KEPT.values(), ids=PAIRS_KEPT)
def test_orders_that_keep_the_pairs_leave_the_logits(order, base):
    x = clips()
    assert gap(base(x[:, :, order]), base(x)) <= EXACT


@pytest.mark.parametrize("order", [[7, 0, 1, 2, 3, 4, 5, 6], [0, 2, 1, 3, 4, 5, 6, 7]])
def test_other_pairs_change_the_logits(order, base):
    x = clips()
    assert gap(base(x[:, :, order]), base(x)) > 1e-3


SPREAD = {"alpha": 0.5, "spread": 0.5}
MIXED_IN_TIME = {
    "conv_t": ("srl-fft", {"alpha": 0.5}),
    "conv_t alone": ("srl-fft", {"alpha": 0.5, "operations": "time"}),
    "conv_t, learnable transform": ("srl-lo", {"alpha": 0.5}),
    "transform over time": ("srl-fft-3d", SPREAD),
    "shift": ("tsm", None),
}
NOT_MIXED = {
    "conv_c alone": ("srl-fft", {"operations": "channel"}),
    "attention": ("non-local", None),
    "double attention": ("a2", None),
    "on every frame": ("ffc", None),
}


@pytest.mark.parametrize(("block", "options"), MIXED_IN_TIME.values(), ids=MIXED_IN_TIME)
def test_reversing_the_frames_changes_what_mixes_them_by_place(block, options):
    model, x = build(block, options), clips()
    assert gap(model(x.flip(2)), model(x)) > 1e-3


@pytest.mark.parametrize(("block", "options"), NOT_MIXED.values(), ids=NOT_MIXED)
def test_reversing_the_frames_does_not_change_the_others(block, options, base):
    model, x = opened(block, options), clips()
    assert gap(model(x.flip(2)), model(x)) <= EXACT
    assert gap(model(x), base(x)) > 1e-3


def test_one_weight_for_all_frequencies_hides_the_direction_of_time():
    """Frame pairs 0 1 2 3 played as 0 3 2 1, that is backwards around the first, go unseen.

    A plain reversal is this and a shift by one pair, and the shift does change the output.
    """
    x = clips()
    around = x[:, :, [0, 1, 6, 7, 4, 5, 2, 3]]
    constant = build("srl-fft-3d", {"alpha": 0.5})
    assert gap(constant(around), constant(x)) <= EXACT
    assert gap(constant(x.flip(2)), constant(x)) > 1e-3
    spread = build("srl-fft-3d", SPREAD)
    assert gap(spread(around), spread(x)) > 1e-3


# ---- blocks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", EVERY_BLOCK)
def test_blocks_at_their_start_leave_the_logits_bit_for_bit(block):
    """In float32, as they are trained; blocks for images alone get one frame at a time."""
    model, x = build(block, dtype=torch.float32), clips(2, torch.float32)
    assert torch.equal(model(x), trained(torch.float32)(x)) == (block not in ("tsm", "srl"))
    added = {k: m for k, m in model.named_modules() if k.endswith("_srl")}
    assert list(added) == [f"{place}_srl" for place in VideoNetwork().block_after]
    frames = [m.frames if isinstance(m, FoldedVideoBlock) else None for m in added.values()]
    assert frames == [4 if block in VIDEO_BLOCKS else None] * 4


@pytest.mark.parametrize("block", ["srl-fft", "srl-fft-3d", "non-local", "tsm"])
def test_videos_of_a_batch_are_independent(block):
    model, x = opened(block), clips(batch=2)
    assert gap(model(x)[1:], model(x[1:])) <= EXACT


def test_places_of_the_blocks():
    model = create_c2d(
        num_classes=7, input_size=CLIP[2:], block="srl-fft", block_options={"groups": 1}
    )
    assert list(model.state_dict()) == list(build("srl-fft", {"groups": 1}).state_dict())
    block = model.backbone.layer3.get_submodule("1_srl").block
    assert (block.channels, block.frames, block.size, block.conv1.groups) == (256, 4, (2, 3), 1)
    early = create_c2d(
        frames=6, input_size=(32, 32), block="tsm",
        block_after=["backbone.layer1", "backbone.layer2", "backbone.conv1"],
    )  # fmt: skip
    wrapped = {k: m.frames for k, m in early.named_modules() if isinstance(m, FoldedVideoBlock)}
    assert wrapped == {
        "backbone.conv1.srl": 6,
        "backbone.layer1.srl": 6,
        "backbone.layer2.srl": 3,
    }


@pytest.mark.parametrize("block", [None, "srl-fft", "srl-fft-3d", "srl-dct", "non-local", "tsm"])
def test_channels_last_goes_through_without_copies(block):
    """Clips in channels_last_3d fold to frames in channels_last, and no map leaves it."""
    model = trained(torch.float32) if block is None else build(block, dtype=torch.float32)
    model = copy.deepcopy(model).to(memory_format=torch.channels_last)
    x = clips(2, torch.float32).to(memory_format=torch.channels_last_3d)
    first, formats = [], {}

    def record(name, maps):
        formats[name] = maps.is_contiguous(memory_format=torch.channels_last)

    model.backbone.conv1.register_forward_pre_hook(lambda module, args: first.append(args[0]))
    for name, module in model.backbone.named_modules():
        if isinstance(module, (nn.Conv2d, FoldedVideoBlock)) and ".block." not in name:
            module.register_forward_pre_hook(lambda module, args, name=name: record(name, args[0]))
    y = model(x)
    assert first[0].data_ptr() == x.data_ptr()
    assert len(formats) == (20 if block is None else 24)
    assert all(formats.values()), [name for name, kept in formats.items() if not kept]
    assert gap(y, model(x.contiguous())) <= 1e-4


def test_a_training_step_reaches_every_parameter():
    torch.manual_seed(0)
    model = create_c2d(
        num_classes=5, frames=4, input_size=(32, 32), block="srl-fft-3d", block_options=SPREAD
    ).train()
    scores = model(torch.randn(4, 3, 4, 32, 32))
    nn.functional.cross_entropy(scores, torch.arange(4)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().max() > 0, name


def test_weights_of_torchvision_from_a_file(tmp_path):
    torch.manual_seed(3)
    state = torchvision.models.resnet18().state_dict()
    torch.save(state, tmp_path / "resnet18.pth")
    model = create_c2d(
        weights=str(tmp_path / "resnet18.pth"), num_classes=7, frames=2, input_size=(32, 32),
        block="srl-fft",
    )  # fmt: skip
    loaded = model.backbone.state_dict()
    for key, value in state.items():
        assert key.startswith("fc.") or torch.equal(loaded[key], value), key


# ---- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "resnet19"}, "unknown backbone 'resnet19'; did you mean 'resnet18'"),
        ({"frames": 7}, "number of frames must be even.* got 7"),
        ({"frames": 0}, "number of frames must be even.* got 0"),
        ({"num_classes": 0}, "num_classes must be positive, got 0"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, got 1.0"),
        ({"input_size": (0, 32)}, r"two positive integers \(H, W\), got \(0, 32\)"),
        (
            {"block_options": {"groups": 1}},
            r"block_options \{'groups': 1\} are given, but no block",
        ),
        ({"block": "srl-fft-3"}, "unknown block 'srl-fft-3'; did you mean 'srl-fft-3d'"),
        ({"block": "tsm", "block_after": ["layer2"]}, "did you mean 'backbone.layer2'"),
        ({"block": "tsm", "block_options": {"groups": 1}}, "unknown option of block 'tsm'"),
    ],
)
def test_mistakes_are_named(options, message):
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        create_c2d(**{"input_size": (32, 32), **options})


def test_wrong_clips_are_refused(base):
    for shape in ((2, 3, 32, 48), (2, 1, 8, 32, 48), (3, 8, 32, 48)):
        with pytest.raises(ValueError, match=r"expected videos of shape \(N, 3, T, H, W\), got"):
            base(torch.zeros(shape))
    with pytest.raises(ValueError, match="must be even.* got 3"):
        base(torch.zeros(2, 3, 3, 32, 48))
    assert base(torch.zeros(2, 3, 2, 64, 32).double()).shape == (2, 7)
    with_blocks = create_c2d(num_classes=7, input_size=(32, 48), block="srl-fft-3d").eval()
    with pytest.raises(ValueError, match="blocks for clips of 8 frames, got 16 in shape"):
        with_blocks(torch.zeros(1, 3, 16, 32, 48))
    assert with_blocks(torch.zeros(1, 3, 8, 64, 32)).shape == (1, 7)
    assert C2D(ResNetTrunk("resnet18"), 3)(torch.zeros(1, 3, 4, 32, 32)).shape == (1, 3)
