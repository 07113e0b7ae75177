"""The non-local block, and what all competing blocks have in common."""

from __future__ import annotations

import ast
import inspect
import math
import sys
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from spectral_residual import insert_blocks
from spectral_residual.blocks import BLOCKS, NonLocalBlock, check_options, create_block
from spectral_residual.blocks.non_local import MODES

# Each competing block and its parameter that starts at 0.
COMPETITORS = {
    "non-local": "norm.weight",
    "a2": "out.weight",
    "cgnl": "norm.weight",
    "rcca": "norm2.weight",
    "ffc": "norm2.weight",
    "gfnet": "weight",
}
VIDEO_BLOCKS = ("non-local", "a2", "cgnl")
CHANNELS, SIZE = 32, (6, 5)
SOFTMAX_MODES = ("embedded_gaussian", "gaussian")

every_block = pytest.mark.parametrize("name", COMPETITORS)
every_mode = pytest.mark.parametrize("mode", MODES)


def randomise(block: nn.Module, scale: float = 0.5) -> nn.Module:
    """Draw all parameters anew, so that nothing is 0 and every part has a gradient."""
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=scale)
    return block


def inputs(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def assert_matches_naive(
    block: nn.Module,
    naive: Callable[[nn.Module, Tensor], Tensor],
    x: Tensor,
    without_effect: tuple[str, ...] = (),
) -> None:
    """Output and every gradient of a block in training mode, against another computation.

    Parameters named in `without_effect` must have a gradient of 0, all others another one.
    """
    torch.manual_seed(1)
    randomise(block.double()).train()
    x = x.clone().requires_grad_()
    got, expected = block(x), naive(block, x)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)
    sources = {"input": x, **dict(block.named_parameters())}
    cotangent = inputs(*got.shape, seed=2)
    grads = torch.autograd.grad((got * cotangent).sum(), list(sources.values()))
    naive_grads = torch.autograd.grad((expected * cotangent).sum(), list(sources.values()))
    for label, a, b in zip(sources, grads, naive_grads, strict=True):
        assert (a - b).abs().max() <= 1e-10, label
        assert (b.abs().max() < 1e-12) == (label in without_effect), label


def naive_pointwise(weight: Tensor, x: Tensor) -> Tensor:
    """1x1 convolution without bias of (N, C, L), position by position."""
    matrix = weight.flatten(1)
    return torch.stack([matrix @ x[:, :, i].T for i in range(x.shape[2])]).permute(2, 1, 0)


def naive_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Batch normalisation of (N, C, L) by the statistics of the batch."""
    channels = []
    for c in range(x.shape[1]):
        values = x[:, c]
        mean = values.sum() / values.numel()
        variance = ((values - mean) ** 2).sum() / values.numel()
        channels.append((values - mean) / torch.sqrt(variance + eps) * weight[c] + bias[c])
    return torch.stack(channels, dim=1)


def naive_subsampled(x: Tensor) -> Tensor:
    """Largest value of every 2x2 window of (N, C, T, H, W), as (N, C, keys)."""
    height, width = x.shape[-2:]
    windows = [
        x[:, :, t, i : i + 2, j : j + 2].amax(dim=(-2, -1))
        for t in range(x.shape[2])
        for i in range(0, height, 2)
        for j in range(0, width, 2)
    ]
    return torch.stack(windows, dim=2)


def naive_non_local(block: NonLocalBlock, x: Tensor) -> Tensor:
    positions = x.flatten(2)
    video = x if x.dim() == 5 else x.unsqueeze(2)
    sources = naive_subsampled(video) if block.subsample else positions
    parameters = dict(block.named_parameters())
    theta, phi = positions, sources
    if block.mode != "gaussian":
        stem = ".0" if block.mode == "concatenation" else ""
        theta = naive_pointwise(parameters[f"theta{stem}.weight"], positions)
        phi = naive_pointwise(parameters[f"phi{stem}.weight"], sources)
    g = naive_pointwise(parameters["g.weight"], sources)
    samples = []
    for n in range(x.shape[0]):
        columns = []
        for i in range(theta.shape[2]):
            numerator, normaliser = torch.zeros_like(g[n, :, 0]), torch.zeros(())
            for j in range(phi.shape[2]):
                if block.mode == "concatenation":
                    w = torch.cat(
                        (parameters["theta.1.weight"], parameters["phi.1.weight"]), dim=1
                    ).flatten()
                    f = torch.relu(w @ torch.cat((theta[n, :, i], phi[n, :, j])))
                else:
                    f = theta[n, :, i] @ phi[n, :, j]
                if block.mode in SOFTMAX_MODES:
                    f = torch.exp(f * block.scale)
                    normaliser = normaliser + f
                else:
                    normaliser = normaliser + 1
                numerator = numerator + f * g[n, :, j]
            columns.append(numerator / normaliser)
        samples.append(torch.stack(columns, dim=1))
    out = naive_pointwise(parameters["out.weight"], torch.stack(samples))
    branch = naive_norm(out, parameters["norm.weight"], parameters["norm.bias"], block.norm.eps)
    return x + branch.reshape(x.shape)


# --- the non-local block alone -------------------------------------------------------------


@every_mode
@pytest.mark.parametrize("memory_efficient", [True, False])
@pytest.mark.parametrize("subsample", [True, False])
@pytest.mark.parametrize("shape", [(2, 4, 3, 4), (2, 4, 2, 3, 2)])
def test_equals_naive_loops(
    mode: str, memory_efficient: bool, subsample: bool, shape: tuple[int, ...]
) -> None:
    block = NonLocalBlock(4, mode=mode, memory_efficient=memory_efficient, subsample=subsample)
    assert_matches_naive(block, naive_non_local, inputs(*shape))


@pytest.mark.parametrize("mode", SOFTMAX_MODES)
@pytest.mark.parametrize("memory_efficient", [True, False])
def test_scaled_logits_equal_naive_loops(mode: str, memory_efficient: bool) -> None:
    block = NonLocalBlock(8, mode=mode, scale=True, memory_efficient=memory_efficient)
    assert block.scale == pytest.approx((8 if mode == "gaussian" else 4) ** -0.5)
    assert_matches_naive(block, naive_non_local, inputs(1, 8, 2, 3))


@every_mode
@pytest.mark.parametrize("subsample", [True, False])
def test_memory_efficient_equals_plain(mode: str, subsample: bool) -> None:
    x = inputs(2, 8, 17, 17)
    results = []
    for memory_efficient in (True, False):
        torch.manual_seed(0)
        block = NonLocalBlock(8, mode=mode, subsample=subsample, memory_efficient=memory_efficient)
        randomise(block.double(), 0.3)
        source = x.clone().requires_grad_()
        y = block(source)
        grads = torch.autograd.grad((y * inputs(*y.shape)).sum(), [source, *block.parameters()])
        results.append((y, *grads))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


class LargestTensor(TorchDispatchMode):
    """Records the number of elements of the largest tensor that any operation returns."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(value, Tensor):
                self.elements = max(self.elements, value.numel())
        return result


@every_mode
@pytest.mark.parametrize("memory_efficient", [True, False])
def test_only_the_plain_form_holds_all_pairs(mode: str, memory_efficient: bool) -> None:
    positions = 24 * 32
    block = randomise(NonLocalBlock(8, mode=mode, memory_efficient=memory_efficient), 0.1)
    x = torch.randn(1, 8, 24, 32, requires_grad=True)
    with LargestTensor() as largest:
        block(x).sum().backward()
    if memory_efficient:
        assert largest.elements < positions**2 / 2
    else:
        assert largest.elements == positions**2


@pytest.mark.parametrize("mode", SOFTMAX_MODES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_softmax_modes_run_in_a_fused_kernel(mode: str, layout: torch.memory_format) -> None:
    block = randomise(NonLocalBlock(16, mode=mode), 0.1)
    x = torch.randn(2, 16, 6, 5).to(memory_format=layout).requires_grad_()
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        block(x).sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize("memory_efficient", [True, False])
@pytest.mark.parametrize("mode", ["embedded_gaussian", "dot_product"])
def test_without_theta_all_keys_weigh_the_same(mode: str, memory_efficient: bool) -> None:
    block = NonLocalBlock(8, mode=mode, memory_efficient=memory_efficient)
    query, key, value = torch.zeros(2, 6, 4).double(), inputs(2, 9, 4), inputs(2, 9, 4, seed=1)
    y = block.attend(query, key, value)
    mean = value.mean(1, keepdim=True).expand_as(y)
    expected = mean if mode == "embedded_gaussian" else torch.zeros_like(y)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("memory_efficient", [True, False])
@pytest.mark.parametrize("mode", SOFTMAX_MODES)
def test_attention_rows_sum_to_one(mode: str, memory_efficient: bool) -> None:
    block = NonLocalBlock(8, mode=mode, memory_efficient=memory_efficient)
    query, key = inputs(2, 6, 9), inputs(2, 9, 9, seed=1)
    attention = block.attend(query, key, torch.eye(9).double().expand(2, 9, 9))
    torch.testing.assert_close(attention.sum(2), torch.ones(2, 6).double(), rtol=0, atol=1e-14)
    assert attention.min() > 0


@every_mode
def test_subsampling_a_map_constant_on_its_windows_changes_nothing(mode: str) -> None:
    x = inputs(2, 8, 3, 4).repeat_interleave(2, 2).repeat_interleave(2, 3)
    outputs = []
    for subsample in (True, False):
        torch.manual_seed(0)
        block = randomise(NonLocalBlock(8, mode=mode, subsample=subsample).double())
        outputs.append(block(x))
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(1, 4, 5, 1), (1, 4, 1, 5), (1, 4, 7, 3)])
def test_subsampling_keeps_the_last_row_and_column_of_odd_sizes(shape: tuple[int, ...]) -> None:
    block = randomise(NonLocalBlock(4, subsample=True).double()).eval()
    x = inputs(*shape).requires_grad_()
    probe = x.detach().clone()
    probe[..., -1, -1] = 9.0
    reached = (block(probe) - block(x)).abs().amax(dim=1)[0]
    assert reached[0, 0] > 1e-9


# --- all competing blocks --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["non-local", "a2", "cgnl"])
@pytest.mark.parametrize("shape", [(2, 16, 5, 6), (2, 16, 3, 5, 2)])
def test_permuting_the_positions_permutes_the_output(name: str, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    block = randomise(create_block(name, 16, (5, 6)).double())
    x = inputs(*shape)
    order = torch.randperm(30)
    permuted = x.flatten(2)[:, :, order].reshape(shape)
    expected = block(x).flatten(2)[:, :, order].reshape(shape)
    torch.testing.assert_close(block(permuted), expected, rtol=0, atol=1e-11)
    assert (expected - block(x)).abs().max() > 0.1


def shapes(name: str) -> Iterator[tuple[int, ...]]:
    yield (2, CHANNELS, *SIZE)
    if name in VIDEO_BLOCKS:
        yield (2, CHANNELS, 3, *SIZE)


@every_block
@pytest.mark.parametrize("training", [True, False])
def test_starts_as_the_identity_and_learns(name: str, training: bool) -> None:
    for shape in shapes(name):
        torch.manual_seed(0)
        block = create_block(name, CHANNELS, SIZE).train(training)
        last = dict(block.named_parameters())[COMPETITORS[name]]
        x = torch.randn(shape)
        y = block(x)
        assert torch.equal(y, x)
        (y * torch.randn(shape)).sum().backward()
        assert last.grad is not None
        assert last.grad.abs().max() > 0
        torch.optim.SGD(block.parameters(), lr=0.1).step()
        assert not torch.equal(block(x), x)


@every_block
def test_every_parameter_gets_a_gradient_once_the_branch_is_open(name: str) -> None:
    """But the bias of the keys of criss-cross attention: a softmax does not see it."""
    torch.manual_seed(0)
    block = randomise(create_block(name, CHANNELS, SIZE))
    (block(torch.randn(2, CHANNELS, *SIZE)) * torch.randn(2, CHANNELS, *SIZE)).sum().backward()
    for label, parameter in block.named_parameters():
        assert parameter.grad is not None, label
        assert (parameter.grad.abs().max() > 1e-5) == (label != "attention.key.bias"), label


BRANCH_TOLERANCE = {torch.float16: 0.02, torch.bfloat16: 0.1}


@every_block
@pytest.mark.parametrize("dtype", list(BRANCH_TOLERANCE))
def test_autocast_returns_the_dtype_of_the_caller(name: str, dtype: torch.dtype) -> None:
    for shape in shapes(name):
        torch.manual_seed(0)
        block = randomise(create_block(name, CHANNELS, SIZE), 0.2).eval()
        x = torch.rand(shape).to(dtype)
        expected = (block.double()(x.double()) - x).float()
        block.float()
        for given in (x, x.float()):
            leaf = given.clone().requires_grad_()
            with torch.autocast("cpu", dtype):
                y = block(leaf)
            assert y.dtype == given.dtype
            error = (y.float() - given.float() - expected).abs().max() / expected.abs().max()
            assert error < BRANCH_TOLERANCE[dtype]
            y.float().sum().backward()
            assert leaf.grad is not None
            assert leaf.grad.isfinite().all()


@every_block
@pytest.mark.parametrize("dtype", list(BRANCH_TOLERANCE))
def test_block_in_half_precision(name: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    block = create_block(name, CHANNELS, SIZE).to(dtype)
    x = torch.randn(2, CHANNELS, *SIZE).to(dtype)
    y = block(x)
    assert y.dtype == dtype
    assert torch.equal(y, x)
    assert randomise(block, 0.2)(x).isfinite().all()


@every_block
def test_channels_last_gives_the_same_numbers(name: str) -> None:
    torch.manual_seed(0)
    block = randomise(create_block(name, CHANNELS, SIZE).double())
    x = inputs(2, CHANNELS, *SIZE)
    expected = block(x)
    got = block.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


@every_block
def test_traces_into_one_graph(name: str) -> None:
    torch.manual_seed(0)
    block = randomise(create_block(name, CHANNELS, SIZE), 0.2).eval()
    x = torch.randn(1, CHANNELS, *SIZE)
    compiled = torch.compile(block, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), block(x))


@every_block
def test_works_with_insert_blocks(name: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 32, 3, stride=2), nn.ReLU(), nn.Conv2d(32, 8, 1)).eval()
    x = torch.randn(2, 3, 12, 10)
    expected = model(x)
    insert_blocks(model, after=["1"], block=name, input_size=(3, 12, 10))
    assert len(model) == 4
    assert torch.equal(model(x), expected)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("non-local", {}, 131_584),
        ("non-local", {"mode": "gaussian"}, 2 * 256 * 128 + 512),
        ("non-local", {"mode": "dot_product", "subsample": True}, 131_584),
        ("non-local", {"mode": "concatenation"}, 131_584 + 2 * 128),
        ("a2", {}, 65_536),
        ("cgnl", {}, 102_912),
        ("rcca", {}, 300_753),
        ("ffc", {}, 2 * 256 * 128 + 256**2 + 2 * (128 + 256 + 256)),
        ("ffc", {"lfu": True}, 2 * 256 * 128 + 2 * 256**2 + 2 * (128 + 2 * 256 + 256)),
        ("gfnet", {}, 2 * 256 * 64 * 25 + 512),
    ],
)
def test_parameters_for_256_channels(name: str, options: dict, expected: int) -> None:
    with torch.device("meta"):
        block = create_block(name, 256, (64, 48), **options)
    assert sum(p.numel() for p in block.parameters()) == expected


def test_convolutions_of_the_non_local_block_have_131072_weights() -> None:
    convs = [m for m in create_block("non-local", 256, (4, 4)).modules() if type(m) is nn.Conv2d]
    assert sum(m.weight.numel() for m in convs) == 131_072


def paper_operations(name: str, channels: int, size: tuple[int, int], **options: object) -> float:
    """Weights of a convolution by output positions at every call, and what the block adds."""
    with torch.device("meta"):
        block = create_block(name, channels, size, **options)
        x = torch.empty(1, channels, *size)
    counts = [block.extra_operations(tuple(x.shape))]
    for module in block.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(
                lambda conv, args, output: counts.append(
                    conv.weight.numel() * output.shape[2:].numel()
                )
            )
    with torch.no_grad():
        block(x)
    return sum(counts)


@pytest.mark.parametrize(
    ("name", "small", "large"),
    [
        ("non-local", 2.892, 13.254),
        ("a2", 0.277, 0.623),
        ("cgnl", 0.388, 0.874),
        ("rcca", 1.199, 2.756),
        ("srl-fft", 0.086, 0.196),
    ],
)
def test_operations_of_table_3(name: str, small: float, large: float) -> None:
    """Three blocks after the deconvolutions of 256x192 and 384x288, in units of 2^30."""
    for (height, width), expected in (((16, 12), small), ((24, 18), large)):
        total = sum(paper_operations(name, 256, (height * k, width * k)) for k in (1, 2, 4))
        assert total / 2**30 == pytest.approx(expected, abs=5e-4)


def test_operations_of_the_pooled_non_local_block_of_table_8() -> None:
    """Pooled before the embeddings, as the authors' code does; 1.04 needs pooling after them."""
    total, not_pooled_first = 0.0, 0.0
    for channels, (frames, height, width) in ((128, (4, 28, 28)), (256, (4, 14, 14))):
        block = create_block("non-local", channels, (height, width), subsample=True)
        positions = frames * height * width
        keys = positions // 4
        products = block.extra_operations((1, channels, frames, height, width))
        assert products == 2 * positions * keys * (channels // 2)
        total += 2 * (products + channels * channels // 2 * (2 * positions + 2 * keys))
        not_pooled_first += 2 * channels * channels // 2 * 2 * (positions - keys)
    assert total / 2**30 == pytest.approx(0.899, abs=5e-4)
    assert (total + not_pooled_first) / 2**30 == pytest.approx(1.04, abs=5e-3)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"mode": "gaussian"}, 6 * 5 * 30 * (32 + 16)),
        ({"mode": "concatenation"}, 30 * 30 * 16),
        ({"mode": "dot_product"}, 2 * 30 * 16 * 16),
        ({"mode": "dot_product", "memory_efficient": False}, 2 * 30 * 30 * 16),
        ({"subsample": True}, 2 * 30 * 9 * 16),
    ],
)
def test_extra_operations_of_the_non_local_modes(options: dict, expected: int) -> None:
    block = NonLocalBlock(32, **options)
    assert block.extra_operations((7, 32, 6, 5)) == expected


def test_every_block_states_its_extra_operations() -> None:
    for name in BLOCKS:
        block = create_block(name, 32, (8, 8))
        one, many = (block.extra_operations((n, 32, 8, 8)) for n in (1, 5))
        assert one == many
        assert (many > 0) == (name not in ("depthwise", "conv"))


# --- wrong inputs ----------------------------------------------------------------------------


@every_block
def test_wrong_inputs_say_what_was_expected(name: str) -> None:
    block = create_block(name, CHANNELS, SIZE)
    for shape in ((2, 16, *SIZE), (CHANNELS, *SIZE), (1, 2, CHANNELS, 3, *SIZE)):
        with pytest.raises(ValueError, match=rf"expected .*\(N, 32, H, W\).*got \({shape[0]}, "):
            block(torch.randn(shape))
        with pytest.raises(ValueError, match="expected"):
            block.extra_operations(shape)


@pytest.mark.parametrize("name", [n for n in COMPETITORS if n not in VIDEO_BLOCKS])
def test_image_blocks_refuse_videos(name: str) -> None:
    block = create_block(name, CHANNELS, SIZE)
    with pytest.raises(
        ValueError, match=r"expected images .*got \(2, 32, 3, 6, 5\).*not defined for videos"
    ):
        block(torch.randn(2, CHANNELS, 3, *SIZE))


@pytest.mark.parametrize(
    ("name", "channels", "options", "message"),
    [
        ("non-local", 33, {}, "channels must be divisible by reduction, got 33 and 2"),
        ("non-local", 32, {"mode": "dot_produkt"}, "did you mean 'dot_product'"),
        ("non-local", 32, {"mode": "dot_product", "scale": True}, "got 'dot_product'"),
        ("non-local", 32, {"reduction": 0}, "reduction must be a positive integer, got 0"),
        ("a2", 30, {}, "channels must be divisible by reduction, got 30 and 4"),
        ("cgnl", 33, {}, "channels must be divisible by reduction, got 33 and 2"),
        ("cgnl", 36, {}, "channels / reduction must be divisible by groups, got 18 and 8"),
        ("cgnl", 8, {}, "channels / reduction must be divisible by groups, got 4 and 8"),
        ("cgnl", 32, {"kernel": "rfb"}, "did you mean 'rbf'"),
        ("cgnl", 32, {"taylor_order": 0}, "taylor_order must be a positive integer, got 0"),
        ("cgnl", 32, {"gamma": 0.0}, "gamma must be positive, got 0.0"),
        ("rcca", 34, {}, "channels must be divisible by 8, the reduction .* got 34 and 8"),
        ("rcca", 48, {}, "channels / 8 must be divisible by reduction, got 6 and 4"),
        ("rcca", 32, {"recurrence": 0}, "recurrence must be a positive integer, got 0"),
        ("rcca", 32, {"recurrence": 17}, "recurrence must be at most 16, got 17"),
        ("ffc", 33, {}, "channels must be divisible by 2, got 33"),
        ("ffc", 12, {"lfu": True}, "channels must be divisible by 8 .*got 12"),
        ("gfnet", 0, {}, "channels must be a positive integer, got 0"),
        ("a2", "32", {}, "channels must be a positive integer, got '32'"),
        ("non-locl", 32, {}, "unknown block 'non-locl'; did you mean 'non-local'"),
        ("rcaa", 32, {}, "did you mean 'rcca'"),
        ("non-local", 32, {"sub_sample": True}, "option of block 'non-local' .*'subsample'"),
        ("rcca", 32, {"recurence": 1}, "did you mean 'recurrence'"),
        ("cgnl", 32, {"group": 1}, "did you mean 'groups'"),
        ("srl-fft", 32, {"group": 1}, "did you mean 'groups'"),
        ("gfnet", 32, {"reduction": 1}, "unknown option of block 'gfnet' 'reduction'"),
        ("srl-fft", 32, {"transform": "dct"}, "unknown option of block 'srl-fft' 'transform'"),
    ],
)
def test_wrong_options(name: str, channels: int, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_block(name, channels, SIZE, **options)


@every_block
def test_size_is_checked_by_all_blocks(name: str) -> None:
    with pytest.raises(ValueError, match=r"size must be two positive integers \(H, W\), got 8"):
        create_block(name, CHANNELS, 8)


def test_options_are_checked_without_building() -> None:
    check_options("non-local", {"mode": "gaussian", "subsample": True, "scale": False})
    with pytest.raises(ValueError, match="unknown block 'a3'; did you mean 'a2'"):
        check_options("a3", {})
    with pytest.raises(ValueError, match="option of block 'a2' 'reductoin'"):
        check_options("a2", {"reductoin": 2})


def test_registry_is_complete() -> None:
    assert BLOCKS[:3] == ("srl", "srl-fft", "srl-lo")
    assert BLOCKS[3:7] == ("srl-dct", "srl-wht", "srl-haar", "srl-slant")
    assert BLOCKS[7:13] == tuple(COMPETITORS)
    assert BLOCKS[13:] == ("self-attention", "linear-attention", "depthwise", "conv")


@every_block
def test_blocks_import_torch_and_what_lies_below_them(name: str) -> None:
    module = sys.modules[type(create_block(name, CHANNELS, SIZE)).__module__]
    found = set()
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add("." * node.level + (node.module or "").split(".")[0])
    below = {"torch", "..transforms", "..errors", ".base"}
    assert found <= below | set(sys.stdlib_module_names)


def test_scale_of_the_logits_is_that_of_the_authors() -> None:
    query, key = inputs(1, 3, 4), inputs(1, 5, 4, seed=1)
    plain = NonLocalBlock(8, scale=True, memory_efficient=False)
    weights = plain.attend(query, key, torch.eye(5).double()[None])
    expected = torch.exp(query[0] @ key[0].T / math.sqrt(4))
    torch.testing.assert_close(weights[0], expected / expected.sum(1, keepdim=True))
