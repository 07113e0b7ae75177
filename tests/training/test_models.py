"""SimpleBaseline: protocol B, and weights from files."""

from __future__ import annotations

import math
import zipfile
from functools import partial

import pytest
import torch
import torchvision
from torch import nn

from networks import create_simple_baseline
from spectral_residual import SRLBlock
from spectral_residual.pose import load_published
from spectral_residual.pose.network import SimpleBaseline, check_input_size
from spectral_residual.training.resnet import RESNETS, ResNetTrunk, read_state_dict

HEAD = 8_388_608 + 2 * 1_048_576 + 3 * 512 + 4_369
TOTALS = {"resnet50": 33_999_697, "resnet101": 52_991_825, "resnet152": 68_635_473}


@pytest.fixture(scope="module")
def resnet18():
    torch.manual_seed(0)
    return create_simple_baseline(backbone="resnet18", input_size=(64, 96))


def images(size=(64, 96), batch=2):
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(0))


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", TOTALS)
def test_parameters(name):
    with torch.device("meta"):
        model = create_simple_baseline(backbone=name)
    assert count(model) == TOTALS[name]
    assert HEAD == 10_491_665
    assert sum(count(part) for part in (model.d1, model.d2, model.d3, model.head)) == HEAD
    assert model.backbone.channels == 2048


def test_head_tensors():
    with torch.device("meta"):
        model = create_simple_baseline(backbone="resnet50")
    head = {k: tuple(v.shape) for k, v in model.named_parameters() if not k.startswith("backbone.")}
    assert head == {
        "d1.0.weight": (2048, 256, 4, 4),
        "d2.0.weight": (256, 256, 4, 4),
        "d3.0.weight": (256, 256, 4, 4),
        **{f"d{i}.1.{key}": (256,) for i in (1, 2, 3) for key in ("weight", "bias")},
        "head.weight": (17, 256, 1, 1),
        "head.bias": (17,),
    }
    for part in (model.d1, model.d2, model.d3):
        assert part[0].bias is None
        assert (part[0].stride, part[0].padding, part[0].output_padding) == ((2, 2), (1, 1), (0, 0))
        assert (part[1].momentum, part[1].eps) == (0.1, 1e-5)
        assert isinstance(part[2], nn.ReLU)


def test_shapes_on_the_way():
    with torch.device("meta"):
        model = create_simple_baseline(backbone="resnet50")
    shapes = []
    for part in (model.backbone, model.d1, model.d2, model.d3, model.head):
        part.register_forward_hook(lambda module, args, output: shapes.append(tuple(output.shape)))
    model(torch.empty(2, 3, 256, 192, device="meta"))
    assert shapes == [
        (2, 2048, 8, 6),
        (2, 256, 16, 12),
        (2, 256, 32, 24),
        (2, 256, 64, 48),
        (2, 17, 64, 48),
    ]


def test_stride_lies_in_the_3x3_convolution():
    with torch.device("meta"):
        block = ResNetTrunk("resnet50").layer2[0]
    assert (block.conv1.stride, block.conv2.stride) == ((1, 1), (2, 2))


def test_trunk_is_torchvisions_network_before_pooling():
    torch.manual_seed(0)
    reference = torchvision.models.resnet18().eval()
    trunk = ResNetTrunk("resnet18").eval()
    trunk.load_state_dict(
        {k: v for k, v in reference.state_dict().items() if not k.startswith("fc.")}
    )
    x = images()
    with torch.no_grad():
        pooled = trunk(x).mean(dim=(2, 3))
        assert (reference.fc(pooled) - reference(x)).abs().max() <= 1e-5


def test_start_of_the_head(resnet18):
    for part in (resnet18.d1[0], resnet18.d2[0], resnet18.d3[0], resnet18.head):
        n = part.weight.numel()
        assert part.weight.std().item() == pytest.approx(1e-3, rel=5 / math.sqrt(2 * n))
        assert abs(part.weight.mean().item()) <= 5e-3 / math.sqrt(n)
    assert resnet18.head.bias.abs().max() == 0


@pytest.mark.parametrize("training", [True, False])
def test_first_output_is_near_zero(resnet18, training):
    y = resnet18.train(training)(images()).detach()
    assert y.shape == (2, 17, 16, 24)
    assert 0 < y.abs().max() < 0.1
    target = torch.zeros_like(y)
    target[:, :, 4:9, 5:10] = 0.8
    loss = 0.5 * (y - target).square().mean()
    assert loss.item() == pytest.approx(0.5 * target.square().mean().item(), rel=0.05)


def test_each_output_of_a_deconvolution_sees_two_by_two_taps(resnet18):
    deconvolution = nn.ConvTranspose2d(1, 1, 4, stride=2, padding=1, bias=False)
    part = resnet18.d2[0]
    for key in ("kernel_size", "stride", "padding", "output_padding", "dilation"):
        assert getattr(part, key) == getattr(deconvolution, key)
    with torch.no_grad():
        deconvolution.weight.fill_(1.0)
        impulse = torch.zeros(1, 1, 5, 6)
        impulse[0, 0, 2, 3] = 1.0
        response = deconvolution(impulse)[0, 0]
        expected = torch.zeros(10, 12)
        expected[3:7, 5:9] = 1.0
        assert torch.equal(response, expected)
        assert (deconvolution(torch.ones(1, 1, 5, 6))[0, 0, 1:-1, 1:-1] == 4.0).all()


@pytest.mark.parametrize("block", ["srl-fft", "srl-lo", "srl-haar"])
def test_blocks_leave_the_output_bit_identical(block, resnet18):
    model = create_simple_baseline(backbone="resnet18", input_size=(64, 96), block=block)
    missing, unexpected = model.load_state_dict(resnet18.state_dict(), strict=False)
    assert not unexpected
    assert {key.split(".srl.")[0] for key in missing} == {"d1", "d2", "d3"}
    sizes = [module.size for module in model.modules() if isinstance(module, SRLBlock)]
    assert sizes == [(4, 6), (8, 12), (16, 24)]
    x = images()
    with torch.no_grad():
        expected = resnet18.eval()(x)
        assert torch.equal(model.eval()(x), expected)
        for part in (model.d1, model.d2, model.d3):
            part.srl.alpha.fill_(1.0)
            assert not torch.equal(model(x), expected)
            part.srl.alpha.zero_()


def test_blocks_at_other_places_and_with_options():
    model = create_simple_baseline(
        backbone="resnet18",
        num_joints=14,
        input_size=(64, 64),
        deconv_channels=32,
        block="srl-dct",
        block_after=["backbone.layer3", "d2"],
        block_options={"groups": 4, "reduction": 4},
    )
    blocks = {k: m for k, m in model.named_modules() if isinstance(m, SRLBlock)}
    assert {k: (b.channels, b.size) for k, b in blocks.items()} == {
        "backbone.layer3.srl": (256, (4, 4)),
        "d2.srl": (32, (8, 8)),
    }
    assert blocks["d2.srl"].conv1.groups == 4
    assert model(images((64, 64))).shape == (2, 14, 16, 16)


@pytest.mark.parametrize("size", [(250, 192), (256, 190), (0, 32), (16, 32), (-32, 32)])
def test_sizes_that_are_no_multiple_of_32(size, resnet18):
    message = f"must be a multiple of 32.* input size {size[0]}x{size[1]}"
    with pytest.raises(ValueError, match=message):
        check_input_size(size, 32)
    with pytest.raises(ValueError, match=message):
        create_simple_baseline(backbone="resnet18", input_size=size)
    if min(size) > 0:
        with pytest.raises(ValueError, match=message):
            resnet18(images(size, batch=1))


def test_other_multiples_of_32_run_with_blocks():
    model = create_simple_baseline(backbone="resnet18", input_size=(64, 96), block="srl-fft")
    model.eval()
    for part in (model.d1, model.d2, model.d3):
        part.srl.alpha.data.fill_(1.0)
    assert model(images((96, 64))).shape == (2, 17, 24, 16)


# ---- weights -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def classifier_weights():
    torch.manual_seed(3)
    network = torchvision.models.resnet18()
    with torch.no_grad():
        for buffer in network.buffers():
            if buffer.is_floating_point():
                buffer.uniform_(0.5, 1.5)
    return network.state_dict()


def save(state, path):
    if path.suffix == ".safetensors":
        safetensors = pytest.importorskip("safetensors.torch", reason="safetensors is missing")
        safetensors.save_file(dict(state), path)
    else:
        torch.save(state, path)
    return str(path)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
@pytest.mark.parametrize("classifier", [True, False])
def test_torchvision_weights_from_a_file(classifier_weights, tmp_path, suffix, classifier):
    state = {k: v for k, v in classifier_weights.items() if classifier or not k.startswith("fc.")}
    model = create_simple_baseline(
        backbone="resnet18", weights=save(state, tmp_path / f"w{suffix}"), input_size=(64, 64)
    )
    loaded = model.backbone.state_dict()
    assert set(loaded) == {k for k in classifier_weights if not k.startswith("fc.")}
    for key, value in loaded.items():
        assert torch.equal(value, classifier_weights[key]), key


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_a_wrapped_state_dict(classifier_weights, tmp_path, wrapper):
    path = save({wrapper: classifier_weights, "epoch": 3}, tmp_path / "w.pth")
    state = ResNetTrunk("resnet18", path).state_dict()
    assert torch.equal(state["conv1.weight"], classifier_weights["conv1.weight"])


def test_a_torchvision_state_dict_fits_the_model_with_blocks(classifier_weights):
    model = create_simple_baseline(backbone="resnet18", input_size=(64, 64), block="srl-fft")
    missing, unexpected = model.backbone.load_state_dict(classifier_weights, strict=False)
    assert missing == []
    assert unexpected == ["fc.weight", "fc.bias"]


def test_files_that_do_not_fit(classifier_weights, tmp_path):
    whole = save(classifier_weights, tmp_path / "r18.pth")
    with pytest.raises(ValueError, match=r"r18.pth: the weights do not fit resnet50"):
        ResNetTrunk("resnet50", whole)
    part = {k: v for k, v in classifier_weights.items() if not k.startswith("layer4.1")}
    with pytest.raises(ValueError, match=r"part.pth: the weights do not fit .*: 10 missing"):
        ResNetTrunk("resnet18", save(part, tmp_path / "part.pth"))
    prefixed = {f"module.{k}": v for k, v in classifier_weights.items()}
    with pytest.raises(ValueError, match=r"122 unexpected \['module.conv1.weight'"):
        ResNetTrunk("resnet18", save(prefixed, tmp_path / "module.pth"))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_files_that_are_no_weights(tmp_path, suffix):
    path = tmp_path / f"text{suffix}"
    path.write_text("not weights")
    with pytest.raises(ValueError, match=f"text{suffix}: not a readable weights file"):
        read_state_dict(path)
    with pytest.raises(FileNotFoundError, match=f"no weights file .*absent{suffix}"):
        ResNetTrunk("resnet18", str(tmp_path / f"absent{suffix}"))


@pytest.mark.parametrize(
    "content",
    [[1, 2], {"a": 3}, torch.zeros(2), {"model": {"a": "b"}}, {0: torch.zeros(2)}],
)
def test_files_that_hold_something_else(tmp_path, content):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"w.pth: expected a mapping of names to tensors"):
        read_state_dict(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.zeros(1).expand(10**9), r"a, torch.float32 \(1000000000,\): expected every number"),
        (torch.zeros(2).to(torch.float8_e4m3fn), r"a, torch.float8_e4m3fn \(2,\): expected"),
    ],
)
def test_weights_of_files_are_checked(tmp_path, value, message):
    torch.save({"state_dict": {"a": value}}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=rf"w\.pth: the weights {message}"):
        read_state_dict(tmp_path / "w.pth")


def test_weights_that_are_loaded_must_be_finite(tmp_path):
    state = torchvision.models.resnet18().state_dict()
    state["fc.bias"] = torch.full_like(state["fc.bias"], float("-inf"))
    torch.save(state, tmp_path / "w.pth")
    ResNetTrunk("resnet18", str(tmp_path / "w.pth"))
    state["bn1.bias"][3] = float("nan")
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"w\.pth: the weights bn1\.bias are not finite$"):
        ResNetTrunk("resnet18", str(tmp_path / "w.pth"))


def test_compressed_weights_are_not_unpacked(tmp_path):
    torch.save({"a": torch.zeros(10**6)}, tmp_path / "plain.pth")
    path = tmp_path / "small.pth"
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as old,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for member in old.infolist():
            new.writestr(member.filename, old.read(member))
    for read in (read_state_dict, partial(ResNetTrunk, "resnet18"), load_published):
        with pytest.raises(ValueError, match=r"small\.pth: not a readable .* would unpack to 4"):
            read(str(path))


def test_misspelt_names():
    with pytest.raises(ValueError, match="unknown backbone 'resnet51'; did you mean 'resnet50'"):
        create_simple_baseline(backbone="resnet51")
    with pytest.raises(ValueError, match=r"unknown weights of resnet18 .* 'IMAGENET1K_V2'"):
        ResNetTrunk("resnet18", "IMAGENET1K_V2")
    with pytest.raises(ValueError, match="unknown module 'd4'; did you mean"):
        create_simple_baseline(backbone="resnet18", block="srl-fft", block_after=["d4"])
    with pytest.raises(ValueError, match=r"block_options .* but no block"):
        create_simple_baseline(backbone="resnet18", block_options={"groups": 4})
    assert set(RESNETS) == {"resnet18", "resnet34", "resnet50", "resnet101", "resnet152"}


@pytest.mark.parametrize("options", [{"num_joints": 0}, {"deconv_channels": -1}])
def test_sizes_of_the_head_must_be_positive(options):
    (label, value), *_ = options.items()
    with torch.device("meta"):
        trunk = ResNetTrunk("resnet18")
    with pytest.raises(ValueError, match=f"{label} must be positive, got {value}"):
        SimpleBaseline(trunk, **{"num_joints": 17, **options})
