"""Trunks of timm: what is kept, what it gives, whose weights it takes."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from spectral_residual.pose.network import PoseNetwork, SimpleBaseline
from spectral_residual.training.timm_trunk import TimmTrunk

SIZE = (64, 96)


def test_tags_without_weights():
    PoseNetwork("timm/mobilenetv2_035.untrained", output_stride=16, deconv_channels=8).build(
        5, SIZE
    )
    with pytest.raises(ValueError, match=r"unknown weights of timm 'resnet18\.a1_in2k'; .*a1_in1k"):
        TimmTrunk("resnet18.a1_in2k", output_stride=16)


@pytest.mark.parametrize(
    ("name", "stride", "channels"),
    [
        ("tf_efficientnet_lite0", 8, 40),
        ("tf_efficientnet_lite0", 16, 112),
        ("tf_efficientnet_lite0", None, 320),
        ("resnet18.a1_in1k", 16, 256),
        ("convnext_atto", None, 320),
        ("mobilenetv3_small_050", 16, 24),
        ("regnetx_002", 4, 24),
        ("vit_tiny_patch16_224", 16, 192),
        ("swin_tiny_patch4_window7_224", 8, 192),
    ],
)
def test_one_map_of_the_stride_and_nothing_unused(name, stride, channels):
    trunk = TimmTrunk(name, output_stride=stride, input_size=SIZE)
    maps = trunk(torch.randn(2, 3, *SIZE))
    expected = stride or 32
    assert (trunk.stride, trunk.channels) == (expected, channels)
    assert maps.shape == (2, channels, SIZE[0] // expected, SIZE[1] // expected)
    maps.square().mean().backward()
    assert [n for n, p in trunk.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(("name", "stride", "level"), [("resnet18", 8, 2), ("regnetx_002", 16, 3)])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_file_of_the_whole_network(tmp_path, name, stride, level, suffix):
    whole = timm.create_model(name, num_classes=7)
    path = tmp_path / f"w.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)(whole.state_dict(), path)
    trunk = TimmTrunk(name, str(path), stride).eval()
    features = timm.create_model(name, features_only=True, out_indices=(level,)).eval()
    features.load_state_dict(whole.state_dict(), strict=False)
    images = torch.randn(1, 3, *SIZE)
    torch.testing.assert_close(trunk(images), features(images)[0], rtol=0, atol=0)


def test_files_that_do_not_fit(tmp_path):
    path = tmp_path / "w.pth"
    state = timm.create_model("resnet18").state_dict()
    torch.save({**state, "conv1.weight": torch.zeros(64, 1, 7, 7)}, path)
    with pytest.raises(ValueError, match=r"w\.pth: [\s\S]*conv1\.weight: shape \(64, 1, 7, 7\)"):
        TimmTrunk("resnet18", str(path))
    del state["layer1.0.conv1.weight"]
    torch.save(state, path)
    with pytest.raises(ValueError, match=r"layer1\.0\.conv1\.weight: nothing in the checkpoint"):
        TimmTrunk("resnet18", str(path))
    with pytest.raises(FileNotFoundError, match="no weights file"):
        TimmTrunk("resnet18", str(tmp_path / "absent.pth"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "resnet81"}, "resnet18"),
        ({"name": "resnet26.bt_in1"}, "did you mean 'resnet26.bt_in1k'"),
        ({"name": "resnet18", "weights": "IMAGENET1K_V1"}, 'must be "pretrained" or a .pth'),
        ({"name": "resnet18", "output_stride": 3}, r"one of \[2, 4, 8, 16, 32\], got 3"),
        ({"name": "inception_v4", "input_size": (128, 96)}, "do not keep to its stride"),
        ({"name": "efficientformer_l1", "input_size": (128, 96)}, "does not run"),
    ],
)
def test_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        TimmTrunk(**arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stages": 2}, "output_stride says where to cut timm/resnet18"),
        ({"dilated": True}, "output_stride says where to cut timm/resnet18"),
        ({"output_stride": 2}, r"stride must be one of \(4, 8, 16, 32\), got 2"),
    ],
)
def test_refused_in_pose_networks(options, message):
    with pytest.raises(ValueError, match=message):
        PoseNetwork("timm/resnet18", **options).build(3, SIZE)


@pytest.mark.parametrize(("stride", "deconvolutions"), [(4, 0), (8, 1), (16, 2), (32, 3)])
def test_pose_network(stride, deconvolutions):
    network = PoseNetwork(
        "timm/tf_efficientnet_lite0", output_stride=stride, deconv_channels=8, block="srl",
        block_after=["backbone.model.blocks.1"],
    )  # fmt: skip
    model = network.build(5, SIZE)
    assert isinstance(model, SimpleBaseline)
    assert len(model.deconvolutions) == deconvolutions
    assert sum(isinstance(module, nn.ConvTranspose2d) for module in model.modules()) == (
        deconvolutions
    )
    assert model(torch.randn(2, 3, *SIZE)).shape == (2, 5, SIZE[0] // 4, SIZE[1] // 4)
    plain = PoseNetwork(
        "timm/tf_efficientnet_lite0", output_stride=stride, deconv_channels=8
    ).build(5, SIZE)
    assert not plain.load_state_dict(model.state_dict(), strict=False).missing_keys


def test_weights_of_the_package_index_are_renamed_in_order():
    path = Path(__file__).parents[2] / "examples" / "lite0_weights.py"
    example = runpy.run_path(str(path))
    own = timm.create_model("tf_efficientnet_lite0").state_dict()
    published = {f"_{n}.{name.rsplit('.')[-1]}": own[name] for n, name in enumerate(own)}
    converted = example["convert"](published)
    assert list(converted) == list(own)
    assert all(torch.equal(value, own[name]) for name, value in converted.items())
    published["_0.weight"] = torch.zeros(32, 3, 5, 5)
    with pytest.raises(ValueError, match=r"_0\.weight \(32, 3, 5, 5\) does not fit conv_stem"):
        example["convert"](published)
    del published["_0.weight"]
    with pytest.raises(ValueError, match="got 295 tensors, expected 296"):
        example["convert"](published)
