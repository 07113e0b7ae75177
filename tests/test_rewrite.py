"""The rewritten block in inference against the reference; which way is taken, and why."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from spectral_residual import create_block, create_transform
from spectral_residual.blocks import spectral
from spectral_residual.cost import ACCOUNTINGS, measure_cost
from spectral_residual.kernels import filtering, grouped
from spectral_residual.kernels.mirror import fold, unfold, unfold_into
from spectral_residual.transforms import FourierTransform
from srl_blocks import random_block, random_maps, relative, run_rewritten, twins

SIZES = [(1, 1), (1, 6), (7, 1), (2, 2), (5, 5), (5, 8), (6, 9), (16, 12), (33, 18), (48, 64)]
SIZES += [(97, 31), (64, 97)]
FORMS = ["fft", "separable", "dense"]
REAL = ["srl-lo", "srl-dct", "srl-wht", "srl-haar", "srl-slant"]


@pytest.fixture
def tiny_chunks(monkeypatch):
    for module in (grouped, filtering):
        monkeypatch.setattr(module, "CHUNK_ELEMENTS", 100)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_fourier_block(size, form, dtype, limit):
    if form == "dense" and size[0] * size[1] > 1000:
        return
    reference = random_block("srl-fft", 16, size).eval().to(dtype)
    x = random_maps(16, size).to(dtype)
    with torch.no_grad():
        expected = reference(x)
        assert relative(run_rewritten(reference, x, form) - x, expected - x) <= limit


@pytest.mark.parametrize("options", [{"groups": 2}, {"groups": 4}, {"reduction": 4}])
@pytest.mark.parametrize("form", FORMS)
def test_fourier_block_with_other_groups_and_reductions(options, form):
    reference = random_block("srl-fft", 16, (9, 8), **options).eval()
    x = random_maps(16, (9, 8))
    with torch.no_grad():
        assert relative(run_rewritten(reference, x, form), reference(x)) <= 1e-12


@pytest.mark.parametrize("size", [(1, 1), (8, 5), (13, 16)])
@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("groups", [1, 2, 3])
@pytest.mark.usefixtures("tiny_chunks")
def test_real_blocks(name, size, groups):
    reference, rewrite = twins(name, 12, size, groups=groups)
    x = random_maps(12, size)
    with torch.no_grad():
        assert relative(rewrite.eval()(x), reference.eval()(x)) <= 1e-12


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.usefixtures("tiny_chunks")
def test_chunks_of_samples_and_of_groups(form, batch):
    reference = random_block("srl-fft", 16, (6, 5)).eval()
    x = random_maps(16, (6, 5), batch)
    pieces = list(grouped.chunks(x, 4))
    assert len(pieces) == 4 * batch
    with torch.no_grad():
        assert relative(run_rewritten(reference, x, form), reference(x)) <= 1e-12


def test_chunks_cover_everything_once():
    for batch, groups, size in ((5, 3, (7, 9)), (700, 4, (2, 8)), (1, 4, (300, 400))):
        seen = torch.zeros(batch, groups)
        for piece in grouped.chunks(torch.zeros(1).expand(batch, 4 * groups, *size), groups):
            seen[piece] += 1
        assert (seen == 1).all()


@pytest.mark.parametrize("height", [1, 2, 5, 6])
@pytest.mark.parametrize("width", [1, 2, 7, 8])
def test_sides(height, width):
    """Against indices written out; unfolding gives twice the map back."""
    maps = random_maps(3, (height, width))
    rows = [-r % height for r in range(height // 2 + 1)]
    columns = [-c % width for c in range(width)]
    mirrored = maps[:, :, rows][..., columns]
    even, odd = fold(maps)
    assert torch.equal(even, maps[:, :, : height // 2 + 1] + mirrored)
    assert torch.equal(odd, maps[:, :, : height // 2 + 1] - mirrored)
    assert relative(unfold(even, odd, height), 2 * maps) <= 1e-15
    out = torch.full_like(maps, float("nan"))
    unfold_into(out, even.clone(), odd)
    assert relative(out, 2 * maps) <= 1e-15
    unfold_into(out, even, odd, maps)
    assert relative(out, 3 * maps) <= 1e-15


def test_half_of_the_planes_are_transformed(monkeypatch):
    """What "auto" takes is the rewrite: K maps go into the FFT, C do in the reference."""
    planes = {}
    for kernel in ("reference", "auto"):
        counted = []
        transform = torch.fft.rfft2

        def counting(maps, transform=transform, counted=counted, **options):
            counted.append(maps.shape[0] * maps.shape[1])
            return transform(maps, **options)

        block = create_block("srl-fft", 32, (20, 16), kernel=kernel).eval()
        with monkeypatch.context() as patch, torch.no_grad():
            patch.setattr(torch.fft, "rfft2", counting)
            block(torch.randn(2, 32, 20, 16))
        planes[kernel] = sum(counted)
    assert planes == {"reference": 2 * 32, "auto": 2 * 16}


@pytest.mark.parametrize("name", ["srl-fft", "srl-dct"])
def test_alpha_0_is_exactly_the_identity(name):
    _, rewrite = twins(name, 16, (9, 6), alpha=0.0)
    x = random_maps(16, (9, 6))
    with torch.no_grad():
        assert torch.equal(rewrite.eval()(x), x)
    assert torch.equal(rewrite.train()(x), x)


LAYOUTS = {
    "channels_last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "strided": lambda x: torch.cat((x, x), dim=3)[..., ::2],
    "expanded": lambda x: x[:1].expand(3, -1, -1, -1),
    "transposed": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["srl-fft", "srl-dct"])
@pytest.mark.usefixtures("tiny_chunks")
def test_memory_layouts(name, layout):
    reference, rewrite = twins(name, 16, (9, 6))
    x = LAYOUTS[layout](random_maps(16, (9, 6)))
    with torch.no_grad():
        found, expected = rewrite.eval()(x), reference.eval()(x.contiguous())
    assert relative(found, expected) <= 1e-12
    if layout == "channels_last":
        assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", ["srl-fft", "srl-lo"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("how", ["autocast", "module"])
@pytest.mark.parametrize("size", [(12, 10), (19, 16)])
def test_half_precisions_are_at_least_as_close_as_the_reference(name, dtype, how, size):
    blocks = dict(zip(("reference", "rewrite"), twins(name, 32, size), strict=True))
    x = random_maps(32, size)
    errors = {}
    with torch.no_grad():
        exact = blocks["reference"].eval()(x)
        for label, block in blocks.items():
            half = copy.deepcopy(block).eval().float()
            if how == "autocast":
                with torch.autocast("cpu", dtype=dtype):
                    y = half(x.float())
                assert y.dtype == torch.float32
            else:
                y = half.to(dtype)(x.to(dtype))
                assert y.dtype == dtype
            errors[label] = (y.double() - exact).norm().item()
    assert errors["rewrite"] <= 1.2 * errors["reference"]


# ---- nothing is out of date --------------------------------------------------------------------


def _load(block):
    block.load_state_dict(random_block("srl-fft", 16, (20, 16), alpha=-0.4).state_dict())


def _step(block):
    optimizer = torch.optim.SGD(block.parameters(), lr=0.1)
    block(random_maps(16, (20, 16), seed=3)).square().mean().backward()
    optimizer.step()


CHANGES = {
    "in place": lambda block: block.conv1.weight.data.mul_(2),
    "new data": lambda block: setattr(block.conv2.weight, "data", block.conv2.weight.data * 2),
    "data of alpha": lambda block: block.alpha.data.fill_(-0.3),
    "filter": lambda block: block.relu.bias.data.add_(0.5),
    "running mean": lambda block: block.bn1.running_mean.add_(0.5),
    "running variance": lambda block: setattr(block.bn2, "running_var", block.bn2.running_var * 3),
    "eps": lambda block: setattr(block.bn1, "eps", 0.3),
    "new parameter": lambda block: setattr(
        block.bn2, "weight", nn.Parameter(block.bn2.weight.detach() * 2)
    ),
    "loaded": _load,
    "optimiser step": _step,
    "statistics": lambda block: block.train()(random_maps(16, (20, 16), seed=3)),
    "rounded": lambda block: block.half().double(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changes_are_seen(change):
    reference, rewrite = twins("srl-fft", 16, (20, 16))
    x = random_maps(16, (20, 16))
    with torch.no_grad():
        before = rewrite.eval()(x)
    for block in (reference, rewrite):
        block.eval()
        CHANGES[change](block)
        block.eval()
    with torch.no_grad():
        after = rewrite(x)
        assert relative(after, reference(x)) <= 1e-12
    assert relative(after, before) > 1e-6


# ---- which way, and why ------------------------------------------------------------------------


class MyConv(nn.Conv2d):
    """A type that the rewrite does not know."""


def _replace_conv1(block):
    block.conv1 = MyConv(32, 16, 1, groups=8, bias=False)


OBSTACLES = {
    "hooks of conv1": lambda block: block.conv1.register_forward_hook(lambda *a: None),
    "pre-hooks of bn1": lambda block: block.bn1.register_forward_pre_hook(lambda *a: None),
    "backward hooks of relu": lambda block: block.relu.register_full_backward_hook(lambda *a: None),
    "hooks of the transform": lambda block: block.transform.register_forward_hook(lambda *a: None),
    "own forward": lambda block: setattr(block.conv2, "forward", block.conv2.forward),
    "conv1 is a MyConv": _replace_conv1,
    "bn2 is a SyncBatchNorm": lambda block: setattr(
        block, "bn2", nn.SyncBatchNorm.convert_sync_batchnorm(block.bn2)
    ),
    "conv2 is a ParametrizedConv2d": lambda block: parametrize.register_parametrization(
        block.conv2, "weight", nn.Identity()
    ),
    "bn1 has no weight": lambda block: setattr(block, "bn1", nn.BatchNorm2d(16, affine=False)),
    "conv1 has a bias": lambda block: setattr(block.conv1, "bias", nn.Parameter(torch.zeros(16))),
}


@pytest.mark.parametrize("reason", OBSTACLES)
def test_obstacles_lead_to_the_reference(reason):
    block = create_block("srl-fft", 16, (8, 6), kernel="rewrite")
    assert block.explain().startswith("rewrite")
    OBSTACLES[reason](block)
    text = block.explain()
    assert text.startswith("reference: ")
    if "hooks" in reason or "forward" in reason:
        assert "hooks or a forward method of its own" in text
    else:
        assert reason in text


def test_a_hook_is_called_until_it_is_removed():
    block = random_block("srl-fft", 16, (8, 6), kernel="auto").eval()
    x = random_maps(16, (8, 6))
    with torch.no_grad():
        expected = block(x)
        shapes = []
        handle = block.conv1.register_forward_hook(lambda m, a, y: shapes.append(tuple(y.shape)))
        assert relative(block(x), expected) <= 1e-12
        handle.remove()
        block(x)
    assert shapes == [(2, 16, 8, 4)]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"order": "interleaved"}, "groups of interleaved planes mix real and imaginary parts"),
        ({"groups": 1}, "an odd number of groups mixes real and imaginary parts: 1"),
        ({"kernel_size": 3}, "convolutions wider than 1"),
    ],
)
def test_options_that_cannot_be_rewritten(options, reason):
    block = create_block("srl-fft", 16, (8, 6), **options)
    assert block.explain().startswith(f"reference: {reason}")
    with pytest.raises(ValueError, match=reason):
        create_block("srl-fft", 16, (8, 6), kernel="rewrite", **options)


def test_unknown_kernels_are_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match="did you mean 'rewrite'"):
        create_block("srl-fft", 16, (8, 6), kernel="rewritten")


def test_the_reference_on_demand(monkeypatch):
    block = create_block("srl-dct", 8, (8, 6), kernel="reference")
    assert block.explain() == "reference: kernel='reference' asks for it"
    calls = []
    branch = spectral.spectral_branch
    monkeypatch.setattr(
        spectral, "spectral_branch", lambda *a, **k: calls.append(1) or branch(*a, **k)
    )
    block(torch.randn(2, 8, 8, 6))
    create_block("srl-dct", 8, (8, 6))(torch.randn(2, 8, 8, 6))
    assert calls == [1]


def test_explanations_name_the_form(monkeypatch):
    block = create_block("srl-fft", 16, (64, 48))
    assert "8 maps of 64x48 are transformed instead of 16, by FFT; in" in block.explain()
    with monkeypatch.context() as patch:
        patch.setenv("SRL_NATIVE", "0")
        assert "instead of 16, by one product, as they have" in block.explain((16, 12))
    block.transform = FourierTransform("matmul")
    assert "matrices over H and over W, as method='matmul'" in block.explain()
    assert "matrices over H and over W" in create_block("srl-dct", 16, (64, 48)).explain()
    with pytest.raises(ValueError, match="two positive integers"):
        block.explain((0, 4))


@pytest.mark.parametrize("method", ["fft", "matmul"])
@pytest.mark.parametrize("size", [(8, 6), (24, 20)])
def test_methods_of_the_transform(method, size, monkeypatch):
    reference, rewrite = twins("srl-fft", 16, size)
    rewrite.transform = FourierTransform(method)
    if method == "matmul":
        monkeypatch.delattr(torch.fft, "irfft")
    x = random_maps(16, size)
    with torch.no_grad():
        y = rewrite.eval()(x)
    monkeypatch.undo()
    assert relative(y, reference.eval()(x)) <= 1e-12


def test_both_ways_have_the_same_state_and_cost():
    reference, rewrite = twins("srl-fft", 16, (12, 10))
    assert reference.state_dict().keys() == rewrite.state_dict().keys()
    for accounting in ACCOUNTINGS:
        cost = measure_cost(rewrite.float(), (16, 12, 10), accounting)
        assert cost == measure_cost(reference.float(), (16, 12, 10), accounting)
        assert {layer.name for layer in cost.layers} >= {"conv1", "conv2"}


def test_other_sizes_and_empty_batches():
    reference, rewrite = twins("srl-fft", 16, (8, 6))
    x = random_maps(16, (19, 17))
    with torch.no_grad():
        assert relative(rewrite.eval()(x), reference.eval()(x)) <= 1e-12
        assert rewrite(x[:0]).shape == (0, 16, 19, 17)
    lo = create_block("srl-lo", 16, (8, 6), kernel="rewrite").double()
    with pytest.raises(ValueError, match="built for maps of 8x6"):
        lo(x)
    assert create_transform("lo", (8, 6)).parts == 1
