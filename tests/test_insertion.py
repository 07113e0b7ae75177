"""Blocks put into networks: nothing changes until they learn, and every name stays."""

from __future__ import annotations

import copy
import gc
import io
import pickle
import warnings
import weakref
from collections import OrderedDict

import pytest
import torch
import torch.utils.checkpoint
from torch import nn

from spectral_residual import SRLBlock, create_block, insert_blocks, output_shapes

SIZE = (3, 64, 64)

TORCHVISION = {
    "resnet50": ["layer1.0", "layer2", "layer3.1.conv2", "layer4", "maxpool"],
    "vgg16": ["features.9", "features", "avgpool"],
    "densenet121": [
        "features.pool0",
        "features.denseblock1",
        "features.denseblock2.denselayer3",
        "features.transition2",
        "features.norm5",
    ],
    "mobilenet_v3_small": ["features.0", "features.4.block", "features.4.block.1", "features.12.0"],
}
TIMM = {
    "resnet18": ["maxpool", "layer2", "layer3.0"],
    "convnext_atto": ["stem", "stages.1", "stages.2.blocks.0", "stages.2.blocks.1.conv_dw"],
    "mobilenetv3_small_050": ["blocks.1", "blocks.2.0", "conv_head"],
    "regnetx_002": ["s2", "s3.b1"],
}
CASES = [
    *(("torchvision", name, places) for name, places in TORCHVISION.items()),
    *(("timm", name, places) for name, places in TIMM.items()),
]
by_network = pytest.mark.parametrize(
    ("source", "name", "places"), CASES, ids=[f"{source}-{name}" for source, name, _ in CASES]
)


def create(source, name):
    torch.manual_seed(0)
    if source == "timm":
        timm = pytest.importorskip("timm", reason="timm is not installed")
        return timm.create_model(name, num_classes=7)
    torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed")
    if name == "vgg16":
        with torch.device("meta"):
            model = torchvision.models.vgg16()
        model.classifier = nn.Linear(model.classifier[0].in_features, 7)
        model.to_empty(device="cpu")
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.05)
        return model
    return torchvision.models.get_model(name, num_classes=7)


def image(size=SIZE, batch=2):
    return torch.randn(batch, *size, generator=torch.Generator().manual_seed(0))


def blocks_of(model):
    return [m for m in model.modules() if isinstance(m, SRLBlock)]


def calls(model, x):
    """How often each block ran in one forward pass, and the output."""
    counts = {id(block): 0 for block in blocks_of(model)}
    handles = []
    for block in blocks_of(model):

        def count(module, args):
            counts[id(module)] += 1

        handles.append(block.register_forward_pre_hook(count))
    y = model(x)
    for handle in handles:
        handle.remove()
    return list(counts.values()), y


@by_network
def test_output_names_and_places(source, name, places):
    model = create(source, name).eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    x = image()
    given, received = {}, {}
    handles = [
        model.get_submodule(place).register_forward_hook(
            lambda module, args, output, place=place: given.__setitem__(place, output.clone())
        )
        for place in places
    ]
    with torch.no_grad():
        expected = model(x)
    for handle in handles:
        handle.remove()

    for place in places:
        known = blocks_of(model)
        assert insert_blocks(model, [place], input_size=SIZE, options={"groups": 2}) is model
        (block,) = (block for block in blocks_of(model) if block not in known)
        block.register_forward_pre_hook(
            lambda module, args, place=place: received.__setitem__(place, args[0].clone())
        )
    with torch.no_grad():
        counts, y = calls(model, x)
    assert torch.equal(y, expected)
    assert counts == [1] * len(places), "every block runs exactly once"
    for place in places:
        assert torch.equal(received[place], given[place]), f"no block behind {place}"

    after = model.state_dict()
    assert set(before) <= set(after)
    assert all(torch.equal(after[key], value) for key, value in before.items())
    new = set(after) - set(before)
    assert len({key.rpartition("srl.")[0] for key in new}) == len(places)
    assert all(".srl." in key or "_srl." in key for key in new)
    missing, unexpected = model.load_state_dict(before, strict=False)
    assert set(missing) == {key for key in new if not key.endswith("num_batches_tracked")}
    assert not unexpected

    with torch.no_grad():
        for block in blocks_of(model):
            block.alpha.fill_(1.0)
            assert not torch.equal(model(x), expected), "the block does nothing"
            block.alpha.zero_()


def test_training_step_is_the_same_bit_for_bit():
    plain = create("torchvision", "mobilenet_v3_small").train()
    changed = insert_blocks(
        copy.deepcopy(plain), ["features.4"], "srl-lo", input_size=SIZE, options={"groups": 1}
    )
    results = []
    for model in (plain, changed):
        torch.manual_seed(1)
        y = model(image(batch=4))
        y.square().mean().backward()
        results.append((y, {k: p.grad for k, p in model.named_parameters()}))
    assert torch.equal(results[0][0], results[1][0])
    for key, gradient in results[0][1].items():
        assert torch.equal(gradient, results[1][1][key]), key
    (block,) = blocks_of(changed)
    assert block.alpha.grad.abs() > 0


def small():
    """Sequential stem, a stage with an inner layer, and one with an option."""

    class Stage(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(8, 8, 3, padding=1)
            self.norm = nn.BatchNorm2d(8)
            self.unused = nn.Conv2d(8, 8, 1)

        def forward(self, x):
            return torch.relu(self.norm(self.conv(x)))

    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU())
            self.stage1 = Stage()
            self.stage2 = Stage()
            self.pool = nn.AdaptiveAvgPool2d(1)
            self.fc = nn.Linear(8, 5)

        def forward(self, x):
            x = self.stage2(self.stage1(self.stem(x)))
            return self.fc(self.pool(x).flatten(1))

    torch.manual_seed(0)
    return Small()


SMALL = (3, 12, 10)
PLACES = ["stem.0", "stem", "stage1.conv", "stage2"]
OPTIONS = {"groups": 2}


def with_blocks(alpha=0.0, block="srl-fft", places=PLACES, model=None):
    model = small() if model is None else model
    torch.manual_seed(1)
    options = {**OPTIONS, "alpha": alpha}
    return insert_blocks(model, places, block, input_size=SMALL, options=options)


def test_new_names():
    names = [name for name, module in with_blocks().named_modules() if isinstance(module, SRLBlock)]
    assert names == ["stem.0_srl", "stem.srl", "stage1.conv.srl", "stage2.srl"]


def test_inserting_twice_runs_both():
    model = with_blocks(places=["stem", "stem.0", "stage2"])
    model = with_blocks(places=["stem", "stem.0", "stage2"], model=model)
    names = {name for name, module in model.named_modules() if isinstance(module, SRLBlock)}
    assert names == {
        "stem.srl",
        "stem.srl2",
        "stem.0_srl",
        "stem.0_srl2",
        "stage2.srl",
        "stage2.srl2",
    }
    assert calls(model, image(SMALL))[0] == [1] * 6


class Pickled(nn.Module):
    """Module-level, so that pickle finds it."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.layers = nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU())

    def forward(self, x):
        return self.layers(self.conv(x))


def through_pickle(model):
    return pickle.loads(pickle.dumps(model))


def through_torch_save(model):
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


@pytest.mark.parametrize("block", ["srl-fft", "srl-lo", "srl-slant"])
@pytest.mark.parametrize("duplicate", [copy.deepcopy, through_pickle, through_torch_save])
def test_hooks_survive_copies_and_belong_to_them(duplicate, block):
    model = with_blocks(0.5, block, ["conv", "layers.0", "layers"], Pickled()).eval()
    x = image(SMALL)
    other = duplicate(model)
    with torch.no_grad():
        expected = model(x)
        counts, y = calls(other, x)
        assert torch.equal(y, expected)
        assert counts == [1, 1, 1]
        for inserted in blocks_of(other):
            inserted.alpha.zero_()
        assert not torch.equal(other(x), expected)
        assert torch.equal(model(x), expected)


# ---- networks that use their containers in their own way ---------------------------------------


class Indexed(nn.Module):
    """Calls the children of an nn.Sequential by index."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 16, 1), nn.Conv2d(16, 8, 1))

    def forward(self, x):
        return self.layers[2](self.layers[1](self.layers[0](x)))


class Doubled(nn.Sequential):
    """Sequential with a forward of its own, like torchvision's ASPPPooling."""

    def forward(self, x):
        for module in self:
            x = module(x)
        return 2 * x


class Branches(nn.Module):
    """Runs and sums the items of a ModuleList."""

    def __init__(self):
        super().__init__()
        self.items = nn.ModuleList([Doubled(nn.Conv2d(3, 8, 1)), nn.Conv2d(3, 8, 1)])

    def forward(self, x):
        return sum(item(x) for item in self.items)


class Dictionary(nn.Module):
    """Runs the items of a ModuleDict one after another."""

    def __init__(self):
        super().__init__()
        self.items = nn.ModuleDict({"a": nn.Conv2d(3, 8, 1), "b": Doubled(nn.Conv2d(8, 8, 1))})

    def forward(self, x):
        for item in self.items.values():
            x = item(x)
        return x


class Iterating(nn.Module):
    """Runs whatever children it has, like timm's RegNet stages."""

    def __init__(self, *children):
        super().__init__()
        for i, child in enumerate(children):
            self.add_module(f"part{i}", child)

    def forward(self, x):
        for child in self.children():
            x = child(x)
        return x


class Summing(nn.Module):
    """Stacks what its children give, so that one child more does not fit."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 1), Iterating(nn.Conv2d(3, 8, 1), nn.ReLU())

    def forward(self, x):
        parts = torch.stack([child(x) for child in self.children()])
        return (parts * torch.tensor([1.0, 2.0], device=x.device)[:, None, None, None, None]).sum(0)


class Network(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x):
        return self.body(x)


class Outer(nn.Module):
    """Hands the children of a Sequential on, which is never called as a whole."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Sequential(nn.ReLU(), nn.Conv2d(8, 8, 1)))

    def forward(self, x):
        first, second = self.body
        return second(first(x))


@pytest.mark.parametrize(
    ("network", "places", "names"),
    [
        (Indexed, ["layers.0", "layers.1"], ["layers.0.srl", "layers.1.srl"]),
        (Branches, ["items.0", "items.1"], ["items.1.srl", "items_0_srl"]),
        (Branches, ["items.0.0"], ["items.0.0.srl"]),
        (Dictionary, ["items.a", "items.b"], ["items.a.srl", "items_b_srl"]),
        (
            lambda: Network(Iterating(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8))),
            ["body", "body.part0", "body.part1"],
            ["body.part0.srl", "body.part1.srl", "body_srl"],
        ),
        (
            lambda: Network(Summing()),
            ["body", "body.a", "body.b", "body.b.part0"],
            ["body.a.srl", "body.b.part0.srl", "body_b_srl", "body_srl"],
        ),
        (Outer, ["body.0", "body.1", "body.1.0"], ["body.0.srl", "body.1.0_srl", "body.1.srl"]),
    ],
)
def test_containers_used_in_other_ways(network, places, names):
    model = network().eval()
    x = image(SMALL)
    expected = model(x)
    with_blocks(places=places, model=model)
    counts, y = calls(model, x)
    assert torch.equal(y, expected)
    assert counts == [1] * len(places)
    found = [name for name, module in model.named_modules() if isinstance(module, SRLBlock)]
    assert sorted(found) == names
    for block in blocks_of(model):
        block.alpha.data.fill_(1.0)
        assert not torch.equal(model(x), expected)
        block.alpha.data.zero_()


def test_a_network_without_a_place_is_refused_and_left_alone():
    model = Doubled(nn.Sequential(nn.Conv2d(3, 8, 1)), Doubled(nn.Conv2d(8, 8, 1)))
    before = list(model.state_dict())
    with pytest.raises(ValueError, match="no place for a block after module '1'"):
        with_blocks(places=["0", "1"], model=model)
    assert list(model.state_dict()) == before


def test_a_module_called_twice_runs_its_block_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x):
            return self.conv(self.conv(x))

    model = insert_blocks(
        Twice(), ["conv"], input_size=SMALL, options={"groups": 1, "reduction": 1}
    )
    assert calls(model, image(SMALL))[0] == [2]
    with pytest.raises(ValueError, match="got block_options and options, its older name"):
        insert_blocks(Twice(), ["conv"], input_size=SMALL, options={}, block_options={"groups": 1})


# ---- nothing is computed; what inserted modules inherit ----------------------------------------


def test_a_network_on_the_meta_device():
    with torch.device("meta"):
        model = small()
    with_blocks(model=model)
    assert all(p.is_meta for p in model.parameters())
    reference = with_blocks()
    assert set(model.state_dict()) == set(reference.state_dict())
    model.load_state_dict(reference.state_dict(), assign=True)
    model.eval(), reference.eval()
    assert torch.equal(model(image(SMALL)), reference(image(SMALL)))


def test_nothing_is_computed_and_nothing_changed():
    model = small().train()
    seen = []
    model.fc.register_forward_pre_hook(lambda module, args: seen.append(args[0].device.type))
    before = copy.deepcopy(model.state_dict())
    shapes = output_shapes(model, PLACES, SMALL)
    with_blocks(model=model)
    assert set(seen) == {"meta"}
    after = model.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert model.stage1.norm.num_batches_tracked == 0
    assert shapes == dict.fromkeys(PLACES, (1, 8, 6, 5))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtype_and_mode_are_inherited(dtype):
    model = small().to(dtype)
    model.stage1.eval()
    with_blocks(model=model)
    for place, block in zip(["stem", "stem", "stage1", "stage2"], blocks_of(model), strict=True):
        assert block.alpha.dtype == block.conv1.weight.dtype == dtype
        assert block.training == block.bn1.training == model.get_submodule(place).training
    assert model(image(SMALL).to(dtype)).dtype == dtype


def test_dtype_of_the_named_module_goes_before_the_networks():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1).double()

        def forward(self, x):
            return self.second(self.first(x).double())

    model = insert_blocks(Mixed(), ["first", "second"], input_size=SMALL, options=OPTIONS)
    assert model.first.srl.alpha.dtype == torch.float32
    assert model.second.srl.alpha.dtype == torch.float64
    assert model(image(SMALL)).dtype == torch.float64


def test_sizes_follow_the_input():
    for size, expected in (((3, 12, 10), (6, 5)), ((3, 31, 17), (16, 9))):
        model = insert_blocks(small(), ["stage2"], input_size=size, options=OPTIONS)
        assert blocks_of(model)[0].size == expected
        assert blocks_of(model)[0].channels == 8


@pytest.mark.parametrize("block", ["srl-fft", "srl-lo", "srl-wht", "srl-slant"])
def test_export(block):
    model = with_blocks(0.5, block).eval()
    x = image(SMALL)
    exported = torch.export.export(model, (x,)).module()
    with torch.no_grad():
        expected = model(x)
        assert not torch.equal(expected, with_blocks(0.0, block).eval()(x))
        assert (exported(x) - expected).abs().max() <= 1e-6


# ---- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"after": ["stage3"]}, "unknown module 'stage3'; did you mean 'stage[12]'"),
        ({"after": ["stage1.cnv"]}, "did you mean 'stage1.conv'"),
        ({"after": [""]}, "unknown module ''"),
        ({"after": []}, "at least one module"),
        ({"after": ["stem", "stem"]}, r"must differ, got \['stem', 'stem'\]"),
        ({"after": ["fc"]}, r"module 'fc' must be a feature map .* got shape \(1, 5\)"),
        ({"after": ["stage1.unused"]}, "'stage1.unused' is not called"),
        ({"block": "srl-ftt"}, "unknown block 'srl-ftt'; did you mean 'srl-fft'"),
        ({"options": {"grops": 2}}, "unknown option of block 'srl' 'grops'; did you mean"),
        ({"options": {"groups": 3}}, "divisible by groups"),
        ({"input_size": (4, 12, 10)}, r"Small does not run .* shape \(1, 4, 12, 10\)"),
        ({"input_size": (12, 10)}, r"does not run .* shape \(1, 12, 10\)"),
    ],
)
def test_errors_name_what_is_wrong_and_leave_the_network_alone(arguments, message):
    model = small()
    before = list(model.state_dict())
    call = {"after": ["stage1", "stem"], "input_size": SMALL, "options": OPTIONS, **arguments}
    with pytest.raises(ValueError, match=message):
        insert_blocks(model, **call)
    assert list(model.state_dict()) == before
    assert not any(module._forward_hooks for module in model.modules())


def test_a_string_is_no_list_of_names():
    with pytest.raises(TypeError, match="sequence of module names, got the string 'stem'"):
        insert_blocks(small(), "stem", input_size=SMALL)


class Odd(nn.Module):
    """Modules that return a tuple, or are called at two sizes, or check their input."""

    def __init__(self):
        super().__init__()
        self.pair = Pair()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        if x.shape[-1] > 100:
            raise AssertionError("too large")
        return self.conv(self.conv(self.pair(x)[0])[..., ::2])


class Pair(nn.Module):
    def forward(self, x):
        return x, x


def test_outputs_that_no_block_can_take():
    with pytest.raises(ValueError, match="'pair' must return a tensor, got tuple"):
        insert_blocks(Odd(), ["pair"], input_size=SMALL)
    with pytest.raises(ValueError, match=r"several sizes: .*12, 10.* and .*12, 5"):
        insert_blocks(Odd(), ["conv"], input_size=SMALL)
    with pytest.raises(ValueError, match=r"Odd does not run .*too large"):
        insert_blocks(Odd(), ["conv"], input_size=(3, 12, 200))


def test_blocks_fit_the_modules_they_follow():
    with pytest.raises(ValueError, match="expected a feature map"):
        create_block("srl-fft", 8, (6, 5))(torch.zeros(1, 4, 6, 5))


@pytest.mark.parametrize(
    ("name", "place"),
    [("swin_t", "features.1"), ("swin_t", "features.3.0"), ("swin_v2_t", "features.5")],
)
def test_maps_with_the_channels_last_axis_are_refused(name, place):
    model = create("torchvision", name)
    with pytest.raises(ValueError, match=rf"'{place}', .* its channels last, \(N, H, W, C\)"):
        insert_blocks(model, [place], input_size=(3, 64, 64))
    assert not any("srl" in key for key in model.state_dict())


class OneSize(nn.Module):
    """A network of channels-last maps that runs at one size alone."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 10, 4, stride=4)
        self.stage = nn.Sequential(nn.LayerNorm(10), nn.Linear(10, 10))

    def forward(self, x):
        if x.shape[2:] != (32, 24):
            raise RuntimeError("another size")
        return self.stage(self.stem(x).permute(0, 2, 3, 1)).mean(dim=(1, 2))


def test_channels_last_maps_of_a_network_of_one_size_are_refused():
    with pytest.raises(ValueError, match=r"its channels last, \(N, H, W, C\)"):
        insert_blocks(OneSize(), ["stage"], input_size=(3, 32, 24))
    insert_blocks(OneSize(), ["stem"], input_size=(3, 32, 24))


class Normalised(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)

    def forward(self, x):
        return self.bn(self.conv(x)).relu()


@pytest.mark.parametrize(
    "network",
    [Normalised(), nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 8, 3), bn=nn.BatchNorm2d(8)))],
)
def test_a_block_between_a_convolution_and_its_normalisation_is_warned_of(network):
    with pytest.warns(UserWarning, match="between a convolution and its batch normalisation 'bn'"):
        insert_blocks(copy.deepcopy(network), ["conv"], input_size=SMALL)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        insert_blocks(copy.deepcopy(network), ["bn"], input_size=SMALL)


def test_fusing_behind_a_block_would_be_wrong_and_beside_it_is_right():
    """Why the warning: after the normalisation, fusion changes nothing."""
    torch.manual_seed(0)
    model = insert_blocks(Normalised(), ["bn"], input_size=SMALL, block_options={"alpha": 1.0})
    model = model.double().eval()
    model.bn.running_mean.normal_()
    x = torch.randn(2, *SMALL, dtype=torch.float64)
    expected = model(x)
    fused = copy.deepcopy(model)
    fused.conv = torch.nn.utils.fuse_conv_bn_eval(fused.conv, fused.bn)
    running = fused.bn
    running.running_mean.zero_(), running.running_var.fill_(1 - running.eps)
    running.weight.data.fill_(1), running.bias.data.zero_()
    torch.testing.assert_close(fused(x), expected)


def test_a_hook_runs_the_block_that_its_own_module_holds():
    """Copies, replacements and removal: nothing holds a second reference to the block."""
    torch.manual_seed(0)
    model = insert_blocks(Normalised(), ["conv"], input_size=SMALL, block_options={"alpha": 1.0})
    plain = Normalised()
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if "srl" not in k})
    x = torch.randn(2, *SMALL)
    twin = copy.deepcopy(model)
    torch.testing.assert_close(twin.eval()(x), model.eval()(x))
    twin.conv.srl.alpha.data.zero_()
    assert not torch.allclose(twin(x), model(x))
    torch.testing.assert_close(twin(x), plain.eval()(x))
    block = weakref.ref(model.conv.srl)
    del model.conv.srl
    gc.collect()
    assert block() is None
    torch.testing.assert_close(model(x), plain(x))


def test_replicas_of_a_network_run_their_own_blocks():
    model = insert_blocks(Normalised(), ["conv"], input_size=SMALL, block_options={"alpha": 1.0})
    replica, conv = copy.copy(model), copy.copy(model.conv)
    replica._modules, conv._modules = dict(model._modules), {"srl": nn.Identity()}
    replica._modules["conv"] = conv
    x = torch.randn(2, *SMALL)
    plain = nn.functional.conv2d(x, model.conv.weight, model.conv.bias, padding=1)
    torch.testing.assert_close(replica.eval()(x), model.bn.eval()(plain).relu())


def test_activation_checkpointing_gives_the_same_gradients():
    torch.manual_seed(0)
    model = insert_blocks(Normalised(), ["conv"], input_size=SMALL, block_options={"alpha": 1.0})
    x = torch.randn(2, *SMALL)
    model(x).square().sum().backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    torch.utils.checkpoint.checkpoint(model, x, use_reentrant=False).square().sum().backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name])


def test_the_older_name_of_block_options():
    one = insert_blocks(Normalised(), ["bn"], input_size=SMALL, options={"reduction": 4})
    other = insert_blocks(Normalised(), ["bn"], input_size=SMALL, block_options={"reduction": 4})
    assert one.bn.srl.conv1.weight.shape == other.bn.srl.conv1.weight.shape == (2, 8, 1, 1)
