"""Blocks by pattern and class, of any call and output; reported, and taken out again."""

from __future__ import annotations

import copy
import itertools
import pickle
import re

import pytest
import torch
from torch import Tensor, nn

from spectral_residual import create_block, insert_blocks, inserted_blocks, remove_blocks
from spectral_residual.blocks import BLOCKS, TIMM_BLOCKS, VIDEO_BLOCKS, option_names
from spectral_residual.cost import measure_cost

SIZE = (3, 64, 64)

PLACES = {
    "torchvision-resnet18": ["layer1.0", "layer2", "layer3.1.conv2", "maxpool"],
    "torchvision-vgg11": ["features.9", "features"],
    "torchvision-densenet121": ["features.denseblock1", "features.denseblock1.denselayer2"],
    "torchvision-deeplabv3_mobilenet_v3_large": ["backbone.4", "classifier.4"],
    "timm-resnet18": ["layer1", "layer4.0"],
    "timm-convnext_atto": ["stages.0", "stages.2.blocks.1"],
}


def network(name):
    torch.manual_seed(0)
    library, _, name = name.partition("-")
    if library == "timm":
        import timm

        return timm.create_model(name).eval()
    import torchvision

    options = {"weights_backbone": None} if "deeplab" in name else {}
    return torchvision.models.get_model(name, weights=None, **options).eval()


class Pair(nn.Module):
    """Takes a picture and a mask, returns a tuple with a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.body = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1), nn.ReLU())

    def forward(self, image: Tensor, mask: Tensor, *, scale: float = 1.0):
        maps = self.stem(image * mask) * scale
        return maps, {"body": self.body(maps), "count": 2}


def flat(output) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    values = output.values() if isinstance(output, dict) else output
    return [t for v in values if not isinstance(v, int) for t in flat(v)]


@pytest.mark.parametrize("name", PLACES)
def test_removal_gives_back_the_network(name):
    model = network(name)
    before, modules = copy.deepcopy(model), [n for n, _ in model.named_modules()]
    x = torch.randn(2, *SIZE)
    insert_blocks(model, PLACES[name], "conv", input_size=SIZE)
    insert_blocks(model, PLACES[name][:1], "srl", input_size=SIZE, block_options={"alpha": 1.0})
    for parameter in model.parameters():
        parameter.data += 0.01
    assert len(inserted_blocks(model, SIZE)) == len(PLACES[name]) + 1
    changed = flat(model(x))
    assert remove_blocks(model) is model
    assert [n for n, _ in model.named_modules()] == modules
    assert not any(m._forward_hooks for m in model.modules())
    assert inserted_blocks(model, SIZE) == ()
    model.load_state_dict(before.state_dict())
    for got, expected, other in zip(flat(model(x)), flat(before(x)), changed, strict=True):
        assert torch.equal(got, expected)
        assert not torch.equal(got, other)


def test_removal_of_copies_and_of_a_network_in_another():
    model = network("torchvision-resnet18")
    insert_blocks(model, ["layer1.0", "layer2"], input_size=SIZE)
    inside = nn.Sequential(copy.deepcopy(model), nn.ReLU())
    stored = pickle.loads(pickle.dumps(model))
    for other in (inside, stored):
        assert len(inserted_blocks(other, SIZE)) == 2
        assert not any("srl" in key for key in remove_blocks(other).state_dict())
        other(torch.randn(1, *SIZE))
    assert len(inserted_blocks(model, SIZE)) == 2
    assert inserted_blocks(inside, SIZE) == ()
    remove_blocks(inside)


def test_other_hooks_stay():
    model = network("torchvision-resnet18")
    seen = []
    model.layer1[0].register_forward_hook(lambda module, args, output: seen.append(output.shape))
    insert_blocks(model, ["layer1.0.conv2"], input_size=SIZE)
    seen.clear()
    remove_blocks(model)(torch.randn(1, *SIZE))
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("after", "count"),
    [
        ("layer*.*", 8),
        (["layer*.1"], 4),
        (["layer[12].?"], 4),
        (["layer1", "layer*"], 4),
        (["layer*.*.conv2"], 8),
    ],
)
def test_patterns(after, count):
    model = insert_blocks(network("torchvision-resnet18"), after, input_size=SIZE)
    assert len(inserted_blocks(model, SIZE)) == count


def test_a_pattern_does_not_cross_dots():
    model = insert_blocks(network("torchvision-resnet18"), "layer*", input_size=SIZE)
    assert [b.after for b in inserted_blocks(model, SIZE)] == [f"layer{n}" for n in range(1, 5)]


def test_classes():
    from torchvision.models.resnet import BasicBlock

    model = insert_blocks(network("torchvision-resnet18"), BasicBlock, input_size=SIZE)
    report = inserted_blocks(model, SIZE)
    assert [b.after for b in report] == [f"layer{n}.{k}" for n in range(1, 5) for k in range(2)]
    model = network("torchvision-resnet18")
    insert_blocks(model, [BasicBlock, "maxpool", "layer1.*"], input_size=SIZE)
    assert len(inserted_blocks(model, SIZE)) == 9


@pytest.mark.parametrize(
    ("after", "error", "message"),
    [
        ("layre*.*", ValueError, r"unknown module pattern 'layre\*\.\*'; did you mean"),
        ([nn.Conv3d], ValueError, "unknown module class 'Conv3d'"),
        ("layer1", TypeError, "sequence of module names, got the string 'layer1'"),
        (["layer1", "layer1"], ValueError, "must differ"),
        (["layr1"], ValueError, "did you mean 'layer1'"),
        ([], ValueError, "at least one module"),
    ],
)
def test_errors_of_names(after, error, message):
    model = network("torchvision-resnet18")
    with pytest.raises(error, match=message):
        insert_blocks(model, after, input_size=SIZE)
    assert not any("srl" in key for key in model.state_dict())


def test_report():
    model = insert_blocks(network("torchvision-resnet18"), ["layer1", "layer3"], input_size=SIZE)
    report = inserted_blocks(model, SIZE)
    for found, channels, side in zip(report, (64, 256), (16, 4), strict=True):
        block = create_block("srl", channels, (side, side))
        assert found.shape == (1, channels, side, side)
        assert found.parameters == sum(p.numel() for p in block.parameters())
        assert found.operations == measure_cost(block, (channels, side, side), "exact").operations
        assert found.type == "SRLBlock"
        assert dict(model.named_modules())[found.name] is not None
    assert [b.after for b in report] == ["layer1", "layer3"]
    plain = network("torchvision-resnet18")
    added = (
        measure_cost(model, SIZE, "exact").operations
        - measure_cost(plain, SIZE, "exact").operations
    )
    assert sum(b.operations for b in report) == pytest.approx(added)
    lines = str(report).splitlines()
    assert len(lines) == 4
    assert lines[1].split()[:3] == ["layer1", "SRLBlock", "1x64x16x16"]
    assert f"{sum(b.parameters for b in report):,}" in lines[-1]


@pytest.mark.parametrize("kind", ["positional", "named"])
def test_several_inputs_and_outputs_of_tuples_and_dicts(kind):
    model = Pair().eval()
    tensors = {"image": torch.randn(2, 3, 32, 32), "mask": torch.ones(2, 1, 32, 32)}
    example = tensors | {"scale": 2.0} if kind == "named" else tuple(tensors.values())
    before = flat(model(**tensors))
    insert_blocks(model, ["stem", "body.0"], example_inputs=example)
    assert all(map(torch.equal, flat(model(**tensors)), before))
    report = inserted_blocks(model, example_inputs=example)
    assert [b.after for b in report] == ["stem", "body.0"]
    assert report[0].shape == (2, 8, 16, 16)
    assert not any("srl" in n for n, _ in remove_blocks(model).named_modules())


def test_one_tensor_as_example():
    model = insert_blocks(network("timm-resnet18"), ["layer1"], example_inputs=torch.ones(2, *SIZE))
    assert inserted_blocks(model, SIZE)[0].shape == (1, 64, 16, 16)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "one of input_size and example_inputs, got neither"),
        ({"input_size": SIZE, "example_inputs": torch.ones(1, *SIZE)}, "got both"),
        (
            {"example_inputs": (torch.ones(1, *SIZE),)},
            "Pair does not run .* example inputs: .*mask",
        ),
        (
            {"example_inputs": (torch.ones(2, *SIZE),) * 2, "folded_time": True},
            "example_inputs must be of one video",
        ),
    ],
)
def test_errors_of_inputs(options, message):
    with pytest.raises(ValueError, match=message):
        insert_blocks(Pair(), ["stem"], **options)


def test_deeplab_returns_a_dict():
    model = network("torchvision-deeplabv3_mobilenet_v3_large")
    x = torch.randn(1, *SIZE)
    before = model(x)["out"]
    insert_blocks(model, ["backbone.16", "classifier.3"], input_size=SIZE)
    assert torch.equal(model(x)["out"], before)


@pytest.mark.parametrize(
    ("width", "block", "options", "message"),
    [
        (18, "srl-fft", {}, r"groups=8; .*nearest are groups=6 and groups=9"),
        (18, "srl-dct", {}, "nearest are groups=1 and groups=3"),
        (75, "srl", {}, "reduction, got 75 and 2; nearest are reduction=1 and reduction=3"),
        (36, "linear-attention", {}, "nearest are heads=6 and heads=9"),
        (40, "srl-fft", {"groups": 7}, "nearest are groups=5 and groups=8"),
    ],
)
def test_odd_widths_are_told_what_divides(width, block, options, message):
    model = nn.Sequential(nn.Conv2d(3, width, 3))
    with pytest.raises(ValueError, match=rf"the block for '0' \({width} channels\): .*{message}"):
        insert_blocks(model, ["0"], block, input_size=SIZE, block_options=options)
    name, value = message.rpartition(" ")[2].split("=")
    found = insert_blocks(
        model, ["0"], block, input_size=SIZE, block_options=options | {name: int(value)}
    )
    assert len(inserted_blocks(found, SIZE)) == 1


WIDTHS = (18, 27, 40, 45, 54)
DIVIDING = {"groups": (None, 4, 7), "reduction": (None, 4), "heads": (None, 7)}
OPTION_FREE = r"divisible by (2|8, the reduction of queries and keys|8 \(local Fourier unit\)), got"


@pytest.mark.parametrize("video", [False, True])
@pytest.mark.parametrize("width", WIDTHS)
def test_following_what_errors_of_widths_suggest_gives_a_block(width, video):
    """For every block and option; where no option helps, the error says what channels must be."""
    names = VIDEO_BLOCKS if video else (*BLOCKS, *TIMM_BLOCKS)
    for name in names:
        size = (2, 6, 6) if video else (6, 6)
        known = [o for o in DIVIDING if o in option_names(name, video=video)]
        for values in itertools.product(*(DIVIDING[option] for option in known)):
            asked = {o: v for o, v in zip(known, values, strict=True) if v is not None}
            for which in (0, -1):
                follow(name, width, size, asked, which)
        if name == "ffc":
            follow(name, width, size, {"lfu": True}, 0)


def follow(name, width, size, options, which):
    """Take one of the suggested numbers, reduction and then groups, until there is a block."""
    for _ in range(3):
        try:
            create_block(name, width, size, **options)
        except ValueError as error:
            message = str(error)
        else:
            return
        near = re.findall(r"(\w+)=(\d+)", message.partition("nearest are ")[2])
        if not near:
            assert re.search(OPTION_FREE, message), (name, width, options, message)
            return
        option, value = near[which]
        options = options | {option: int(value)}
    raise AssertionError(f"{name}, {width} channels: suggestions led to {options}")


def test_hrnet():
    import timm

    model = timm.create_model("hrnet_w18_small").eval()
    x = torch.randn(1, *SIZE)
    before = model(x)
    insert_blocks(model, "layer1.*", input_size=SIZE)
    insert_blocks(model, ["stage2.0.branches.*", "stage4.*.branches.0"], input_size=SIZE)
    assert torch.allclose(model(x), before)
    assert {b.shape[1] for b in inserted_blocks(model, SIZE)} >= {16, 32, 128}
