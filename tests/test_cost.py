"""Costs against the paper's printed tables and against counts by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from networks import create_simple_baseline
from spectral_residual import BLOCKS, create_block, insert_blocks
from spectral_residual.cost import Cost, measure_cost

PRINTED = 0.01  # the tables print two decimals
SIZES = [(256, 192), (384, 288), (512, 384)]

# Table 2: GFLOPs at the three sizes, parameters in millions.
PAPER_BASE = {
    "resnet50": ([8.99, 20.23, 35.97], 34.00),
    "resnet101": ([12.38, 27.85, 49.52], 52.99),
    "resnet152": ([15.76, 35.47, 63.06], 68.64),
}
PAPER_SRL_FFT = {
    "resnet50": ([9.08, 20.43, 36.32], 34.10),
    "resnet101": ([12.46, 28.05, 49.86], 53.09),
    "resnet152": ([15.85, 35.67, 63.41], 68.74),
}
# The same cells recomputed to three decimals (by the counting rules of docs and `srl tables`).
RECOMPUTED = {
    "resnet50": [8.991, 20.230, 35.965],
    "resnet101": [12.378, 27.850, 49.512],
    "resnet152": [15.765, 35.470, 63.059],
}
RECOMPUTED_SRL_FFT = [9.077, 20.426, 36.318]


def baseline(backbone, size, block=None):
    """SimpleBaseline on the meta device: nothing is drawn and nothing computed."""
    with torch.device("meta"):
        return create_simple_baseline(backbone=backbone, input_size=size, block=block)


@pytest.mark.parametrize("backbone", PAPER_BASE)
def test_table_2_base(backbone):
    gflops, millions = PAPER_BASE[backbone]
    for size, printed, recomputed in zip(SIZES, gflops, RECOMPUTED[backbone], strict=True):
        cost = measure_cost(baseline(backbone, size), (3, *size))
        assert abs(cost.gflops - printed) <= PRINTED
        assert abs(cost.gflops - recomputed) <= 1e-3
        assert abs(cost.parameters / 1e6 - millions) <= PRINTED


@pytest.mark.parametrize("backbone", PAPER_SRL_FFT)
def test_table_2_with_srl_fft(backbone):
    gflops, millions = PAPER_SRL_FFT[backbone]
    for i, size in enumerate(SIZES):
        cost = measure_cost(baseline(backbone, size, "srl-fft"), (3, *size))
        assert abs(cost.gflops - gflops[i]) <= PRINTED
        if backbone == "resnet50":
            assert abs(cost.gflops - RECOMPUTED_SRL_FFT[i]) <= 1e-3
        assert abs(cost.parameters / 1e6 - millions) <= PRINTED


@pytest.mark.parametrize(
    ("size", "printed", "recomputed"), [((256, 192), 0.09, 0.086), ((384, 288), 0.20, 0.196)]
)
def test_table_3_srl_fft(size, printed, recomputed):
    base = measure_cost(baseline("resnet50", size), (3, *size))
    with_blocks = measure_cost(baseline("resnet50", size, "srl-fft"), (3, *size))
    gflops = with_blocks.gflops - base.gflops
    assert abs(gflops - printed) <= PRINTED
    assert abs(gflops - recomputed) <= 1e-3
    convolutions, norms = 3 * 2 * (512 * 256 // 8), 3 * 2 * (256 + 512)
    assert with_blocks.parameters - base.parameters == convolutions + norms
    assert convolutions == 98_304  # printed: 0.10 million, with or without the norms


def test_three_blocks_by_hand():
    """Convolutions on the half spectrum, both transforms, nothing else."""
    expected = 0.0
    for height, width in ((16, 12), (32, 24), (64, 48)):
        positions = height * width
        expected += 2 * (512 * 256 // 8) * height * (width // 2 + 1)
        expected += 2 * 256 * positions * math.log2(positions)
    base = measure_cost(baseline("resnet50", (256, 192)), (3, 256, 192))
    with_blocks = measure_cost(baseline("resnet50", (256, 192), "srl-fft"), (3, 256, 192))
    assert with_blocks.operations - base.operations == pytest.approx(expected, rel=1e-12)


def test_exact_cost_of_the_base_network():
    """5.43e9 multiply-accumulates (protocol B), not the 9.654e9 of the paper's tool."""
    model = baseline("resnet50", (256, 192))
    exact = measure_cost(model, (3, 256, 192), "exact")
    paper = measure_cost(model, (3, 256, 192), "paper")
    assert exact.operations == pytest.approx(5.43e9, rel=1e-3)
    assert paper.operations == pytest.approx(9.654e9, rel=1e-3)
    assert exact.parameters == sum(p.numel() for p in model.parameters()) == 33_999_697
    head = sum(p.weight.numel() * 4 * n for p, n in zip((model.d1[0], model.d2[0], model.d3[0]),
                                                        (48, 192, 768), strict=True))  # fmt: skip
    assert paper.operations - exact.operations == head * 3 / 4


LAYERS = {
    "conv": (nn.Conv2d(6, 8, 3, stride=2, padding=1, groups=2), (6, 9, 7), 8 * 3 * 9 * 20, None),
    "pointwise": (nn.Conv2d(3, 4, 1), (3, 5, 5), 12 * 25, None),
    "conv1d": (nn.Conv1d(3, 4, 2), (3, 6), 3 * 4 * 2 * 5, None),
    "conv3d": (nn.Conv3d(2, 3, (1, 3, 3)), (2, 4, 5, 5), 2 * 3 * 9 * 36, None),
    "deconv": (nn.ConvTranspose2d(3, 4, 4, 2, 1), (3, 5, 6), 192 * 120, 192 * 30),
    "linear": (nn.Linear(7, 5), (7,), 35, None),
    "linear-on-maps": (nn.Linear(7, 5), (4, 7), 140, None),
    "norm": (nn.BatchNorm2d(3), (3, 5, 5), 0, None),
    "relu": (nn.ReLU(), (3, 5, 5), 0, None),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_by_hand(name):
    layer, size, paper, exact = LAYERS[name]
    assert measure_cost(layer, size).operations == paper
    assert measure_cost(layer, size, "exact").operations == (paper if exact is None else exact)


class Frames(nn.Module):
    """Runs a network on every frame of a video (N, C, T, H, W), frames in the batch axis."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x.transpose(1, 2).flatten(0, 1))


@pytest.mark.parametrize("accounting", ["paper", "exact"])
def test_frames_in_the_batch_axis_count(accounting):
    network = nn.Sequential(
        nn.Conv2d(8, 8, 3), create_block("srl-dct", 8, (4, 5)), nn.ConvTranspose2d(8, 2, 2)
    )
    image = measure_cost(network, (8, 6, 7), accounting)
    video = measure_cost(Frames(network), (8, 5, 6, 7), accounting)
    assert video.operations == 5 * image.operations
    assert video.parameters == image.parameters


@pytest.mark.parametrize("name", [name for name in BLOCKS if name.startswith("srl-")])
def test_parameters_of_both_accountings(name):
    block = create_block(name, 16, (12, 10))
    convolutions = block.conv1.weight.numel() + block.conv2.weight.numel()
    norms = 2 * (block.bn1.num_features + block.bn2.num_features)
    learnable = 144 + 100 if name == "srl-lo" else 0
    filters = 2 * block.relu.weight.numel()
    paper = measure_cost(block, (16, 12, 10))
    exact = measure_cost(block, (16, 12, 10), "exact")
    assert exact.parameters == convolutions + norms + learnable + filters + 1
    assert paper.parameters == exact.parameters - filters - 1
    assert exact.operations == paper.operations


def test_a_layer_called_twice_counts_twice_on_paper_and_its_parameters_once_exactly():
    layer = nn.Conv2d(4, 4, 1)
    model = nn.Sequential(layer, nn.ReLU(), layer)
    paper, exact = (measure_cost(model, (4, 3, 3), a) for a in ("paper", "exact"))
    assert (paper.parameters, exact.parameters) == (40, 20)
    assert paper.operations == exact.operations == 2 * 16 * 9


ACCOUNTINGS = ["paper", "paper+bn", "exact"]


@pytest.mark.parametrize("accounting", ACCOUNTINGS)
def test_layers_by_name_are_what_the_totals_are_made_of(accounting):
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        create_block("srl-dct", 16, (6, 5)),
        nn.ConvTranspose2d(16, 2, 2, stride=2),
    )
    cost = measure_cost(model, (3, 6, 5), accounting)
    exact, norms = accounting == "exact", 2 * (accounting == "paper+bn")
    expected = {
        "0": ("Conv2d", 3 * 16 * 9 * 30, 432),
        "1": ("BatchNorm2d", norms * 16 * 30, 32),
        "3": ("SRLBlock", 2 * 16 * 30 * 11, int(exact)),
        "3.conv1": ("Conv2d", 16 * 8 // 2 * 30, 64),
        "3.bn1": ("BatchNorm2d", norms * 8 * 30, 16),
        "3.relu": ("SpectralReLU", 0, 60 * exact),
        "3.conv2": ("Conv2d", 16 * 8 // 2 * 30, 64),
        "3.bn2": ("BatchNorm2d", norms * 16 * 30, 32),
        "4": ("ConvTranspose2d", 128 * (30 if exact else 120), 130),
    }
    if not exact:
        del expected["3.relu"]
    found = {layer.name: (layer.type, layer.operations, layer.parameters) for layer in cost.layers}
    assert found == expected
    assert list(found) == list(expected)
    assert cost.operations == sum(operations for _, operations, _ in expected.values())
    assert cost.parameters == sum(parameters for _, _, parameters in expected.values())


def test_layers_that_are_called_twice_share_weights_or_are_not_called():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.twice = nn.Linear(4, 4, bias=False)
            self.tied = nn.Linear(4, 4, bias=False)
            self.tied.weight = self.twice.weight
            self.idle = nn.Linear(4, 3)

        def forward(self, x):
            return self.tied(self.twice(self.twice(x)))

    def layers(accounting):
        cost = measure_cost(Model(), (4,), accounting)
        return [(layer.name, layer.operations, layer.parameters) for layer in cost.layers]

    assert layers("paper") == [("twice", 32, 32), ("tied", 16, 16)]
    assert layers("exact") == [("twice", 32, 16), ("tied", 16, 0), ("idle", 0, 15)]


def test_the_network_itself_has_no_name():
    (layer,) = measure_cost(nn.Linear(4, 3), (4,)).layers
    assert (layer.name, layer.type) == ("", "Linear")


class Attention(nn.Module):
    """Products by functions alone, beside a layer and around a block with products of its own."""

    def __init__(self):
        super().__init__()
        self.heads = nn.MultiheadAttention(8, 2, batch_first=True)
        self.weight = nn.Parameter(torch.ones(8, 16))
        self.block = create_block("non-local", 16, (5, 1), memory_efficient=False)

    def forward(self, x):
        y = self.heads(x, x, x, need_weights=False)[0] @ self.weight
        y = self.block(y.mT.unsqueeze(3)).squeeze(3).mT
        return nn.functional.scaled_dot_product_attention(y, y, y)


@pytest.mark.parametrize("accounting", ACCOUNTINGS)
def test_products_by_functions_count_once_where_they_are_called(accounting):
    cost = measure_cost(Attention(), (5, 8), accounting)
    found = {layer.name: layer.operations for layer in cost.layers}
    projections, attention = 4 * 5 * 8 * 8, 2 * 2 * 5 * 5 * 4
    assert found["heads"] == projections + attention
    assert found[""] == 5 * 8 * 16 + 2 * 5 * 5 * 16
    assert found["block"] == 2 * 5 * 5 * 8
    assert found["block.theta"] == 5 * 16 * 8


def test_exact_operations_are_those_of_the_counter_of_torch():
    """Where there are neither blocks nor deconvolutions; it counts two for one."""
    pytest.importorskip("torchvision")
    from torch.utils.flop_counter import FlopCounterMode
    from torchvision.models import get_model

    for name in ("swin_t", "resnet18", "vit_b_32"):
        with torch.device("meta"):
            model = get_model(name).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(torch.empty(1, 3, 224, 224, device="meta"))
        cost = measure_cost(model, (3, 224, 224), "exact")
        assert cost.operations == counter.get_total_flops() / 2


def test_the_network_is_not_changed():
    model = insert_blocks(
        nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16)), ["1"], input_size=(3, 9, 8)
    ).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    measure_cost(model, (3, 9, 8))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


def test_errors():
    with pytest.raises(ValueError, match="unknown accounting 'papr'; did you mean 'paper'"):
        measure_cost(nn.Conv2d(3, 4, 1), (3, 5, 5), "papr")
    with pytest.raises(ValueError, match=r"Conv2d does not run .* shape \(1, 4, 5, 5\)"):
        measure_cost(nn.Conv2d(3, 4, 1), (4, 5, 5))


def test_gflops_are_binary():
    assert Cost(operations=2.0**30, parameters=0, accounting="paper").gflops == 1.0
