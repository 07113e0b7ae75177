"""Export to ONNX: every block, other networks, what is refused; and ``srl export``."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from exported import randomise, save_pose, save_video
from torch import nn

import spectral_residual
from spectral_residual import create_block, insert_blocks
from spectral_residual.blocks import BLOCKS, TIMM_BLOCKS, VIDEO_BLOCKS
from spectral_residual.cli import main
from spectral_residual.export import OPSET, to_onnx
from spectral_residual.pose import export as pose_export
from spectral_residual.pose.export import export_pose
from spectral_residual.pose.network import PoseNetwork, load_pose_network
from spectral_residual.pose.skeleton import COCO
from spectral_residual.video.network import VideoNetwork

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

SHORT = {"backbone": "resnet18", "stages": 2, "deconv_channels": 16, "block_after": ["d1"]}


def run(path, *inputs):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    return session.run(None, dict(zip(names, (x.numpy() for x in inputs), strict=True)))


@torch.no_grad()
def error(path, network, x) -> float:
    """Largest error in a session of its own, by the range of the output of the network."""
    expected = network(x).numpy()
    (found,) = run(path, x)
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.ptp(expected))


def around(block, axes):
    """A small network with a block in its middle, for images or videos."""
    conv = nn.Conv2d if axes == 2 else nn.Conv3d
    norm = nn.BatchNorm2d if axes == 2 else nn.BatchNorm3d
    return nn.Sequential(conv(3, 32, 1), norm(32), nn.ReLU(), block, conv(32, 5, 1))


@pytest.mark.parametrize("block", [*BLOCKS, *TIMM_BLOCKS])
def test_every_block_for_images(block, tmp_path):
    """In whole networks at 256x192: tests/long/test_export_all.py."""
    if block in TIMM_BLOCKS:
        pytest.importorskip("timm")
    torch.manual_seed(0)
    network, x = around(create_block(block, 32, (16, 12)), 2), torch.randn(2, 3, 16, 12)
    plain = copy.deepcopy(network)
    report = to_onnx(randomise(network, x), x, tmp_path / "model.onnx", rounds=1)
    assert report.error <= 1e-4
    assert report.checked == (((2, 3, 16, 12),), ((1, 3, 16, 12),), ((4, 3, 16, 12),))
    x = torch.randn(5, 3, 16, 12)
    assert error(tmp_path / "model.onnx", network, x) <= 1e-4
    plain[3] = nn.Identity()
    plain.load_state_dict(network.state_dict(), strict=False)
    assert error(tmp_path / "model.onnx", plain.eval(), x) > 1e-3, "the block does nothing"


@pytest.mark.parametrize("block", VIDEO_BLOCKS)
def test_every_block_for_videos(block, tmp_path):
    torch.manual_seed(0)
    network, x = around(create_block(block, 32, (4, 9, 8)), 3), torch.randn(2, 3, 4, 9, 8)
    report = to_onnx(randomise(network, x), x, tmp_path / "model.onnx", rounds=1)
    assert report.error <= 1e-4
    assert error(tmp_path / "model.onnx", network, torch.randn(5, 3, 4, 9, 8)) <= 1e-4


def test_any_size(tmp_path):
    torch.manual_seed(0)
    network = PoseNetwork(block="srl", block_options={"modes": 4}, **SHORT).build(5, (64, 64))
    x = torch.randn(1, 3, 64, 64).to(memory_format=torch.channels_last)
    randomise(network, torch.cat([x, x])).to(memory_format=torch.channels_last)
    report = to_onnx(network, x, tmp_path / "model.onnx", dynamic_size=True, rounds=1)
    assert list(report.inputs.values()) == [("batch", 3, "height", "width")]
    for size in ((96, 72), (40, 128), (32, 32)):
        assert error(tmp_path / "model.onnx", network, torch.randn(2, 3, *size)) <= 1e-4


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("srl-lo", "does not take inputs of shape .*cannot be resampled"),
        ("srl-fft", "ONNX Runtime does not run the file for inputs of shape"),
    ],
)
def test_a_block_for_one_size_says_so(block, message, tmp_path):
    network = PoseNetwork(block=block, **SHORT).build(5, (64, 64))
    with pytest.raises(ValueError, match=message):
        to_onnx(network, torch.randn(1, 3, 64, 64), tmp_path / "model.onnx", dynamic_size=True)
    assert list(tmp_path.iterdir()) == []


class TwoInputs(nn.Module):
    """A network with two inputs and a dict of outputs."""

    def __init__(self):
        super().__init__()
        self.block = create_block("srl", 8, (12, 12), modes=4, alpha=0.5)
        self.scale = nn.Linear(3, 8)

    def forward(self, x, weights):
        maps = self.block(x) * self.scale(weights)[:, :, None, None]
        return {"maps": maps, "means": [maps.mean(dim=(2, 3)), weights + 1]}


def test_several_inputs_and_outputs(tmp_path):
    torch.manual_seed(0)
    network = TwoInputs().eval()
    example = (torch.randn(1, 8, 12, 12), torch.randn(1, 3))
    names = (["x", "weights"], ["maps", "means", "more"])
    report = to_onnx(network, example, tmp_path / "model.onnx", names=names, rounds=1)
    assert report.inputs == {"x": ("batch", 8, 12, 12), "weights": ("batch", 3)}
    assert list(report.outputs) == names[1]
    inputs = (torch.randn(3, 8, 12, 12), torch.randn(3, 3))
    with torch.no_grad():
        expected = network(*inputs)
    for got, wanted in zip(
        run(tmp_path / "model.onnx", *inputs), [expected["maps"], *expected["means"]], strict=True
    ):
        np.testing.assert_allclose(got, wanted.numpy(), atol=1e-5)


def test_a_network_with_hooks(tmp_path):
    """Blocks that forward hooks run are in the file too."""
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    network = torchvision.models.mobilenet_v3_small(num_classes=4)
    plain = copy.deepcopy(network)
    insert_blocks(network, ["features.3.block.1", "avgpool"][:1], input_size=(3, 64, 64))
    x = torch.randn(2, 3, 64, 64)
    randomise(network, x)
    plain.load_state_dict(network.state_dict(), strict=False)
    to_onnx(network, x, tmp_path / "model.onnx", rounds=1)
    assert error(tmp_path / "model.onnx", network, x) <= 1e-4
    assert error(tmp_path / "model.onnx", plain.eval(), x) > 1e-3


def test_the_network_is_not_changed(tmp_path):
    network = PoseNetwork(block="srl", **SHORT).build(5, (64, 48))
    network.to(memory_format=torch.channels_last).train()
    network.d1.eval()
    modes = [module.training for module in network.modules()]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    report = to_onnx(network, torch.randn(2, 3, 64, 48), tmp_path / "a" / "model.onnx", rounds=1)
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(before[n], value) for n, value in network.state_dict().items())
    assert network.head.weight.is_contiguous(memory_format=torch.channels_last)
    assert report.path.stat().st_size == report.size
    assert report.opset == OPSET
    assert report.onnx_ms > 0 < report.torch_ms
    onnx.checker.check_model(onnx.load(report.path), full_check=True)


class OtherInGraphs(nn.Module):
    """Gives something else when it is exported."""

    def forward(self, x):
        return x * (1.001 if torch.compiler.is_compiling() else 1.0)


def test_a_file_that_differs_is_not_written(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_text("what was there before")
    with pytest.raises(ValueError, match=r"model.onnx: not written: .* more than 0.0001"):
        to_onnx(OtherInGraphs(), torch.randn(2, 3), path)
    assert path.read_text() == "what was there before"
    assert list(tmp_path.iterdir()) == [path]
    report = to_onnx(OtherInGraphs(), torch.randn(2, 3), path, tolerance=0.01, rounds=1)
    assert 1e-4 < report.error < 1e-2


class Classes(nn.Module):
    """Integers and booleans, which in graphs are others if asked for."""

    def __init__(self, add=0):
        super().__init__()
        self.add = add

    def forward(self, x):
        add = self.add if torch.compiler.is_compiling() else 0
        return 100_000 * x.argmax(dim=1) + add, x > 0.5 * add


class NanInGraphs(nn.Module):
    """Not a number in the graph alone."""

    def forward(self, x):
        return x / (0 if torch.compiler.is_compiling() else 1) * 0


@pytest.mark.parametrize("last", [nn.Identity(), nn.Sigmoid()])
@pytest.mark.parametrize("dynamic_batch", [True, False])
def test_a_single_number(last, dynamic_batch, tmp_path):
    """It has no range, and yet rounding is no error."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 1), last
    )
    options = {"dynamic_batch": dynamic_batch, "rounds": 1}
    report = to_onnx(network, torch.randn(1, 3, 16, 16), tmp_path / "model.onnx", **options)
    assert 0 <= report.error < 1e-5


def test_integers_and_booleans_must_be_the_same(tmp_path):
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    report = to_onnx(Classes(), x, tmp_path / "model.onnx", rounds=1)
    assert report.error == 0
    assert run(tmp_path / "model.onnx", x)[1].dtype == bool
    with pytest.raises(ValueError, match="differs from PyTorch's by 1.0e"):
        to_onnx(Classes(1), x, tmp_path / "other.onnx")


def test_what_is_not_a_number_in_onnx_differs(tmp_path):
    with pytest.raises(ValueError, match="differs from PyTorch's by nan"):
        to_onnx(NanInGraphs(), torch.randn(2, 3), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_padding_that_depends_on_the_size(tmp_path):
    """Refused before the export, which would not end; for one size it is as any other."""
    layers = pytest.importorskip("timm.layers")
    network = nn.Sequential(layers.Conv2dSame(3, 4, 3, stride=2), layers.AvgPool2dSame(3, stride=2))
    x = torch.randn(2, 3, 16, 12)
    with pytest.raises(ValueError, match=r"dynamic_size: .*0 \(Conv2dSame\) and 1 more with timm"):
        to_onnx(network, x, tmp_path / "model.onnx", dynamic_size=True)
    assert to_onnx(network, x, tmp_path / "model.onnx", rounds=1).error <= 1e-4
    mixed = nn.Sequential(*(layers.CondConv2d(3, 3, 3, stride=2, padding="same") for _ in "ab"))
    with pytest.raises(ValueError, match=r"got 0 \(CondConv2d\) and 1 more with timm's SAME"):
        to_onnx(mixed, x, tmp_path / "mixed.onnx", dynamic_size=True)


def test_padding_that_pytorch_can_do_with(tmp_path):
    """One layer with a stride, and any number of those whose padding is the same for all sizes."""
    layers = pytest.importorskip("timm.layers")
    network = nn.Sequential(
        layers.Conv2dSame(3, 4, 3, stride=2), layers.AvgPool2dSame(2, stride=1), nn.ReLU(),
        layers.Conv2dSame(4, 4, 3, stride=1),
    )  # fmt: skip
    report = to_onnx(network, torch.randn(2, 3, 16, 13), tmp_path / "a.onnx", dynamic_size=True)
    assert report.error <= 1e-4
    assert list(report.inputs.values()) == [("batch", 3, "height", "width")]


def test_trunks_with_same_padding_at_any_size(tmp_path):
    """Of the packaged networks, at a finer stride; exact at every multiple of it."""
    pytest.importorskip("timm")
    config = PoseNetwork(
        "timm/tf_efficientnet_lite0", output_stride=8, deconv_channels=16, block="srl",
        block_options={"modes": 4},
    )  # fmt: skip
    checkpoint = save_pose(tmp_path / "lite.ckpt", config, (64, 48), COCO)
    report = export_pose(checkpoint, tmp_path, dynamic_size=True, rounds=1)
    assert report.error <= 1e-4
    assert json.loads((tmp_path / "model.json").read_text())["input"]["multiple_of"] == 8
    network, _, _ = load_pose_network(checkpoint)
    for size in ((64, 48), (40, 72), (136, 24), (16, 56)):
        assert error(tmp_path / "model.onnx", network, torch.randn(2, 3, *size)) <= 1e-4


class Stubborn(nn.Module):
    def forward(self, x):
        return x[0] if x.sum() > 0 else x[1]


class OneBatch(nn.Module):
    def forward(self, x):
        return x + torch.arange(16.0).reshape(2, 8)


class NotFinite(nn.Module):
    def forward(self, x):
        return x / 0


@pytest.mark.parametrize(
    ("network", "example", "options", "message"),
    [
        (Stubborn(), torch.randn(2, 3), {}, "^Stubborn cannot be exported to ONNX with any batch"),
        (NotFinite(), torch.randn(2, 3), {}, "output is not finite"),
        (nn.ReLU(), (), {}, "example: expected a tensor or a tuple of tensors, got nothing"),
        (nn.ReLU(), torch.tensor(1.0), {}, "expected samples on the first axis"),
        (nn.ReLU(), [torch.ones(2, 2), 3], {}, "got Tensor, int"),
        (nn.ReLU(), torch.ones(2, 2), {"dynamic_size": True}, r"dynamic_size: .* \[\(2, 2\)\]"),
        (nn.ReLU(), torch.ones(2, 2), {"rounds": 0}, "got rounds 0"),
        (nn.ReLU(), torch.ones(2, 2), {"tolerance": float("nan")}, "tolerance nan"),
        (nn.ReLU(), torch.ones(2, 2), {"opset": 40}, "opset: .* got 40, and 18"),
        (OneBatch(), torch.ones(2, 8), {}, "^OneBatch cannot be exported to ONNX with any batch"),
    ],
)
def test_what_is_refused(network, example, options, message, tmp_path):
    with pytest.raises(ValueError, match=message) as raised:
        to_onnx(network, example, tmp_path / "model.onnx", **options)
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_one_batch_alone(tmp_path):
    report = to_onnx(
        OneBatch(), torch.ones(2, 8), tmp_path / "model.onnx", dynamic_batch=False, rounds=1
    )
    assert list(report.inputs.values()) == [(2, 8)]


def test_public_name():
    assert spectral_residual.to_onnx is to_onnx


SAMPLING = {
    "stride": 2, "short_side": 36, "views": {"clips": 2, "placing": "even", "crops": 1}
}  # fmt: skip


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    root = tmp_path_factory.mktemp("checkpoints")
    pose = PoseNetwork(block="srl", block_options={"modes": 4}, **SHORT)
    video = VideoNetwork(block="srl", block_after=["backbone.layer2.0"])
    return {
        "pose": save_pose(root / "pose.ckpt", pose, (64, 64), COCO),
        "video": save_video(root / "video.ckpt", video, ["a", "b"], (32, 32), 4, SAMPLING),
    }


def export(checkpoint, output, *options):
    return main(["export", "--ckpt", str(checkpoint), "--output", str(output), *options])


def test_command_for_poses(checkpoints, tmp_path, capsys):
    assert export(checkpoints["pose"], tmp_path, "--json", "--dynamic-size") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["task"] == "pose"
    assert report["error"] <= 1e-4
    assert report["inputs"] == {"image": ["batch", 3, "height", "width"]}
    assert min(report["onnx_ms"], report["torch_ms"]) > 0
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx", "model.json"}
    content = json.loads((tmp_path / "model.json").read_text())
    assert content["input"]["size"] == [64, 64]
    assert content["input"]["any_size"]
    assert content["crop"]["padding"] == 1.25
    assert content["decoding"]["flip_test"]
    assert content["skeleton"] == COCO.to_dict()


def test_command_for_videos(checkpoints, tmp_path, capsys):
    assert export(checkpoints["video"], tmp_path, "--opset", "20", "--rounds", "2") == 0
    printed = capsys.readouterr().out
    for part in ("opset 20", "of the output's range", "in ONNX Runtime,", "medians of 2 rounds"):
        assert part in printed
    content = json.loads((tmp_path / "model.json").read_text())
    assert content["classes"] == ["a", "b"]
    assert content["sampling"] == {"frames": 4, "seed": 0, **SAMPLING}


def test_command_that_fails_writes_nothing(checkpoints, tmp_path, capsys):
    assert export(checkpoints["pose"], tmp_path, "--tolerance", "1e-12") == 2
    assert "not written" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_wrong_arguments_of_the_command(checkpoints, tmp_path, capsys):
    (tmp_path / "file").write_text("kept")
    other = tmp_path / "other.ckpt"
    torch.save({"state_dict": {}}, other)
    for checkpoint, output, options, message in (
        (tmp_path / "absent.ckpt", tmp_path / "a", [], "no checkpoint"),
        (other, tmp_path / "a", [], "other.ckpt: not a checkpoint of 'srl pose fit'"),
        (checkpoints["video"], tmp_path / "a", ["--dynamic-size"], "is of a video network"),
        (checkpoints["pose"], tmp_path / "file", [], "File exists"),
    ):
        assert export(checkpoint, output, *options) == 2
        assert message in capsys.readouterr().err
    (tmp_path / "taken/model.json").mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pose_export, "to_onnx", None)
        assert export(checkpoints["pose"], tmp_path / "taken") == 2
    assert f"Is a directory: '{tmp_path / 'taken/model.json'}'" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "kept"
    assert not (tmp_path / "a").exists()
