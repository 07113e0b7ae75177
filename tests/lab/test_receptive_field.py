"""The effective receptive field, by networks whose gradient is known, and ``srl viz``."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch
from keypoint_files import SIGMAS, write_split
from torch import nn

from spectral_residual import create_block
from spectral_residual.commands import run_function
from spectral_residual.lab.viz.command import viz
from spectral_residual.lab.viz.receptive_field import (
    ReceptiveField,
    effective_receptive_field,
    receptive_field_figure,
)
from spectral_residual.pose.commands import pose_cli


def images(count=3, size=(16, 12)):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 3, *size, dtype=torch.float64, generator=generator)


class Mean(nn.Module):
    """Every output is the mean of the whole image."""

    def forward(self, x):
        return x.mean(dim=(2, 3), keepdim=True).expand_as(x)


def test_a_convolution_gives_its_mirrored_kernel():
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 4, 3, padding=1, bias=False).double()
    field = effective_receptive_field(layer, images())
    kernel = layer.weight.detach().sum(dim=0)
    expected = np.zeros((16, 12))
    expected[7:10, 5:8] = kernel.abs().sum(dim=0).numpy()
    np.testing.assert_allclose(field.absolute, expected, atol=1e-12)
    expected[7:10, 5:8] = kernel.square().sum(dim=0).numpy()
    np.testing.assert_allclose(field.energy, expected, atol=1e-12)
    assert field.shares()["energy_outside"] == 0


def test_any_position_of_the_map():
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 4, 3, padding=1, bias=False).double()
    field = effective_receptive_field(layer, images(), at=(15, 0))
    kernel = layer.weight.detach().sum(dim=0).abs().sum(dim=0).numpy()
    expected = np.zeros((16, 12))
    expected[14:, :2] = kernel[:2, 1:]
    np.testing.assert_allclose(field.absolute, expected, atol=1e-12)
    for at in ((16, 0), (0, -1)):
        with pytest.raises(ValueError, match=r"expected a row and column of a map of 16x12"):
            effective_receptive_field(layer, images(), at=at)


def test_a_global_mean_sees_everything_alike():
    field = effective_receptive_field(Mean(), images())
    np.testing.assert_allclose(field.absolute, 3 / (16 * 12), rtol=1e-12)
    assert field.shares()["energy_outside"] == pytest.approx(0.75)
    assert field.shares()["absolute_outside"] == pytest.approx(0.75)


def test_images_are_averaged_and_signs_do_not_cancel():
    class Square(nn.Module):
        def forward(self, x):
            return x * x

    pixels = images(11)
    field = effective_receptive_field(Square(), pixels)
    centre = 2 * pixels[:, :, 8, 6]
    assert field.absolute[8, 6] == pytest.approx(centre.abs().sum(1).mean().item())
    assert field.energy[8, 6] == pytest.approx(centre.square().sum(1).mean().item())
    assert np.count_nonzero(field.absolute) == 1


def test_a_layer_in_the_middle():
    model = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), Mean()).double()
    local = effective_receptive_field(model, images(), layer="0")
    assert np.count_nonzero(local.absolute) == 9
    assert np.count_nonzero(effective_receptive_field(model, images()).absolute) == 16 * 12


def test_a_spectral_block_sees_everything_once_it_is_used():
    torch.manual_seed(0)
    block = create_block("srl-fft", 16, size=(16, 12)).double()
    model = nn.Sequential(nn.Conv2d(3, 16, 1).double(), block)
    assert np.count_nonzero(effective_receptive_field(model, images()).absolute) == 1
    block.alpha.data.fill_(1.0)
    field = effective_receptive_field(model, images())
    assert np.count_nonzero(field.absolute) == 16 * 12
    assert field.shares()["absolute_outside"] > 0.1


def test_the_model_is_left_as_it_was():
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)).double()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.no_grad():
        effective_receptive_field(model, images())
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not model._forward_hooks
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_what_is_no_map():
    with pytest.raises(ValueError, match=r"expected images of shape .* got \(0, 3, 16, 12\)"):
        effective_receptive_field(Mean(), images()[:0])
    with pytest.raises(ValueError, match=r"output of the network must be a map .* got \(3, 576\)"):
        effective_receptive_field(nn.Flatten(), images())
    shared = nn.Conv2d(3, 3, 1).double()
    with pytest.raises(ValueError, match="module '0' must be called once for an input, got 2"):
        effective_receptive_field(nn.Sequential(shared, shared), images(), layer="0")


def test_figure():
    field = ReceptiveField(np.ones((16, 12)), np.ones((16, 12)))
    assert receptive_field_figure({"a": field, "$b": field}).startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="at least one"):
        receptive_field_figure({})


# ---- srl viz -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Options for the data, and checkpoints without a block and with one that is used."""
    root = tmp_path_factory.mktemp("viz")
    write_split(root, "train", 8, seed=1)
    write_split(root, "val", 12, seed=2)
    splits = {name: {"annotations": f"{name}.json", "images": name} for name in ("train", "val")}
    options = [
        "--data.root", str(root), "--data.train", json.dumps(splits["train"]),
        "--data.val", json.dumps(splits["val"]), "--data.input_size", "[64, 64]",
        "--data.joints.sigmas", json.dumps(SIGMAS), "--data.loading.workers", "0",
    ]  # fmt: skip
    network = {"backbone": "resnet18", "stages": 2, "deconv_channels": 16}
    files = {}
    for name, block in (("base", None), ("srl", "srl-fft")):
        content = json.dumps(network | {"block": block, "block_after": ["d1"]})
        cli = pose_cli([*options, "--model.network", content], run=False)
        if block is not None:
            cli.model.network.d1.srl.alpha.data.fill_(1.0)
        cli.trainer.strategy.connect(cli.model)
        files[name] = root / f"{name}.ckpt"
        cli.trainer.save_checkpoint(files[name])
    return options, files


def main(arguments):
    return run_function(viz, arguments, "srl viz")


def test_viz_compares_checkpoints(checkpoints, tmp_path, capsys):
    options, files = checkpoints
    named = [f"{name}={path}" for name, path in files.items()]
    output = tmp_path / "out"
    command = ["--ckpt", *named, "--output", str(output), "--images", "11", *options]
    assert main([*command, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    shares = {name: found["energy_outside"] for name, found in summary["receptive_field"].items()}
    assert 0 <= shares["base"] < shares["srl"] < 1
    expected = ["receptive_field", "filters_srl", "skeletons", "heatmaps"]
    files = [str(output / f"{name}.png") for name in expected]
    assert summary["files"] == [*files, str(output / "index.html")]
    page = (output / "index.html").read_text()
    assert f"<td>{100 * shares['srl']:.1f} %</td>" in page
    assert page.count("<img ") == len(expected)
    for rows, name in ((3, "skeletons"), (2, "heatmaps")):
        picture = cv2.imread(str(output / f"{name}.png"))
        assert picture.shape[0] == rows * 132
        margin = picture[:, : -10 * 132]
        assert (margin[:, :4] == 255).all()
        named = margin.min(axis=(1, 2)).reshape(rows, 132) == 0
        assert named.any(axis=1).all()
        assert not named[:, [0, -1]].any()
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert [f"{100 * share:.1f} %" in printed for share in shares.values()] == [True, True]
    assert printed.splitlines()[-1] == str(output / "index.html")
    assert main([*command, "--layer", "backbone.layer2", "--json"]) == 0
    at_trunk = json.loads(capsys.readouterr().out)["receptive_field"]
    assert at_trunk["srl"]["energy_outside"] < shares["srl"]


def test_viz_refuses_what_does_not_fit(checkpoints, tmp_path):
    options, files = checkpoints
    base = str(files["base"])
    with pytest.raises(ValueError, match="two checkpoints are called 'base'; write NAME=FILE"):
        main(["--ckpt", base, base, *options])
    with pytest.raises(ValueError, match=r"--ckpt: got name 'a\\udcff', expected a printable one"):
        main(["--ckpt", "a\udcff.ckpt", *options])
    with pytest.raises(ValueError, match=r"--ckpt base: a model for 64x64 .* data are 32x64"):
        main(["--ckpt", base, *options, "--data.input_size", "[32, 64]"])
    with pytest.raises(ValueError, match="--images must be positive, got 0"):
        main(["--ckpt", base, "--images", "0", *options])
    with pytest.raises(FileNotFoundError, match="no checkpoint .*none"):
        main(["--ckpt", str(tmp_path / "none.ckpt"), *options])
