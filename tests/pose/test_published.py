"""Published SimpleBaseline and HRNet weights: names, shapes, and the same outputs."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torchvision
from keypoint_files import NAMES, write_split
from torch import nn
from torch.nn.functional import interpolate

from spectral_residual.cli import main
from spectral_residual.pose import from_pretrained, load_published
from spectral_residual.pose.skeleton import Skeleton

SIZE = (64, 64)


class Microsoft(nn.Module):
    """SimpleBaseline put together again, by the names of its authors."""

    def __init__(self, resnet, channels, joints=17):
        super().__init__()
        whole = torchvision.models.get_model(resnet)
        for name in ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4"):
            setattr(self, name, getattr(whole, name))
        layers, inputs = [], whole.fc.in_features
        for _ in range(3):
            layers += [nn.ConvTranspose2d(inputs, channels, 4, 2, 1, bias=False)]
            layers += [nn.BatchNorm2d(channels), nn.ReLU()]
            inputs = channels
        self.deconv_layers = nn.Sequential(*layers)
        self.final_layer = nn.Conv2d(channels, joints, 1)

    def stem(self, x):
        return torch.relu(self.bn1(self.conv1(x)))

    def forward(self, x):
        x = nn.functional.max_pool2d(self.stem(x), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.final_layer(self.deconv_layers(x))


def random_statistics(model):
    """Running statistics and norms that are not those of an untrained network."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low in ((module.running_mean, -0.2), (module.running_var, 0.8)):
                tensor.copy_(low + 0.4 * torch.rand(tensor.shape, generator=generator))
            module.weight.data.copy_(
                0.8 + 0.4 * torch.rand(module.weight.shape, generator=generator)
            )
    return model.eval()


@pytest.fixture(scope="module")
def microsoft():
    torch.manual_seed(0)
    return random_statistics(Microsoft("resnet18", 8))


def saved(path, state):
    torch.save(state, path)
    return path


def assert_same(model, reference, **tolerance):
    images = torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        torch.testing.assert_close(model.network(images), reference(images), **tolerance)


def mmpose(state, head):
    ours = ("deconv_layers.", "final_layer.")
    return {(head if n.startswith(ours) else "backbone.") + n: v for n, v in state.items()}


FORMS = {
    "microsoft": lambda state: state,
    "parallel": lambda state: {f"module.{n}": v for n, v in state.items()},
    "nested": lambda state: {"state_dict": state},
    "old": lambda state: {n: v for n, v in state.items() if "num_batches" not in n},
    "mmpose": lambda state: {
        "meta": {"version": "1.0", "sigmas": np.ones(17, np.float32)},
        "state_dict": mmpose(state, "head."),
    },
    "mmpose 0": lambda state: {"state_dict": mmpose(state, "keypoint_head.")},
}


@pytest.mark.parametrize("form", FORMS)
def test_simple_baseline_by_all_names(microsoft, tmp_path, form):
    path = saved(tmp_path / "pose_resnet.pth", FORMS[form](microsoft.state_dict()))
    model = load_published(path, SIZE)
    assert model.stored["network"]["backbone"] == "resnet18"
    assert model.stored["network"]["deconv_channels"] == 8
    assert model.skeleton.names[0] == "nose"
    assert_same(model, microsoft)


def test_arrays_of_numpy_1(microsoft, tmp_path):
    path = tmp_path / "old.pth"
    torch.save(FORMS["mmpose"](microsoft.state_dict()), path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    assert b"cnumpy._core.multiarray\n" in content
    path.write_bytes(content.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))
    assert_same(load_published(path, SIZE), microsoft)


@pytest.mark.parametrize("name", ["resnet34", "resnet50", "resnet101", "resnet152"])
def test_the_trunk_is_read_off_the_weights(tmp_path, name):
    with torch.device("meta"):
        state = Microsoft(name, 4).state_dict()
    state = {n: torch.zeros(v.shape, dtype=v.dtype) for n, v in state.items()}
    model = load_published(saved(tmp_path / "x.pth", state), SIZE)
    assert model.stored["network"]["backbone"] == name


def test_bgr_gives_the_same_for_rgb(microsoft, tmp_path):
    """Exact where the kernels see the crop alone; at its border zeros are padded."""
    path = saved(tmp_path / "bgr.pth", microsoft.state_dict())
    model = load_published(path, SIZE, bgr=True)
    pixels = torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(3))
    mean, deviation = (
        torch.tensor(values)[:, None, None]
        for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    trunk = model.network.backbone
    with torch.no_grad():
        got = trunk.relu(trunk.bn1(trunk.conv1((pixels - mean) / deviation)))
        expected = microsoft.stem((pixels.flip(1) - mean) / deviation)
    inside = (..., slice(2, -2), slice(2, -2))
    torch.testing.assert_close(got[inside], expected[inside])
    plain = load_published(path, SIZE).network.backbone
    with torch.no_grad():
        other = plain.relu(plain.bn1(plain.conv1((pixels - mean) / deviation)))
    assert (other - expected)[inside].abs().max() > 0.1


WRONG = {
    "a missing weight": (
        lambda s: {n: v for n, v in s.items() if n != "layer2.0.conv1.weight"},
        r"backbone\.layer2\.0\.conv1\.weight: nothing in the checkpoint, shape \(128, 64, 3, 3\)",
    ),
    "another shape": (
        lambda s: s | {"deconv_layers.3.weight": torch.zeros(8, 8, 2, 2)},
        r"d2\.0\.weight: shape \(8, 8, 2, 2\) in the checkpoint, shape \(8, 8, 4, 4\)",
    ),
    "one too many": (
        lambda s: s | {"deconv_layers.0.bias": torch.zeros(8)},
        r"d1\.0\.bias: shape \(8,\) in the checkpoint, nothing in the network",
    ),
    "no pose network": (
        lambda s: {n: v for n, v in s.items() if "final" not in n},
        "final_layer.weight, of a convolution, is not among",
    ),
    "one number": (
        lambda s: s | {"final_layer.weight": torch.zeros(())},
        "final_layer.weight, of a convolution, is not among",
    ),
    "more than the file": (
        lambda s: s | dict.fromkeys("abcdefgh", torch.zeros(2**21)),
        "its weights claim .* bytes, more than the file has",
    ),
    "no deconvolution": (
        lambda s: {n: v for n, v in s.items() if "deconv" not in n},
        r"deconv_layers\.0\.weight: expected",
    ),
    "other layers": (
        lambda s: s | {"layer1.2.conv1.weight": torch.zeros(1)},
        r"\(3, 2, 2, 2\) residual blocks",
    ),
    "other joints": (
        lambda s: s | {"final_layer.weight": torch.zeros(16, 8, 1, 1)},
        "it has 16 joints, not COCO's 17",
    ),
    "no tensors": (lambda s: {"a": 5}, "expected a mapping of names to tensors"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_named(microsoft, tmp_path, case):
    change, message = WRONG[case]
    path = saved(tmp_path / "wrong.pth", change(microsoft.state_dict()))
    with pytest.raises(ValueError, match=message) as caught:
        load_published(path, SIZE)
    assert str(caught.value).startswith(f"{path}: ")


def test_convert_writes_nothing_that_is_not_finite(microsoft, tmp_path, capsys):
    wrong = microsoft.state_dict() | {"bn1.bias": torch.full((64,), float("nan"))}
    path, out = saved(tmp_path / "nan.pth", wrong), tmp_path / "out"
    assert main(["pose", "convert", str(path), "--output", str(out)]) == 2
    assert "nan.pth: the weights bn1.bias are not finite" in capsys.readouterr().err
    model = load_published(saved(tmp_path / "sound.pth", microsoft.state_dict()), SIZE)
    model.network.head.bias.data[3] = float("inf")
    with pytest.raises(ValueError, match=r"the weights head\.bias are not finite"):
        model.save_pretrained(out)
    assert not out.exists()


def test_convert_writes_a_folder_that_predicts(tmp_path, capsys):
    write_split(tmp_path, "val", 2, seed=1)
    reference = random_statistics(Microsoft("resnet18", 8, joints=len(NAMES)))
    path = saved(tmp_path / "five.pth", reference.state_dict())
    arguments = ["pose", "convert", str(path), "--output", str(tmp_path / "five")]
    arguments += ["--input-size", "64", "64"]
    assert main(arguments) == 2
    assert "it has 5 joints, not COCO's 17" in capsys.readouterr().err
    assert main([*arguments, "--annotations", str(tmp_path / "val.json")]) == 0
    assert "resnet18, 5 joints" in capsys.readouterr().out
    model = from_pretrained(tmp_path / "five")
    assert model.skeleton.names == tuple(NAMES)
    assert_same(model, reference)
    assert "converted from five.pth" in (tmp_path / "five/README.md").read_text()
    assert json.loads((tmp_path / "five/config.json").read_text())["input_size"] == [64, 64]


class HRNet(nn.Module):
    """HRNet for poses put together again, by the names of its authors (cfg w32)."""

    def __init__(self, width=18, joints=17, all_outputs=False):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 3, 2, 1, bias=False), nn.BatchNorm2d(64)
        self.conv2, self.bn2 = nn.Conv2d(64, 64, 3, 2, 1, bias=False), nn.BatchNorm2d(64)
        shortcut = nn.Sequential(nn.Conv2d(64, 256, 1, bias=False), nn.BatchNorm2d(256))
        bottleneck = torchvision.models.resnet.Bottleneck
        others = [bottleneck(256, 64) for _ in range(3)]
        self.layer1 = nn.Sequential(bottleneck(64, 64, 1, shortcut), *others)
        widths = [width * 2**i for i in range(4)]
        self.transition1 = nn.ModuleList([unit(256, width), nn.Sequential(unit(256, widths[1], 2))])
        for number, modules in ((2, 1), (3, 4), (4, 3)):
            outputs = [number] * modules
            if number == 4 and not all_outputs:
                outputs[-1] = 1
            stage = [HighResolutionModule(widths[:number], out) for out in outputs]
            setattr(self, f"stage{number}", nn.ModuleList(stage))
            if number < 4:
                new = nn.Sequential(unit(widths[number - 1], widths[number], 2))
                places = [nn.Identity()] * number
                setattr(self, f"transition{number}", nn.ModuleList([*places, new]))
        self.final_layer = nn.Conv2d(width, joints, 1)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.layer1(torch.relu(self.bn2(self.conv2(x))))
        maps = [layer(x) for layer in self.transition1]
        for number in (2, 3, 4):
            for module in getattr(self, f"stage{number}"):
                maps = module(maps)
            if number < 4:
                maps = [*maps, getattr(self, f"transition{number}")[-1](maps[-1])]
        return self.final_layer(maps[0])


def unit(inputs, outputs, stride=1, activated=True):
    layers = [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, *([nn.ReLU()] if activated else []))


class HighResolutionModule(nn.Module):
    def __init__(self, widths, outputs):
        super().__init__()
        block = torchvision.models.resnet.BasicBlock
        self.branches = nn.ModuleList(
            nn.Sequential(*(block(width, width) for _ in range(4))) for width in widths
        )
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(self._fuse(widths, i, j) for j in range(len(widths)))
            for i in range(outputs)
        )

    @staticmethod
    def _fuse(widths, i, j):
        if j == i:
            return nn.Identity()
        if j > i:
            layers = [nn.Conv2d(widths[j], widths[i], 1, bias=False), nn.BatchNorm2d(widths[i])]
            return nn.Sequential(*layers)
        steps = [unit(widths[j], widths[j], 2) for _ in range(i - j - 1)]
        return nn.Sequential(*steps, unit(widths[j], widths[i], 2, activated=False))

    def forward(self, maps):
        maps = [branch(x) for branch, x in zip(self.branches, maps, strict=True)]
        fused = []
        for i, layers in enumerate(self.fuse_layers):
            size = maps[i].shape[2:]
            parts = [layer(x) for layer, x in zip(layers, maps, strict=True)]
            fused.append(torch.relu(sum(interpolate(part, size) for part in parts)))
        return fused


@pytest.mark.parametrize(
    ("form", "all_outputs"), [("microsoft", False), ("mmpose", True), ("mmpose 0", False)]
)
def test_hrnet(tmp_path, form, all_outputs):
    pytest.importorskip("timm")
    torch.manual_seed(0)
    reference = random_statistics(HRNet(all_outputs=all_outputs))
    path = saved(tmp_path / "hrnet.pth", FORMS[form](reference.state_dict()))
    model = load_published(path, SIZE)
    assert model.stored["network"]["backbone"] == "timm/hrnet_w18"
    assert model.network.deconvolutions == ()
    assert not any("incre" in name for name in model.network.state_dict())
    assert_same(model, reference, rtol=1e-4, atol=1e-5)
    again = from_pretrained(model.save_pretrained(tmp_path / "folder"))
    assert_same(again, reference, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("width", [32, 48])
def test_hrnet_of_the_published_widths(tmp_path, width):
    pytest.importorskip("timm")
    with torch.device("meta"):
        state = HRNet(width).state_dict()
    state = {n: torch.zeros(v.shape, dtype=v.dtype) for n, v in state.items()}
    model = load_published(saved(tmp_path / "x.pth", state), SIZE)
    assert model.stored["network"]["backbone"] == f"timm/hrnet_w{width}"
    del state["stage3.1.branches.2.0.conv1.weight"]
    with pytest.raises(ValueError, match=r"stage3\.1\.branches\.2\.0\.conv1\.weight: nothing in"):
        load_published(saved(tmp_path / "x.pth", state), SIZE)


def test_another_skeleton(microsoft, tmp_path):
    path = saved(tmp_path / "x.pth", microsoft.state_dict())
    names = tuple(f"joint{n}" for n in range(17))
    model = load_published(path, SIZE, Skeleton(names, (), None, ()))
    assert model.skeleton.names == names
    with pytest.raises(ValueError, match="it has 17 joints, not the given skeleton's 2"):
        load_published(path, SIZE, Skeleton(("a", "b"), (), None, ()))
