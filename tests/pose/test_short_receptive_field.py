"""Trunks that see less of the image: fewer stages, smaller strides, dilation (table 4)."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torchvision
from torch import nn

from networks import create_simple_baseline
from spectral_residual import SRLBlock, inserted_blocks
from spectral_residual.pose.network import PoseNetwork, check_network
from spectral_residual.pose.task import PoseTask
from spectral_residual.training.resnet import ResNetTrunk


def meta_trunk(*args, **options):
    with torch.device("meta"):
        return ResNetTrunk(*args, **options)


def same_weights(trunk, reference):
    state = reference.state_dict()
    trunk.load_state_dict({key: state[key] for key in trunk.state_dict()})
    return trunk.double().eval()


@pytest.fixture(scope="module", params=["resnet18", "resnet50"])
def network(request):
    """Torchvision network in float64 whose BN statistics are not those of the start."""
    torch.manual_seed(0)
    network = torchvision.models.get_model(request.param)
    with torch.no_grad():
        for name, buffer in network.named_buffers():
            if name.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)
    return request.param, network.double().eval()


@pytest.mark.parametrize(
    ("stages", "output_stride", "stride", "size"),
    [
        (4, None, 32, (2, 3)), (4, 32, 32, (2, 3)), (4, 16, 16, (4, 6)), (4, 8, 8, (8, 12)),
        (3, None, 16, (4, 6)), (3, 8, 8, (8, 12)), (2, None, 8, (8, 12)),
    ],
)  # fmt: skip
@pytest.mark.parametrize(("name", "widest"), [("resnet18", 512), ("resnet50", 2048)])
def test_channels_and_stride(name, widest, stages, output_stride, stride, size):
    trunk = meta_trunk(name, stages=stages, output_stride=output_stride)
    assert trunk.channels == widest >> (4 - stages)
    assert trunk.stride == stride
    assert trunk(torch.empty(1, 3, 64, 96, device="meta")).shape == (1, trunk.channels, *size)


@pytest.mark.parametrize("stages", [2, 3])
def test_a_cut_trunk_is_the_beginning_of_torchvisions_network(network, stages):
    name, reference = network
    trunk = same_weights(ResNetTrunk(name, stages=stages), reference)
    x = torch.randn(1, 3, 64, 32, dtype=torch.float64)
    expected = x
    for child in ["conv1", "bn1", "relu", "maxpool", *(f"layer{i + 1}" for i in range(stages))]:
        expected = reference.get_submodule(child)(expected)
    assert torch.equal(trunk(x), expected)
    assert not [key for key in trunk.state_dict() if key.startswith(f"layer{stages + 1}")]


@pytest.mark.parametrize("output_stride", [8, 16])
def test_without_dilation_nothing_but_strides_changes(network, output_stride):
    name, _ = network
    natural, limited = meta_trunk(name), meta_trunk(name, output_stride=output_stride)
    assert natural.state_dict().keys() == limited.state_dict().keys()
    allowed = ("layer3.0", "layer4.0") if output_stride == 8 else ("layer4.0",)
    for key, module in natural.named_modules():
        if isinstance(module, nn.Conv2d):
            other = limited.get_submodule(key)
            removed = key.startswith(allowed) and module.stride == (2, 2)
            assert other.stride == ((1, 1) if removed else module.stride), key
            assert (other.padding, other.dilation) == (module.padding, module.dilation), key


@pytest.mark.parametrize(("stages", "output_stride", "finer"), [(4, 16, 2), (4, 8, 4), (3, 8, 2)])
def test_dilation_gives_the_original_output_on_a_finer_grid(network, stages, output_stride, finer):
    """The law of atrous convolution: every `finer`-th position is the network's own output."""
    name, reference = network
    x = torch.randn(1, 3, 128, 96, dtype=torch.float64)
    plain = same_weights(ResNetTrunk(name, stages=stages), reference)
    options = {"stages": stages, "output_stride": output_stride}
    dilated = same_weights(ResNetTrunk(name, dilated=True, **options), reference)
    undilated = same_weights(ResNetTrunk(name, **options), reference)
    with torch.no_grad():
        expected = plain(x)
        torch.testing.assert_close(
            dilated(x)[..., ::finer, ::finer], expected, rtol=1e-10, atol=1e-10
        )
        assert (undilated(x)[..., ::finer, ::finer] - expected).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("output_stride", "replaced"), [(16, [False, False, True]), (8, [False, True, True])]
)
def test_dilation_is_torchvisions(output_stride, replaced):
    expected = torchvision.models.resnet50(replace_stride_with_dilation=replaced)
    trunk = meta_trunk("resnet50", output_stride=output_stride, dilated=True)
    for key, module in trunk.named_modules():
        if isinstance(module, nn.Conv2d):
            other = expected.get_submodule(key)
            for name in ("stride", "padding", "dilation", "kernel_size"):
                assert getattr(module, name) == getattr(other, name), (key, name)


def test_whole_pretrained_files_fit_cut_trunks(tmp_path):
    torch.manual_seed(3)
    whole = torchvision.models.resnet18().state_dict()
    torch.save(whole, tmp_path / "whole.pth")
    trunk = ResNetTrunk("resnet18", str(tmp_path / "whole.pth"), stages=2)
    loaded = trunk.state_dict()
    assert torch.equal(loaded["layer2.1.conv2.weight"], whole["layer2.1.conv2.weight"])
    torch.save(loaded, tmp_path / "cut.pth")
    ResNetTrunk("resnet18", str(tmp_path / "cut.pth"), stages=2)
    with pytest.raises(ValueError, match=r"cut\.pth: the weights do not fit .*: 25 missing"):
        ResNetTrunk("resnet18", str(tmp_path / "cut.pth"), stages=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stages": 1}, "stages must be 2, 3 or 4, got 1"),
        ({"stages": 5}, "stages must be 2, 3 or 4, got 5"),
        ({"output_stride": 4}, r"output_stride with 4 stages must be one of \[8, 16, 32\], got 4"),
        ({"stages": 3, "output_stride": 32}, r"with 3 stages must be one of \[8, 16\], got 32"),
        ({"dilated": True}, "an output_stride of 32 with 4 stages leaves all"),
        ({"stages": 2, "dilated": True}, "an output_stride of 8 with 2 stages leaves all"),
    ],
)
def test_options_that_do_not_go_together(options, message):
    with pytest.raises(ValueError, match=message):
        ResNetTrunk("resnet18", **options)


@pytest.mark.parametrize(
    ("options", "deconvolutions"),
    [
        ({}, ("d1", "d2", "d3")),
        ({"output_stride": 16}, ("d1", "d2")),
        ({"output_stride": 8}, ("d1",)),
        ({"output_stride": 8, "dilated": True}, ("d1",)),
        ({"stages": 3}, ("d1", "d2")),
        ({"stages": 2}, ("d1",)),
    ],
)
def test_heatmaps_are_a_quarter_of_the_input(options, deconvolutions):
    with torch.device("meta"):
        model = create_simple_baseline(backbone="resnet18", deconv_channels=16, **options)
    assert model.deconvolutions == deconvolutions
    assert [n for n, _ in model.named_children()] == ["backbone", *deconvolutions, "head"]
    assert model(torch.empty(2, 3, 64, 96, device="meta")).shape == (2, 17, 16, 24)


def test_input_sizes_follow_the_stride():
    model = create_simple_baseline(backbone="resnet18", stages=2, input_size=(40, 72))
    assert model(torch.zeros(1, 3, 40, 72)).shape == (1, 17, 10, 18)
    with pytest.raises(ValueError, match="multiple of 8, .* got 44 in input size 44x72"):
        model(torch.zeros(1, 3, 44, 72))
    with pytest.raises(ValueError, match="multiple of 16, .* got 72 in input size 64x72"):
        create_simple_baseline(backbone="resnet18", stages=3, input_size=(64, 72))


def receptive_pixels(model, size=(128, 96)):
    """Share of input pixels that the centre of the first heatmap depends on."""
    x = torch.randn(1, 3, *size, requires_grad=True)
    y = model.eval()(x)
    y[0, 0, y.shape[2] // 2, y.shape[3] // 2].backward()
    return (x.grad.abs().sum(1) > 0).double().mean().item()


def test_a_short_network_sees_part_of_the_image_and_with_a_block_all_of_it():
    torch.manual_seed(0)
    options = {"backbone": "resnet18", "stages": 2, "input_size": (128, 96), "deconv_channels": 16}
    model = create_simple_baseline(
        block="srl-fft", block_after=["backbone.layer2.0", "backbone.layer2.1", "d1"], **options
    )
    blocks = {k: m.size for k, m in model.named_modules() if isinstance(m, SRLBlock)}
    assert blocks == {
        "backbone.layer2.0_srl": (16, 12), "backbone.layer2.1_srl": (16, 12), "d1.srl": (32, 24),
    }  # fmt: skip
    local = receptive_pixels(model)
    assert local < 0.9
    model.backbone.layer2.get_submodule("1_srl").alpha.data.fill_(1.0)
    assert receptive_pixels(model) > 0.99
    assert receptive_pixels(create_simple_baseline(**(options | {"stages": 4}))) > local


def test_compiles_as_one_graph():
    model = create_simple_baseline(backbone="resnet18", stages=2, input_size=(32, 32)).eval()
    x = torch.randn(1, 3, 32, 32)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), model(x))


def test_checkpoints_of_before_these_options_still_fit():
    before = {"backbone": "resnet18", "deconv_channels": 8, "block": None}
    checkpoint = {"spectral_residual_pose": {"network": before, "input_size": [64, 64]}}
    here = {**before, "stages": 4, "output_stride": None, "dilated": False}
    size = [64, 64]
    check_network(checkpoint, {"network": here, "input_size": size}, (64, 64))
    other = {"network": here | {"stages": 2}, "input_size": size}
    with pytest.raises(ValueError, match="network.stages: 4 in the checkpoint, 2 here"):
        check_network(checkpoint, other, (64, 64))
    assert PoseNetwork().stages == 4


@pytest.mark.parametrize(
    ("options", "places"),
    [
        ({"backbone": "resnet18"}, ["d1", "d2", "d3"]),
        ({"backbone": "resnet18", "stages": 2}, ["d1"]),
        ({"backbone": "resnet18", "output_stride": 16}, ["d1", "d2"]),
        ({"backbone": "timm/resnet18", "output_stride": 8}, ["d1"]),
        ({"backbone": "resnet18", "block_after": ["d2"]}, ["d2"]),
    ],
)
def test_by_default_a_block_after_every_deconvolution(options, places):
    network = PoseNetwork(block="srl", deconv_channels=8, **options)
    task = PoseTask(network, input_size=(64, 64))
    assert [entry.after for entry in inserted_blocks(task.network, (3, 64, 64))] == places
    stored = task.describe()
    assert stored["network"]["block_after"] == places
    PoseTask(replace(network, block_after=places), input_size=(64, 64)).check_checkpoint(
        {"spectral_residual_pose": stored}
    )


def test_a_block_without_a_place_is_refused():
    trunk = {"backbone": "timm/resnet18", "output_stride": 4, "block": "srl"}
    with pytest.raises(ValueError, match="block_after is not given, and no deconvolution"):
        PoseNetwork(**trunk).build(3, (64, 64))
    with pytest.raises(ValueError, match="'srl' has no place: block_after is empty"):
        PoseNetwork("resnet18", block="srl", block_after=[]).build(3, (64, 64))


@pytest.mark.parametrize("places", [["d1", "d2", "d3"], ["d1"], None])
def test_places_of_no_block_are_no_difference(places):
    task = PoseTask(PoseNetwork("resnet18", stages=2, deconv_channels=8), input_size=(64, 64))
    stored = task.describe()
    stored["network"] |= {"block_after": places}
    task.check_checkpoint({"spectral_residual_pose": stored})
    stored["network"] |= {"block": "srl"}
    with pytest.raises(ValueError, match="network.block: 'srl' in the checkpoint, None here"):
        task.check_checkpoint({"spectral_residual_pose": stored})
