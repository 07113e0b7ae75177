"""Rivals of today against formulas written out, and blocks of somebody else's."""

from __future__ import annotations

import json
import sys

import pytest
import timm.layers
import torch
import torch.nn.functional as F
from srl_blocks import random_maps, relative
from torch import nn

from spectral_residual import create_block, insert_blocks
from spectral_residual.blocks import check_imported
from spectral_residual.lab.bench.rows import Row, load_rows

IDENTITIES = ["self-attention", "linear-attention", "depthwise", "conv"]
OF_TIMM = {"global-context": timm.layers.GlobalContext, "se": timm.layers.SEModule}
SIZE = (5, 4)


def build(name, channels=16, **options):
    torch.manual_seed(3)
    block = create_block(name, channels, SIZE, **options).double()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.normal_(std=0.4)
    return block


def softmax_attention(block, x):
    """One position after another."""
    samples, channels, height, width = x.shape
    heads, each = block.heads, channels // block.heads
    planes = F.conv2d(x, block.qkv.weight).view(samples, 3, heads, each, height * width)
    result = torch.zeros_like(planes[:, 0])
    for n in range(samples):
        for h in range(heads):
            query, key, value = planes[n, :, h]
            for i in range(height * width):
                logits = query[:, i] @ key / each**0.5
                result[n, h, :, i] = value @ logits.softmax(0)
    return x + F.conv2d(result.view(x.shape), block.out.weight)


def relu_attention(block, x):
    """The matrix of all pairs, normalised by rows."""
    samples, _, height, width = x.shape
    heads = block.heads
    query, key, value = (
        F.conv2d(x, block.qkv.weight).view(samples, 3, heads, -1, height * width).unbind(1)
    )
    pairs = torch.einsum("nhdi,nhdj->nhij", query.relu(), key.relu())
    weights = pairs / (pairs.sum(3, keepdim=True) + 1e-6)
    z = torch.einsum("nhij,nhdj->nhdi", weights, value).reshape(x.shape)
    z = F.conv2d(z, block.out.weight)
    norm = block.norm
    return x + F.batch_norm(z, None, None, norm.weight, norm.bias, True, 0.0, norm.eps)


@pytest.mark.parametrize(
    ("name", "formula"),
    [("self-attention", softmax_attention), ("linear-attention", relu_attention)],
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_attention_is_the_formula(name, formula, layout):
    block = build(name, heads=4)
    x = random_maps(16, SIZE).contiguous(memory_format=layout).requires_grad_()
    cotangent = random_maps(16, SIZE, seed=1)
    inputs = [x, *block.parameters()]
    y, expected = block(x), formula(block, x)
    assert relative(y, expected) <= 1e-10
    found = torch.autograd.grad(y, inputs, cotangent)
    wanted = torch.autograd.grad(expected, inputs, cotangent)
    assert max(relative(a, b, 1.0) for a, b in zip(found, wanted, strict=True)) <= 1e-10


@pytest.mark.parametrize(("name", "width", "groups"), [("depthwise", 7, 16), ("conv", 3, 1)])
def test_convolutions_have_their_width(name, width, groups):
    block = build(name).eval()
    assert block.conv.weight.shape == (16, 16 // groups, width, width)
    x = random_maps(16, SIZE)
    z = F.conv2d(x, block.conv.weight, padding=width // 2, groups=groups)
    expected = x + z * block.norm.weight[:, None, None] / (1 + block.norm.eps) ** 0.5
    assert relative(block(x), expected + block.norm.bias[:, None, None]) <= 1e-10
    assert build("depthwise", kernel_size=31).conv.kernel_size == (31, 31)
    with pytest.raises(ValueError, match="kernel_size must be odd, got 4"):
        build(name, kernel_size=4)


@pytest.mark.parametrize("name", OF_TIMM)
def test_timm_does_what_it_does(name):
    block = build(name)
    x = random_maps(16, SIZE)
    layer = OF_TIMM[name](16).double()
    layer.load_state_dict(block.layer.state_dict())
    assert torch.equal(block(x), layer(x))
    assert block.extra_operations((2, 16, *SIZE)) == (16 * 20 if name == "global-context" else 0)


@pytest.mark.parametrize("name", [*IDENTITIES, *OF_TIMM])
def test_starts_layouts_and_wrong_maps(name):
    block = create_block(name, 16, SIZE).double()
    x = random_maps(16, SIZE)
    assert torch.equal(block(x), x) == (name in IDENTITIES)
    block = build(name).eval()
    last = block(x.contiguous(memory_format=torch.channels_last))
    assert relative(last, block(x)) <= 1e-12
    block.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = block(x.float())
    assert half.dtype == torch.float32
    assert (half.double() - last).norm() <= 0.03 * last.norm()
    with pytest.raises(ValueError, match=r"expected images of shape \(N, 16, H, W\)"):
        block(torch.zeros(2, 8, *SIZE))
    with pytest.raises(ValueError, match="not defined for videos"):
        create_block(name, 16, (2, *SIZE))


def test_a_missing_timm_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm.layers", None)
    with pytest.raises(ImportError, match="pip install timm"):
        create_block("se", 16, SIZE)


# ---- anybody's block ---------------------------------------------------------------------------


def doubled(channels, size) -> nn.Module:
    """Convolution that starts as the identity times 2."""
    conv = nn.Conv2d(channels, channels, 1, bias=False)
    nn.init.dirac_(conv.weight)
    conv.weight.data *= 2
    conv.size_seen = size
    return conv


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.Conv2d(8, 4, 1)).eval()


def test_a_callable_is_inserted():
    model, x = network(), torch.randn(2, 3, 11, 9)
    expected = model[1](2 * model[0](x))
    insert_blocks(model, ["0"], doubled, input_size=(3, 11, 9))
    torch.testing.assert_close(model(x), expected)
    assert model.get_submodule("0_srl").size_seen == (5, 4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda c, s: nn.Conv2d(c, c + 1, 1),
            r"'0' must return .* \(2, 8, 5, 4\), got \(2, 9, 5, 4\)",
        ),
        (lambda c, s: torch.zeros(c), "'0' must be a module, got Tensor"),
    ],
)
def test_callables_that_do_not_fit(make, message):
    model = network()
    names = list(model.state_dict())
    with pytest.raises(ValueError, match=message):
        insert_blocks(model, ["0"], make, input_size=(3, 11, 9))
    with pytest.raises(ValueError, match="takes no options"):
        insert_blocks(model, ["0"], doubled, input_size=(3, 11, 9), options={"modes": 3})
    assert list(model.state_dict()) == names


def test_blocks_by_import_path(tmp_path):
    """In `create_block`, and so in configurations and in rows of the benchmark."""
    assert create_block("test_rivals:doubled", 4, (3, 2)).size_seen == (3, 2)
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{"block": "test_rivals:doubled", "channels": 8, "shape": [6, 5]}]))
    assert load_rows(Row, path)[0].build().weight.shape == (8, 8, 1, 1)
    for name in ("no_such_package:f", "test_rivals:nothing", "test_rivals:SIZE"):
        with pytest.raises(
            ValueError, match=f"block '{name}' (cannot be imported|must be callable)"
        ):
            create_block(name, 4, (3, 2))
    with pytest.raises(ValueError, match="must return a module, got str"):
        create_block("test_rivals:text", 4, (3, 2))


def text(channels, size):
    """No block."""
    return f"{channels} {size}"


def test_files_name_no_code_that_is_not_loaded():
    check_imported(None)
    check_imported("srl")
    check_imported("test_rivals:doubled")
    with pytest.raises(ValueError, match="import antigravity before, if you trust it"):
        check_imported("antigravity:f")
    assert "antigravity" not in sys.modules
    check_imported("torch.nn:Identity")
    for other in (
        "os:system",
        "subprocess:Popen",
        "builtins:print",
        "test_rivals:text",
        "sys:exit",
    ):
        with pytest.raises(ValueError, match=f"'{other}'; expected a class of nn.Module, or"):
            check_imported(other)


def test_a_block_by_import_path_must_keep_the_shape():
    model = network()
    with pytest.raises(ValueError, match=r"expected \(2, 8, 5, 4\), got \(2, 9, 5, 4\)"):
        insert_blocks(model, ["0"], "test_rivals:wider", input_size=(3, 11, 9))
    with pytest.raises(ValueError, match=r"'0': Linear does not run on the meta device"):
        insert_blocks(model, ["0"], lambda c, s: nn.Linear(c + 1, c), input_size=(3, 11, 9))
    with pytest.raises(ValueError, match="must be a name or a callable .* got Conv2d"):
        insert_blocks(model, ["0"], nn.Conv2d(8, 8, 1), input_size=(3, 11, 9))
    with pytest.raises(ValueError, match="does not take its arguments"):
        create_block("test_rivals:doubled", 4, (3, 2), colour="red")
    with pytest.raises(ValueError, match="absolute path"):
        create_block(".test_rivals:doubled", 4, (3, 2))
    assert len(model) == 2


def wider(channels, size):
    """Block that adds a channel."""
    return nn.Conv2d(channels, channels + 1, 1)
