"""Blocks as attention layers of timm's networks."""

from __future__ import annotations

import pickle

import pytest
import torch

from spectral_residual import SRLBlock, attn_layer, create_block
from spectral_residual.blocks import BLOCKS, TIMM_BLOCKS, DoubleAttentionBlock, size_for_all

timm = pytest.importorskip("timm", reason="timm is not installed")

# Architectures of the families whose builders ask for attention layers in different ways.
NETWORKS = {
    "resnet26": lambda layer: {"block_args": {"attn_layer": layer}},
    "nf_resnet26": lambda layer: {"attn_layer": layer},
    "nf_regnet_b0": lambda layer: {"attn_layer": layer, "attn_kwargs": {}},
    "gernet_s": lambda layer: {"attn_layer": layer},
    "efficientnet_b0": lambda layer: {"se_layer": layer},
}
ANY_SIZE = [
    *("non-local", "a2", "cgnl", "rcca", "ffc", "self-attention", "linear-attention"),
    *("depthwise", "conv", "global-context", "se"),
]


def image(side: int, batch: int = 1) -> torch.Tensor:
    return torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(0))


def blocks_of(model: torch.nn.Module) -> list[SRLBlock]:
    return [m for m in model.modules() if isinstance(m, SRLBlock)]


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_timm_with_a_block_in_every_residual_block(name):
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=7, **NETWORKS[name](attn_layer(modes=4))).eval()
    others = NETWORKS[name](lambda channels, **_: torch.nn.Identity())
    plain = timm.create_model(name, num_classes=7, **others).eval()
    for key, parameter in model.named_parameters():  # scales of some last layers start with 0
        if not parameter.any() and not key.endswith(".alpha"):
            parameter.data += 0.5
    assert not plain.load_state_dict(model.state_dict(), strict=False).missing_keys
    assert len(blocks_of(model)) >= 8
    calls = []
    for block in blocks_of(model):
        block.register_forward_pre_hook(lambda block, args: calls.append(args[0].shape))
    with torch.no_grad():
        assert torch.equal(model(image(96)), plain(image(96)))
        for block in blocks_of(model):
            block.alpha.fill_(1.0)
        for side in (64, 96):
            calls.clear()
            assert not torch.equal(model(image(side)), plain(image(side)))
            assert len(calls) == len(blocks_of(model))


@pytest.mark.parametrize("name", [*BLOCKS, *TIMM_BLOCKS])
def test_every_block_is_taken_or_refused(name):
    if name in ANY_SIZE:
        options = {}
    elif name not in ("gfnet", "srl-lo"):
        options = {"modes": (5, 3)}
        assert size_for_all(name, options) == (5, 3)
    else:
        with pytest.raises(ValueError, match=f"'{name}' .* weights for maps of one size"):
            attn_layer(name)
        return
    block = attn_layer(name, **options)(32, act_layer=torch.nn.ReLU).eval()
    for size in ((9, 7), (4, 2), (16, 20)):
        assert block(torch.randn(2, 32, *size)).shape == (2, 32, *size)


def test_weights_serve_every_size_and_are_those_of_an_inserted_block():
    block = attn_layer("srl", modes=6, reduction=4)(16)
    inserted = create_block("srl", 16, (24, 20), modes=6, reduction=4)
    shapes = {key: value.shape for key, value in inserted.state_dict().items()}
    assert {key: value.shape for key, value in block.state_dict().items()} == shapes


@pytest.mark.parametrize(
    ("block", "options", "message"),
    [
        ("srl-fft", {}, "'srl-fft' with options {} has weights for maps of one size"),
        ("srl", {"modes": None}, "maps of one size"),
        ("srl-dct", {"modes": (5, None)}, "maps of one size"),
        ("srl-lo", {"modes": 5}, "maps of one size"),
        ("srl", {"modes": -1}, "modes must be positive integers, got -1"),
        ("srl", {"moeds": 5}, "did you mean 'modes'"),
        ("tsm", {}, "not defined for images"),
        ("slr", {}, "did you mean 'srl'"),
        ("package.module:function", {}, "give the function itself"),
    ],
)
def test_errors_come_before_the_network_is_made(block, options, message):
    with pytest.raises(ValueError, match=message):
        attn_layer(block, **options)


def test_device_and_dtype_that_timm_hands_on():
    options = {"block_args": {"attn_layer": attn_layer()}}
    model = timm.create_model("resnet26", device="meta", dtype=torch.float64, **options)
    assert {(t.device.type, t.dtype) for t in model.parameters()} == {("meta", torch.float64)}
    assert len(blocks_of(model)) == 8


def test_keywords_of_layers_with_a_stride_or_a_ratio_are_refused():
    for keyword in ("stride", "rd_ratio"):
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{keyword}'"):
            attn_layer()(16, **{keyword: 2})


def test_what_timm_draws_anew_is_no_identity_at_the_start():
    """As the documentation says: zeros of a2's last convolution do not survive."""
    assert not attn_layer("a2")(16).out.weight.any()
    model = timm.create_model("resnet26", block_args={"attn_layer": attn_layer("a2")})
    found = [m for m in model.modules() if isinstance(m, DoubleAttentionBlock)]
    assert len(found) == 8
    assert all(block.out.weight.any() for block in found)


def test_a_layer_is_pickled():
    layer = pickle.loads(pickle.dumps(attn_layer("srl", modes=3)))
    assert layer(8)(torch.ones(1, 8, 5, 5)).shape == (1, 8, 5, 5)
