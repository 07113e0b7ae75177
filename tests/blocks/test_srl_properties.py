"""What SRL blocks promise beside their numbers: graphs, derivatives, precisions, memory."""

from __future__ import annotations

import copy

import pytest
import torch
from srl_blocks import random_maps, relative
from srl_naive import LAYOUTS, compare, layout_of, randomise, step
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from spectral_residual import create_block

IMAGE, VIDEO = (9, 12), (3, 9, 12)
FEW = ("srl-dct", "srl-wht", "srl-haar", "srl-slant", "srl-lo", "srl-fft")
IMAGES = [("srl", IMAGE, {}), *((name, IMAGE, {}) for name in FEW)]
IMAGES += [(name, IMAGE, {"modes": 5}) for name in FEW]
VIDEOS = [("srl", VIDEO, {}), ("srl-fft", VIDEO, {}), ("srl-fft-3d", VIDEO, {})]
VIDEOS += [("srl-dct", VIDEO, {"modes": 5}), ("srl-fft", VIDEO, {"modes": 5})]


def name_of(value) -> str:
    if isinstance(value, tuple) and isinstance(value[0], str):
        name, size, options = value
        kind = "video" if len(size) == 3 else "image"
        return "-".join([name, kind, *(f"{k}{v}" for k, v in options.items())])
    return str(value)


images = pytest.mark.parametrize("case", IMAGES, ids=name_of)
everything = pytest.mark.parametrize("case", IMAGES + VIDEOS, ids=name_of)
layouts = pytest.mark.parametrize("layout", LAYOUTS)


def build(case, channels=16, **more):
    name, size, options = case
    torch.manual_seed(0)
    options = {"alpha": 0.7, **options, **more}
    return randomise(create_block(name, channels, size, **options).double())


def maps_in(layout, size, channels=16, batch=2, seed=0) -> Tensor:
    x = random_maps(channels, size, batch, seed)
    return x.contiguous(memory_format=layout_of(layout, len(size)))


# ---- compiled, exported and traced graphs ------------------------------------------------------


@everything
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.filterwarnings("error")
def test_one_graph(case, training):
    torch._dynamo.reset()
    eager = build(case).train(training)
    block = copy.deepcopy(eager)
    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    for layout in LAYOUTS:
        for each in (block, eager):
            each.zero_grad()
        x = maps_in(layout, case[1])
        compare(step(compiled, block, x), step(eager, eager, x), 1e-11)


@pytest.mark.parametrize(("name", "options"), [(n, o) for n, size, o in IMAGES])
def test_two_sizes_in_one_graph(name, options):
    torch._dynamo.reset()
    first, second = build((name, (9, 12), options)), build((name, (4, 6), options))
    eager = nn.Sequential(first, nn.AvgPool2d(2), second).train()
    network = copy.deepcopy(eager)
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    x = random_maps(16, (9, 12))
    found, expected = compiled(x), eager(x)
    assert relative(found, expected) <= 1e-11
    found.sum().backward()
    expected.sum().backward()
    for mine, its in zip(network.parameters(), eager.parameters(), strict=True):
        assert (mine.grad - its.grad).abs().max() <= 1e-9 * max(1.0, its.grad.abs().max())


@layouts
@pytest.mark.parametrize("training", [True, False])
def test_one_dynamic_graph(training, layout):
    torch._dynamo.reset()
    eager = build(("srl", (16, 12), {})).train(training)
    block = copy.deepcopy(eager)
    compiled = torch.compile(block, fullgraph=True, dynamic=True, backend="aot_eager")
    for size, batch in [((16, 12), 2), ((20, 13), 3), ((31, 24), 2), ((9, 11), 4), ((12, 12), 2)]:
        for each in (block, eager):
            each.zero_grad()
        x = maps_in(layout, size, batch=batch)
        compare(step(compiled, block, x), step(eager, eager, x), 1e-11)


def export(block, x, dynamic):
    program = torch.export.export(block, (x,), dynamic_shapes=(dynamic,))
    values = [node.meta.get("val") for node in program.run_decompositions().graph.nodes]
    assert not any(isinstance(v, Tensor) and v.dtype.is_complex for v in values)
    return program.module()


@everything
def test_exported_graph_is_real_and_takes_any_batch(case):
    block = build(case).eval()
    x = random_maps(16, case[1], batch=5)
    exported = export(block, x[:2], {0: torch.export.Dim("batch", min=1, max=64)})
    with torch.no_grad():
        for n in (1, 2, 5):
            assert relative(exported(x[:n]), block(x[:n])) <= 1e-12


@layouts
def test_exported_graph_takes_any_size(layout):
    block = build(("srl", (16, 12), {})).eval()
    names = ("batch", "height", "width")
    dims = [torch.export.Dim(n, min=m, max=512) for n, m in zip(names, (1, 12, 12), strict=True)]
    x = maps_in(layout, (16, 12))
    exported = export(block, x, {0: dims[0], 2: dims[1], 3: dims[2]})
    with torch.no_grad():
        for size, batch in [((16, 12), 2), ((12, 12), 1), ((33, 20), 3), ((64, 48), 2)]:
            x = maps_in(layout, size, batch=batch)
            assert relative(exported(x), block(x)) <= 1e-12


@pytest.mark.parametrize("options", [{}, {"modes": 5}], ids=str)
@pytest.mark.parametrize("name", ["srl-fft", "srl"])
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning")
def test_traced_block(name, options):
    block = build((name, IMAGE, options)).eval()
    with torch.no_grad():
        traced = torch.jit.trace(block, random_maps(16, IMAGE))
        assert "Complex" not in str(traced.inlined_graph)
        assert "fft_" not in str(traced.inlined_graph)
        x = random_maps(16, IMAGE, seed=3)
        assert relative(traced(x), block(x)) <= 1e-12


# ---- derivatives -------------------------------------------------------------------------------


@everything
@pytest.mark.parametrize("training", [True, False])
def test_forward_derivative(case, training):
    """Forward mode is the transpose of reverse mode and the limit of differences."""
    block = build(case).train(training)
    state = {k: v.detach().clone() for k, v in block.state_dict().items()}
    x, v, w = (random_maps(16, case[1], seed=seed) for seed in range(3))

    def f(x):
        fresh = {k: t.clone() for k, t in state.items()}
        return torch.func.functional_call(block, fresh, (x,))

    y, forward = torch.func.jvp(f, (x,), (v,))
    again, pull = torch.func.vjp(f, x)
    assert relative(y, again) <= 1e-12
    expected = (pull(w)[0] * v).sum()
    assert abs((forward * w).sum() - expected) <= 1e-10 * abs(expected) + 1e-10
    with torch.no_grad():
        differences = (f(x + 1e-6 * v) - f(x - 1e-6 * v)) / 2e-6
    assert ((differences - forward).norm() / forward.norm()).item() <= 1e-5


@everything
@pytest.mark.filterwarnings("error")
def test_vmap(case):
    block = build(case).eval()
    x = torch.stack([random_maps(16, case[1], seed=seed) for seed in range(3)])
    with torch.no_grad():
        found, expected = torch.func.vmap(block)(x), torch.stack([block(each) for each in x])
    assert relative(found, expected) <= 1e-12


SMALL = [(name, (3, 4), {"groups": 1, "modes": 3}) for name in FEW]
SMALL += [("srl", (3, 4), {"modes": 2}), ("srl-fft", (3, 4), {"groups": 1})]
SMALL += [("srl", (2, 3, 4), {"modes": 3})]


@pytest.mark.parametrize("case", SMALL, ids=name_of)
@pytest.mark.parametrize("training", [True, False])
def test_double_backward(case, training):
    block = build(case, channels=2).train(training)
    x = random_maps(2, case[1]).requires_grad_()
    names = ("conv1.weight", "relu.weight", "bn2.weight", "alpha")
    own = dict(block.named_parameters())
    values = [own[name].detach().clone().requires_grad_() for name in names]

    def f(x, *values):
        buffers = {k: b.clone() for k, b in block.named_buffers()}
        state = {**buffers, **dict(zip(names, values, strict=True))}
        return torch.func.functional_call(block, state, (x,))

    assert torch.autograd.gradcheck(f, (x, *values))
    assert torch.autograd.gradgradcheck(f, (x, *values))


# ---- FSDP --------------------------------------------------------------------------------------


@pytest.fixture
def mesh(tmp_path):
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh

    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


@pytest.mark.parametrize(
    "case", [IMAGES[0], VIDEOS[0], ("srl-lo", IMAGE, {"modes": 5})], ids=name_of
)
def test_fsdp(case, mesh):
    from torch.distributed.fsdp import fully_shard

    block = build(case).train()
    sharded = copy.deepcopy(block)
    fully_shard(sharded, mesh=mesh)
    x = random_maps(16, case[1])
    for each in (block, sharded):
        optimizer = torch.optim.SGD(each.parameters(), lr=0.1)
        each(x).square().mean().backward()
        optimizer.step()
    for mine, its in zip(sharded.parameters(), block.parameters(), strict=True):
        assert relative(mine.full_tensor().detach(), its.detach()) <= 1e-12


# ---- half precisions ---------------------------------------------------------------------------

HALVES = {torch.float16: 1e-2, torch.bfloat16: 3e-2}


def smooth_maps(layout, size, channels, dtype) -> Tensor:
    """Maps with most of their energy at low frequencies, exact in a half precision, in float64.

    The branch of a block is small next to white noise; rounding the sum to bfloat16 alone would
    be an error of 4 per cent of the branch at 63x65.
    """
    coarse = random_maps(channels, (4,) * len(size), seed=5)
    mode = "trilinear" if len(size) == 3 else "bilinear"
    x = nn.functional.interpolate(coarse, size=size, mode=mode) + 0.3 * random_maps(channels, size)
    return x.to(dtype).double().contiguous(memory_format=layout_of(layout, len(size)))


@layouts
@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("size", [(7, 7), (48, 36), (63, 65)])
@pytest.mark.parametrize(
    "case", [("srl", {}), ("srl-dct", {}), ("srl-fft", {"modes": 7}), ("srl-fft", {})], ids=str
)
def test_half_precision(case, size, dtype, layout):
    """Errors in the norm, of the output and of the branch alone, to float64."""
    block = build((case[0], size, case[1]), channels=32).eval()
    x = smooth_maps(layout, size, 32, dtype)
    with torch.no_grad():
        branch = block(x) - x
        block.float()
        with torch.autocast("cpu", dtype=dtype):
            y = block(x.float())
        assert y.dtype == torch.float32
        assert ((y.double() - x - branch).norm() / branch.norm()).item() <= 1e-2
        y = block.to(dtype)(x.to(dtype))
    assert y.dtype == dtype
    assert y.is_contiguous(memory_format=LAYOUTS[layout])
    error = (y.double() - x - branch).norm()
    assert (error / (x + branch).norm()).item() <= 1e-2
    assert (error / branch.norm()).item() <= HALVES[dtype]


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("size", [(2, 7, 7), (4, 18, 24)])
def test_half_precision_of_videos(size, dtype):
    block = build(("srl", size, {}), channels=16).eval()
    x = smooth_maps("contiguous", size, 16, dtype)
    with torch.no_grad():
        branch = block(x) - x
        block.float()
        with torch.autocast("cpu", dtype=dtype):
            y = block(x.float())
        assert ((y.double() - x - branch).norm() / branch.norm()).item() <= 1e-2
        y = block.to(dtype)(x.to(dtype))
    error = (y.double() - x - branch).norm()
    assert (error / (x + branch).norm()).item() <= 1e-2
    assert (error / branch.norm()).item() <= HALVES[dtype]


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_training_in_half_precision(dtype):
    """Gradients under autocast are those of float64 to a few per cent."""
    block = build(("srl", (16, 12), {}), channels=32).train()
    x = random_maps(32, (16, 12), batch=8)
    other = copy.deepcopy(block)
    expected = step(other, other, x)
    block.float()

    def run(x):
        with torch.autocast("cpu", dtype=dtype):
            return block(x)

    found = step(run, block, x.float())
    for name, value in expected.items():
        error = (found[name].double() - value).norm() / value.norm()
        assert error <= 5e-2, (name, error)


# ---- edge cases, memory and memory formats -----------------------------------------------------


@everything
@pytest.mark.parametrize("training", [True, False])
def test_empty_batch_is_returned_as_it_is(case, training):
    block = build(case).train(training)
    before = copy.deepcopy(block.state_dict())
    x = random_maps(16, case[1])[:0].requires_grad_()
    y = block(x)
    assert y.shape == x.shape
    assert y is x
    after = block.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


SIZES = [(16, 12), (14, 14), (28, 28), (64, 48), (63, 65)]
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def large(size, dtype, layout, channels=64, batch=8):
    return maps_in(layout, size, channels, batch).to(dtype)


@layouts
@pytest.mark.parametrize("dtype", DTYPES[:2], ids=str)
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("size", SIZES[:4])
def test_the_backward_pass_keeps_nothing_of_the_size_of_the_maps(size, dtype, layout, autocast):
    block = build(("srl", size, {}), channels=64).train().to(torch.float32 if autocast else dtype)
    x = large(size, dtype, layout).requires_grad_()
    kept = []
    with (
        torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast),
        torch.autograd.graph.saved_tensors_hooks(
            lambda t: kept.append((t.untyped_storage().nbytes(), tuple(t.shape))) or t, lambda t: t
        ),
    ):
        block(x)
    assert kept
    share = 12 * 12 / (size[0] * size[1])
    assert max(kept)[0] <= 1.01 * share * x.untyped_storage().nbytes() * (
        2 if autocast and dtype != torch.float32 else 1
    ), max(kept)


class Copies(TorchDispatchMode):
    """Records copies of tensors of at least so many elements."""

    NAMES = ("copy_", "clone", "_to_copy", "contiguous", "_copy", "im2col", "cat", "repeat")

    def __init__(self, elements):
        super().__init__()
        self.elements = elements
        self.found: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        name = function.overloadpacket.__name__
        if (
            any(part in name for part in self.NAMES)
            and isinstance(result, Tensor)
            and result.numel() >= self.elements
        ):
            self.found.append(f"{name} {tuple(result.shape)}")
        return result


@layouts
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("training", [True, False])
def test_no_copies_of_maps_and_the_same_memory_format(size, dtype, layout, training):
    block = build(("srl", size, {}), channels=64).train(training).to(dtype)
    x = large(size, dtype, layout)
    with torch.set_grad_enabled(training), Copies(x.numel()) as copies:
        y = block(x)
    assert copies.found == []
    assert y.stride() == x.stride()
    assert y.is_contiguous(memory_format=LAYOUTS[layout])
    assert y.dtype == dtype


@layouts
@everything
def test_memory_format_and_dtype_are_kept(case, layout):
    block = build(case).float()
    x = maps_in(layout, case[1]).float()
    y = block(x)
    assert y.shape == x.shape
    assert y.dtype == x.dtype
    assert y.stride() == x.stride()
