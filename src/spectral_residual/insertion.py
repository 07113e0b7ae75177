"""Put blocks into any network at named places, keeping the names of its weights.

Channels and map sizes are found by running a copy of the network on the meta device, which
computes nothing. An `nn.Sequential` runs a block as a further child of its own
(``<module>.srl.*``), or of its parent (``<module>_srl.*``). Elsewhere a forward hook runs it, and
the nearest module around that does not run its children one after the other holds it.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .blocks import FoldedVideoBlock, create_block
from .errors import unknown_name

Shape = tuple[int, ...]

BlockFactory = Callable[[int, Shape], nn.Module]
"""Makes a block for so many channels and a size (H, W) or (T, H, W)."""


def insert_blocks(
    model: nn.Module,
    after: Sequence[str],
    block: str | BlockFactory = "srl",
    *,
    input_size: Shape,
    options: Mapping[str, Any] | None = None,
    folded_time: bool = False,
) -> nn.Module:
    r"""Insert a block after each named module, in place.

    All weights keep their names, so that pre-trained weights can be loaded before or after. As the
    blocks start as the identity (alpha is 0; all but ``tsm``, ``srl`` for videos, and timm's), the
    network's output does not change. After an error the network is as it was.

    Parameters
    ----------
    model : nn.Module
        Any network that runs on one tensor (N, \*input_size).
    after : sequence of str
        Names as in ``model.named_modules()``, e.g. ``["layer3", "layer4"]``. Their outputs must
        be feature maps (N, C, H, W), or of videos (N, C, T, H, W).
    block : str or callable, default "srl"
        Name for `create_block`, or what makes a block: ``block(channels, size)`` returns a module
        that maps (N, channels, \*size) to the same shape, size being (H, W) or (T, H, W).
    input_size : tuple of int
        Shape of one input without the batch axis, e.g. ``(3, 224, 224)``.
    options : mapping, optional
        Further options for `create_block`; for a callable there are none.
    folded_time : bool, default False
        Whether the named modules get the frames of a video in the batch, see `FoldedVideoBlock`.
        T is then the batch of a module's output for a single input, ``input_size`` being
        (3, T, H, W), and may differ between modules; the block is one for videos of size
        (T, H, W). With False a block for images would treat every frame by itself.

    Returns
    -------
    nn.Module
        `model` itself.

    Raises
    ------
    ValueError
        If a module name, the block or an option is unknown (the nearest is suggested), no module
        is named, an output is no feature map or of a kind that the block is not defined for, a
        callable returns no module or one with another output shape, or the network does not run.
    TypeError
        If `after` is a string.
    """
    _check_arguments(after, block, options)
    skeleton = meta_copy(model)
    shapes, called = _observe(skeleton, after, input_size)
    containers = _containers(skeleton, after, input_size)
    places = [_find_place(model, name, called, containers) for name in after]
    made = [_create(block, name, shapes[name], options or {}, folded_time) for name in after]
    blocks = [_like(new, model, name) for new, name in zip(made, after, strict=True)]
    for place, new in zip(places, blocks, strict=True):
        _attach(place, new)
    return model


def _check_arguments(after: Sequence[str], block: object, options: object) -> None:
    if isinstance(after, str):
        raise TypeError(f"after must be a sequence of module names, got the string {after!r}")
    if not after:
        raise ValueError("after must name at least one module, got none")
    if isinstance(block, str):
        return
    if isinstance(block, nn.Module) or not callable(block):
        raise ValueError(
            "block must be a name or a callable (channels, size) -> nn.Module, got "
            f"{type(block).__name__}"
        )
    if options:
        raise ValueError(f"a callable block takes no options, got {options}")


def _create(
    block: str | BlockFactory,
    module: str,
    shape: Shape,
    options: Mapping[str, Any],
    folded_time: bool,
) -> nn.Module:
    """Block for outputs of `shape`, the batch axis of which is T if time is folded into it."""
    if len(shape) not in ((4,) if folded_time else (4, 5)):
        maps = ("a feature map (N, C, H, W) or (N, C, T, H, W)", "frames (N * T, C, H, W)")
        raise ValueError(
            f"the output of module {module!r} must be {maps[folded_time]}, got shape {shape}"
        )
    batch, channels, *frame = shape
    size = (batch, *frame) if folded_time else tuple(frame)
    make = functools.partial(create_block, block) if isinstance(block, str) else block
    new = make(channels, size, **options)
    if not isinstance(block, str) or ":" in block:
        _check_block(new, module, channels, size)
    return FoldedVideoBlock(new, batch) if folded_time else new


def _check_block(new: nn.Module, module: str, channels: int, size: Shape) -> None:
    """Raise ValueError unless somebody's own block keeps the shape of its input."""
    if not isinstance(new, nn.Module):
        raise ValueError(
            f"the block for {module!r} must be a module, got {type(new).__name__} from "
            f"block({channels}, {size})"
        )
    try:
        output = run_on_meta(meta_copy(new), (channels, *size), batch=2)
    except ValueError as error:
        raise ValueError(f"the block for {module!r}: {error}") from error
    expected = (2, channels, *size)
    got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    if got != expected:
        raise ValueError(
            f"the block for {module!r} must return the shape of its input: expected {expected}, "
            f"got {got} from {type(new).__name__}"
        )


def _like(block: nn.Module, model: nn.Module, name: str) -> nn.Module:
    """The block with the device, dtype and mode of the module that it follows."""
    target = model.get_submodule(name)
    weights = (p for module in (target, model) for p in module.parameters())
    reference = next((p for p in weights if p.is_floating_point()), None)
    if reference is not None:
        block = block.to(device=reference.device, dtype=reference.dtype)
    return block.train(target.training)


def output_shapes(model: nn.Module, names: Sequence[str], input_size: Shape) -> dict[str, Shape]:
    """Shapes of the outputs of named modules for one input, without computing.

    Parameters
    ----------
    model : nn.Module
        Any network; it is not changed.
    names : sequence of str
        Names as in ``model.named_modules()``.
    input_size : tuple of int
        Shape of one input without the batch axis.

    Returns
    -------
    dict of str to tuple of int
        Shape of each output, batch axis included (1).

    Raises
    ------
    ValueError
        If a name is unknown or given twice, or the network does not run on the meta device at
        this size, or a module is not reached, returns no tensor, or is called with several sizes.
    """
    return _observe(meta_copy(model), names, input_size)[0]


def _observe(
    skeleton: nn.Module, names: Sequence[str], input_size: Shape
) -> tuple[dict[str, Shape], set[str]]:
    """Shapes for `output_shapes`, and the names of all modules that were called."""
    modules = dict(skeleton.named_modules())
    for name in names:
        if name not in modules or name == "":
            raise unknown_name("module", name, [n for n in modules if n])
    if len(set(names)) != len(names):
        raise ValueError(f"module names must differ, got {list(names)}")
    shapes: dict[str, Shape] = {}
    called: set[str] = set()

    def record(name: str, output: object) -> None:
        called.add(name)
        if name not in names:
            return
        if not isinstance(output, Tensor):
            raise ValueError(f"module {name!r} must return a tensor, got {type(output).__name__}")
        if shapes.setdefault(name, tuple(output.shape)) != tuple(output.shape):
            raise ValueError(
                f"module {name!r} is called with maps of several sizes: "
                f"{shapes[name]} and {tuple(output.shape)}"
            )

    for name, module in modules.items():
        module.register_forward_hook(lambda _, args, output, name=name: record(name, output))
    run_on_meta(skeleton, input_size)
    for name in names:
        if name not in shapes:
            raise ValueError(f"module {name!r} is not called in the forward pass")
    return shapes, called


def run_on_meta(skeleton: nn.Module, input_size: Shape, batch: int = 1) -> object:
    """Output of a network made by `meta_copy` for an input of (batch, *input_size).

    Raises
    ------
    ValueError
        If the network does not run on the meta device at this size.
    """
    dtype = next((p.dtype for p in skeleton.parameters() if p.is_floating_point()), torch.float32)
    try:
        with torch.no_grad():
            return skeleton(torch.empty(batch, *input_size, device="meta", dtype=dtype))
    except (ValueError, _ProbeCalled):
        raise
    except Exception as error:
        raise ValueError(
            f"{type(skeleton).__name__} does not run on the meta device with an input of shape "
            f"{(batch, *input_size)}: {error}"
        ) from error


def meta_copy(model: nn.Module) -> nn.Module:
    """Copy in evaluation mode whose parameters and buffers have shapes but no values."""
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(
            torch.empty_like(parameter, device="meta"), requires_grad=parameter.requires_grad
        )
    for buffer in model.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(model, memo).eval()


_PROBE = "_srl_probe"


class _ProbeCalled(Exception):  # noqa: N818
    """A module has called the probe among its children."""


class _Probe(nn.Module):
    def __init__(self, owner: str) -> None:
        super().__init__()
        self.owner = owner

    def forward(self, *args: object) -> None:
        raise _ProbeCalled(self.owner)


def _containers(skeleton: nn.Module, names: Sequence[str], input_size: Shape) -> set[str]:
    """Which of the named modules and those around them run, or may run, any child they have.

    A block that is there for a forward hook to run must not become their child. Besides the
    container classes these are modules that iterate over ``self.children()``: they are found by
    giving them one child more.
    """
    paths = [name.split(".") for name in names]
    found = set()
    for name in {".".join(path[:depth]) for path in paths for depth in range(len(path) + 1)}:
        module = skeleton.get_submodule(name)
        if isinstance(module, (nn.Sequential, nn.ModuleDict, nn.ModuleList)):
            found.add(name)
        else:
            module.add_module(_PROBE, _Probe(name))
    while True:
        try:
            run_on_meta(skeleton, input_size)
        except _ProbeCalled as called:
            name = str(called)
            found.add(name)
            del skeleton.get_submodule(name)._modules[_PROBE]
        else:
            return found


class _BlockHook:
    """Forward hook that passes a module's output through a block."""

    def __init__(self, block: nn.Module) -> None:
        self.block = block

    def __call__(self, module: nn.Module, args: object, output: Tensor) -> Tensor:
        return self.block(output)


class _Place(NamedTuple):
    """The block becomes a child of `owner`, its name completed by a number if it is taken.

    It stands right behind the child `predecessor`, or last. A forward hook of `target` runs it,
    if there is one; otherwise `owner` runs its children in order.
    """

    owner: nn.Module
    label: str
    predecessor: str | None = None
    target: nn.Module | None = None


def _find_place(model: nn.Module, name: str, called: set[str], containers: set[str]) -> _Place:
    """Place for a block after a module; see the text of this file."""
    target = model.get_submodule(name)
    if _is_sequential(target):
        return _Place(target, "srl")
    path = name.split(".")
    parent_name = ".".join(path[:-1])
    parent = model.get_submodule(parent_name)
    if _is_sequential(parent) and parent_name in called:
        return _Place(parent, f"{path[-1]}_srl", predecessor=path[-1])
    for depth in range(len(path), -1, -1):
        owner_name = ".".join(path[:depth])
        if owner_name not in containers:
            owner = model.get_submodule(owner_name)
            return _Place(owner, "_".join([*path[depth:], "srl"]), target=target)
    raise ValueError(
        f"no place for a block after module {name!r}: every module around it may iterate over "
        f"its children; wrap the network in a module of its own"
    )


def _attach(place: _Place, block: nn.Module) -> None:
    owner = place.owner
    taken = list(owner._modules)
    candidates = [place.label, *(f"{place.label}{i}" for i in range(2, len(taken) + 3))]
    owner.add_module(next(label for label in candidates if label not in taken), block)
    if place.predecessor is not None:
        for key in taken[taken.index(place.predecessor) + 1 :]:
            owner._modules[key] = owner._modules.pop(key)
    if place.target is not None:
        place.target.register_forward_hook(_BlockHook(block))


def _is_sequential(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward
