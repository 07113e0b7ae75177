"""``srl cost``, and the plot of operations against map size."""

from __future__ import annotations

import json

import pytest
import torch
import torchvision

from spectral_residual import BLOCKS, VIDEO_BLOCKS, create_block
from spectral_residual.cli import _command
from spectral_residual.cost import measure_cost
from spectral_residual.lab.cost.command import create_network, library_network
from spectral_residual.lab.cost.plot import FORMULAS, measure_growth


def main(arguments):
    return _command(["cost", *arguments])


def cells(line):
    return line.replace("|", " ").split()


def run(capsys, *arguments):
    assert main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out


def run_json(capsys, *arguments):
    return json.loads(run(capsys, *arguments, "--json"))


# ---- blocks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("accounting", ["paper", "paper+bn", "exact"])
def test_a_block_as_json(capsys, accounting):
    found = run_json(
        capsys, "block", "srl-fft", "--channels", 256, "--size", 64, 48, "--accounting", accounting
    )
    cost = measure_cost(create_block("srl-fft", 256, (64, 48)), (256, 64, 48), accounting)
    layers = found.pop("layers")
    assert found == {
        "block": "srl-fft",
        "channels": 256,
        "size": [64, 48],
        "accounting": accounting,
        "operations": cost.operations,
        "gflops": cost.operations / 2**30,
        "parameters": cost.parameters,
    }
    assert sum(layer["operations"] for layer in layers) == cost.operations
    assert sum(layer["parameters"] for layer in layers) == cost.parameters
    (conv,) = (layer for layer in layers if layer["name"] == "conv1")
    assert conv == {
        "name": "conv1", "type": "Conv2d",
        "operations": 512 * 256 // 8 * 64 * 25, "parameters": 512 * 256 // 8,
    }  # fmt: skip


def test_a_block_as_text(capsys):
    lines = run(capsys, "block", "a2", "--channels", 256, "--size", 64, 48).splitlines()
    assert cells(lines[0]) == ["layer", "type", "operations", "parameters"]
    assert cells(lines[2]) == ["(itself)", "DoubleAttentionBlock", "25,165,824", "0"]
    assert cells(lines[3]) == ["features", "Conv2d", "50,331,648", "16,384"]
    assert cells(lines[-3]) == ["total", "226,492,416", "65,536"]
    assert "0.2109 GFLOPs" in lines[-1]
    assert "paper accounting" in lines[-1]
    assert len({len(line) for line in lines[:-2]}) == 1  # numbers are aligned


def test_options_of_a_block(capsys):
    size = ["--channels", 32, "--size", 4, 8, 8]
    plain = run_json(capsys, "block", "non-local", *size)
    pooled = run_json(capsys, "block", "non-local", *size, "--option", "subsample=true")
    assert pooled["operations"] < plain["operations"]
    options = ["--option", "order=interleaved", "--option", "groups=1"]
    found = run_json(capsys, "block", "srl-fft", *size, *options)
    conv = next(layer for layer in found["layers"] if layer["name"] == "conv1")
    assert conv["parameters"] == 64 * 32


@pytest.mark.parametrize(("size", "names"), [((8, 8), BLOCKS), ((4, 8, 8), VIDEO_BLOCKS)])
def test_all_blocks(capsys, size, names):
    arguments = ["block", "all", "--channels", 64, "--size", *size]
    rows = run_json(capsys, *arguments)
    assert [row["block"] for row in rows] == list(names)
    lines = run(capsys, *arguments).splitlines()
    assert cells(lines[0]) == ["block", "operations", "parameters"]
    for line, row in zip(lines[2:], rows, strict=True):
        printed = [row["block"], f"{row['operations']:,.0f}", f"{row['parameters']:,}"]
        assert cells(line) == printed


# ---- networks ----------------------------------------------------------------------------------


def test_simple_baseline_with_blocks(capsys):
    arguments = ["model", "simple_baseline_resnet50", "--input", 3, 256, 192]
    base = run_json(capsys, *arguments)
    found = run_json(capsys, *arguments, "--block", "srl-fft")
    assert base["gflops"] == pytest.approx(8.991, abs=1e-3)
    assert found["gflops"] == pytest.approx(9.077, abs=1e-3)
    one = run_json(capsys, *arguments, "--block", "srl-fft", "--after", "d2")
    assert base["operations"] < one["operations"] < found["operations"]
    names = {layer["name"] for layer in one["layers"]} - {layer["name"] for layer in base["layers"]}
    assert names == {f"d2.srl{part}" for part in ("", ".conv1", ".bn1", ".conv2", ".bn2")}


def test_c2d_with_blocks(capsys):
    """Table 8 prints 0.08 GFLOPs and 86.06 Ki parameters for four SRL-FFT blocks."""
    arguments = ["model", "c2d_resnet18", "--input", 3, 8, 224, 224, "--accounting", "paper+bn"]
    base = run_json(capsys, *arguments)
    found = run_json(capsys, *arguments, "--block", "srl-fft")
    assert found["gflops"] - base["gflops"] == pytest.approx(0.0804, abs=1e-4)
    assert (found["parameters"] - base["parameters"]) / 1024 == 86.0625
    places = {
        layer["name"].split("_srl")[0] for layer in found["layers"] if "_srl" in layer["name"]
    }
    assert places == {f"backbone.layer{stage}.{i}" for stage in (2, 3) for i in (0, 1)}
    one = run_json(capsys, *arguments, "--block", "srl-fft", "--after", "backbone.layer3")
    assert base["operations"] < one["operations"] < found["operations"]
    frames = run_json(capsys, *arguments, "--block", "rcca", "--after", "backbone.layer3")
    block = measure_cost(create_block("rcca", 256, (14, 14)), (256, 14, 14), "paper+bn")
    added = frames["operations"] - base["operations"]
    assert added == pytest.approx(4 * block.operations, rel=1e-9)


def test_a_network_of_torchvision(capsys):
    """3.6e9 operations / 2, and 11,689,512 parameters, are in everybody's tables."""
    exact = run_json(capsys, "model", "resnet18", "--input", 3, 224, 224, "--accounting", "exact")
    assert exact["parameters"] == 11_689_512
    assert exact["operations"] == pytest.approx(1.814e9, rel=1e-3)
    arguments = ["model", "resnet18", "--input", 3, 224, 224]
    text = run(capsys, *arguments, "--block", "srl-lo", "--after", "layer3", "layer4")
    assert "layer3.srl.transform" in text
    assert "LearnableOrthogonal" in text
    added = run_json(capsys, *arguments, "--block", "srl-lo", "--after", "layer3", "layer4")
    assert added["after"] == ["layer3", "layer4"]
    assert added["parameters"] > run_json(capsys, *arguments)["parameters"]


def test_a_network_for_videos():
    model = create_network("r3d_18", (3, 4, 32, 32), block="srl-fft", after=["layer3"])
    names = [type(m).__name__ for m in model.modules()]
    assert names.count("SRLVideoBlock") == 1


@pytest.mark.parametrize(
    "name", ["fasterrcnn_resnet50_fpn", "deeplabv3_resnet50", "ssd300_vgg16", "raft_small"]
)
def test_nothing_is_downloaded(name, monkeypatch):
    asked = []
    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", asked.append)
    with torch.device("meta"):
        assert isinstance(library_network(name), torch.nn.Module)
    assert asked == []


def test_a_network_of_timm():
    timm = pytest.importorskip("timm")
    name = "mobilenetv3_small_050"
    expected = sum(p.numel() for p in timm.create_model(name).parameters())
    for spelling in (name, f"timm/{name}"):
        cost = measure_cost(create_network(spelling, (3, 64, 64)), (3, 64, 64), "exact")
        assert cost.parameters == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("block srl-ftt --channels 64 --size 8 8", "unknown block .* did you mean 'srl-fft'"),
        ("block srl-fft --channels 12 --size 8 8", "divisible by groups"),
        ("block srl-fft --channels 64 --size 8", "two positive integers"),
        ("block rcca --channels 64 --size 4 8 8", "'rcca' is not defined for videos"),
        ("block a2 --channels 64 --size 8 8 --option grops", "KEY=VALUE, got 'grops'"),
        ("block srl-fft --channels 64 --size 8 8 --option grops=1", "did you mean 'groups'"),
        ("block all --channels 64 --size 8 8 --option groups=1", "for one block"),
        ("block a2 --channels 64 --size 8 8 --accounting papr", "did you mean 'paper'"),
        ("block a2 --channels 64 --size 4 8 8 --plot x.png", "--plot is for images"),
        ("block a2 --channels 64 --size 4 8 --plot x.png", "at least 8x8, got 4x8"),
        ("block a2 --channels 64 --size 8 8 --plot x.xyz", "xyz"),
        ("model resnet19 --input 3 64 64", "unknown network 'resnet19'; did you mean 'resnet1"),
        ("model simple_baseline_resnet51 --input 3 64 64", "did you mean 'resnet50'"),
        ("model simple_baseline_resnet18 --input 3 60 64", "height must be a multiple of 32"),
        ("model simple_baseline_resnet18 --input 1 64 64", "inputs 3 H W, got 1 64 64"),
        ("model c2d_resnet19 --input 3 8 64 64", "did you mean 'resnet18'"),
        ("model c2d_resnet18 --input 3 64 64", "inputs 3 T H W, got 3 64 64"),
        ("model c2d_resnet18 --input 3 7 64 64", "frames must be even, .* got 7"),
        ("model c2d_resnet18 --input 3 8 64 64 --block srl-fft-3", "did you mean 'srl-fft-3d'"),
        ("block tsm --channels 64 --size 8 8", "'tsm' is not defined for images"),
        ("model timm/resnet26.bt_in1 --input 3 64 64", "did you mean 'resnet26.bt_in1k'"),
        ("model resnet18 --input 3 0 64", "must be positive integers"),
        ("model resnet18 --input 3 64", r"does not run .* shape \(1, 3, 64\)"),
        ("model resnet18 --input 3 64 64 --after layer3", "but no block"),
        ("model resnet18 --input 3 64 64 --block a2", "at least one module"),
        ("model resnet18 --input 3 64 64 --block a2 --after layr3", "did you mean 'layer3"),
    ],
)
def test_mistakes_are_named(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        main(arguments.split())
    assert not list(tmp_path.iterdir())


# ---- the plot ----------------------------------------------------------------------------------

SIZES = [(8, 6), (16, 12), (24, 32)]


def test_transforms_and_products_grow_as_table_1_says():
    """Exactly, once the factor is taken from the first size; whole blocks do not."""
    growths = {name: growth for growth in measure_growth(64, SIZES) for name in growth.blocks}
    assert set(growths) == set(BLOCKS)
    for name, (_, formula) in FORMULAS.items():
        growth = growths[name]
        factor = growth.products[0] / formula(64, *SIZES[0])
        for size, counted in zip(SIZES, growth.products, strict=True):
            assert counted == pytest.approx(factor * formula(64, *size), rel=1e-12), name
        for size, counted, total in zip(SIZES, growth.products, growth.total, strict=True):
            cost = measure_cost(create_block(name, 64, size), (64, *size))
            assert total == cost.operations > counted
    assert growths["srl-lo"].blocks == ("srl-lo", "srl-dct", "srl-wht", "srl-haar", "srl-slant")


def test_a_plot_is_written_beside_the_numbers(capsys, tmp_path):
    path = tmp_path / "growth.png"
    found = run_json(capsys, "block", "srl-fft", "--channels", 64, "--size", 16, 12, "--plot", path)
    assert found["block"] == "srl-fft"
    assert path.read_bytes().startswith(b"\x89PNG")
    vectors = tmp_path / "growth.svg"
    run(capsys, "block", "all", "--channels", 64, "--size", 16, 12, "--plot", vectors)
    assert "<svg" in vectors.read_text()
