"""Put blocks into any network at named places, keeping the names of its weights.

Channels and map sizes are found by running a copy of the network on the meta device, which
computes nothing. An `nn.Sequential` runs a block as a further child of its own
(``<module>.srl.*``), or of its parent (``<module>_srl.*``). Elsewhere a forward hook runs it, and
the nearest module around that does not run its children one after the other holds it.
"""

from __future__ import annotations

import functools
import itertools
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from .blocks import FoldedVideoBlock, create_block
from .meta import (
    Example,
    Inputs,
    Shape,
    Where,
    as_inputs,
    find_containers,
    meta_copy,
    module_names,
    observe,
    output_shapes,
    run_on_meta,
)

BlockFactory = Callable[[int, Shape], nn.Module]
"""Makes a block for so many channels and a size (H, W) or (T, H, W)."""

INSERTED = "_inserted_blocks"
"""Attribute of a module that holds blocks: their names, and after which of its modules they are."""


def insert_blocks(
    model: nn.Module,
    after: Where | Sequence[Where],
    block: str | BlockFactory = "srl",
    *,
    input_size: Shape | None = None,
    example_inputs: Any = None,
    block_options: Mapping[str, Any] | None = None,
    folded_time: bool = False,
    options: Mapping[str, Any] | None = None,
) -> nn.Module:
    r"""Insert a block after each named module, in place.

    All weights keep their names. As the blocks start as the identity (alpha is 0; all but ``tsm``,
    ``srl`` for videos, and timm's), the output does not change. After an error the network is as it
    was. A block between a convolution and its batch normalisation is warned of.

    Parameters
    ----------
    model : nn.Module
        Any network; what it returns does not matter.
    after : sequence of str or type
        Names (``["layer3", "layer4"]``), patterns (``"layer*.*"``) or classes; see `module_names`.
        Their outputs must be feature maps (N, C, H, W), or of videos (N, C, T, H, W).
    block : str or callable, default "srl"
        Name for `create_block`, or what makes a block: ``block(channels, size)`` returns a module
        that maps (N, channels, \*size) to the same shape, size being (H, W) or (T, H, W).
    input_size : tuple of int, optional
        Shape of the only input without the batch axis, e.g. ``(3, 224, 224)``.
    example_inputs : Tensor, tuple or mapping, optional
        In place of it: the argument, the positional, or the named arguments of a call.
    block_options : mapping, optional
        Further options for `create_block`; for a callable there are none.
    folded_time : bool, default False
        Whether the named modules get the frames of a video in the batch, see `FoldedVideoBlock`.
        T is then the batch of a module's output for a single input, ``input_size`` being
        (3, T, H, W); the block is one for videos of size (T, H, W).
    options : mapping, optional
        Older name of `block_options`.

    Returns
    -------
    nn.Module
        `model` itself.

    Raises
    ------
    ValueError
        If a module name, the block or an option is unknown (the nearest is suggested), no module
        is named, an output is no feature map or of a kind that the block is not defined for, a
        callable returns no module or one of another output shape, or the network does not run.
    TypeError
        If `after` is one name instead of a sequence.
    """
    chosen = _checked_options(block, block_options, options)
    inputs = as_inputs(input_size, example_inputs)
    names = module_names(model, after)
    for place, new in _planned(model, names, block, inputs, chosen, folded_time):
        _attach(place, new)
    return model


def _planned(
    model: nn.Module,
    after: Sequence[str],
    block: str | BlockFactory,
    input_size: Inputs,
    options: Mapping[str, Any],
    folded_time: bool,
) -> list[tuple[_Place, nn.Module]]:
    """New blocks and their places; the network is not changed."""
    skeleton = meta_copy(model)
    shapes, called = observe(skeleton, after, input_size)
    _check_batch(shapes, input_size, folded_time)
    _check_layout(model, shapes, input_size)
    _warn_of_fusion(skeleton, after, called)
    containers = find_containers(skeleton, after, input_size)
    planned = []
    for name in after:
        new = _create(block, name, shapes[name], options, folded_time)
        place = _find_place(model, name, called, containers)
        planned.append((place, _like(new, model.get_submodule(name), model)))
    return planned


def _check_batch(shapes: Mapping[str, Shape], inputs: Inputs, folded_time: bool) -> None:
    """Raise ValueError if frames of several videos, which an example holds, are in one batch."""
    if not folded_time or not isinstance(inputs, Example):
        return
    tensors = [t for t in (*inputs.args, *inputs.kwargs.values()) if isinstance(t, Tensor)]
    if any(len(tensor) != 1 for tensor in tensors if tensor.ndim):
        sizes = [tuple(tensor.shape) for tensor in tensors]
        raise ValueError(f"with folded_time example_inputs must be of one video, got {sizes}")


def _check_layout(model: nn.Module, shapes: Mapping[str, Shape], input_size: Inputs) -> None:
    """Raise ValueError for maps (N, H, W, C) or (N, T, H, W, C).

    Their second axis follows the input's height, or the frames of a video.
    """
    shapes = {name: shape for name, shape in shapes.items() if len(shape) in (4, 5)}
    sizes: list[Shape] = []
    if not isinstance(input_size, Example) and len(input_size) > 2:
        channels, *axes, width = input_size
        for change in (lambda n: 2 * n, lambda n: n + 32, lambda n: n // 2):
            sizes.append((channels, *map(change, axes), width))
    for size in sizes:
        try:
            probed = output_shapes(model, list(shapes), size)
        except ValueError:
            continue
        wrong = [name for name in shapes if probed[name][1:2] != shapes[name][1:2]]
        break
    else:
        wrong = [
            name for name in shapes if _ends_normalised(model.get_submodule(name), shapes[name])
        ]
    for name in wrong:
        raise ValueError(
            f"the output of module {name!r}, {shapes[name]}, has its channels last, (N, H, W, C); "
            "expected (N, C, H, W). Name a module behind the one that permutes it"
        )


def _ends_normalised(module: nn.Module, shape: Shape) -> bool:
    """Whether a module normalises its last axis, and that is not the one of channels first."""
    norms = [norm for norm in module.modules() if isinstance(norm, nn.LayerNorm)]
    return any(norm.normalized_shape == shape[-1:] != shape[1:2] for norm in norms)


def _warn_of_fusion(skeleton: nn.Module, after: Sequence[str], called: Sequence[str]) -> None:
    leaves = [name for name in called if not [*skeleton.get_submodule(name).children()]]
    for name, following in itertools.pairwise(leaves):
        pair = (skeleton.get_submodule(name), skeleton.get_submodule(following))
        if name in after and isinstance(pair[0], _ConvNd) and isinstance(pair[1], _BatchNorm):
            warnings.warn(
                f"the block after {name!r} comes between a convolution and its batch normalisation "
                f"{following!r}: tools that fuse the two (fuse_modules, FX) would leave it out of "
                "account; insert it after the normalisation instead",
                stacklevel=4,
            )


def _checked_options(
    block: object, block_options: Mapping[str, Any] | None, older: Mapping[str, Any] | None
) -> Mapping[str, Any]:
    if None not in (block_options, older):
        raise ValueError("got block_options and options, its older name; expected one of them")
    options = older if block_options is None else block_options
    if isinstance(block, str):
        return options or {}
    if isinstance(block, nn.Module) or not callable(block):
        raise ValueError(
            "block must be a name or a callable (channels, size) -> nn.Module, got "
            f"{type(block).__name__}"
        )
    if options:
        raise ValueError(f"a callable block takes no options, got {options}")
    return {}


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
        got = f"shape {shape}" + ", tokens without height and width" * (len(shape) == 3)
        raise ValueError(f"the output of module {module!r} must be {maps[folded_time]}, got {got}")
    batch, channels, *frame = shape
    size = (batch, *frame) if folded_time else tuple(frame)
    make = functools.partial(create_block, block) if isinstance(block, str) else block
    try:
        new = make(channels, size, **options)
    except ValueError as error:
        raise ValueError(f"the block for {module!r} ({channels} channels): {error}") from error
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


def _like(block: nn.Module, target: nn.Module, model: nn.Module) -> nn.Module:
    """The block with the device, dtype and mode of the module that it follows."""
    weights = (p for module in (target, model) for p in module.parameters())
    reference = next((p for p in weights if p.is_floating_point()), None)
    if reference is not None:
        block = block.to(device=reference.device, dtype=reference.dtype)
    return block.train(target.training)


class BlockHook:
    """Forward hook that passes a module's output through a block, if it is still there.

    The block is the child `label` of the module, or of another `owner`: copies and replicas of
    the network run their own.
    """

    def __init__(self, label: str, owner: nn.Module | None) -> None:
        self.label = label
        self.owner = owner

    def runs(self, label: str, owner: nn.Module, target: nn.Module) -> bool:
        """Whether this hook of `target` runs the child `label` of `owner`."""
        return self.label == label and (self.owner or target) is owner

    def __call__(self, module: nn.Module, args: object, output: Tensor) -> Tensor:
        """Output of the block."""
        owner = module if self.owner is None else self.owner
        block = owner._modules.get(self.label)
        return output if block is None else block(output)


class _Place(NamedTuple):
    """The block becomes a child of `owner`, behind its module `after`; empty for `owner` itself.

    If it is `hooked`, a forward hook of that module runs it; otherwise `owner` runs its children in
    order.
    """

    owner: nn.Module
    after: str
    hooked: bool


def _find_place(model: nn.Module, name: str, called: Sequence[str], containers: set[str]) -> _Place:
    """Place for a block after a module; see the text of this file."""
    target = model.get_submodule(name)
    if _is_sequential(target):
        return _Place(target, "", hooked=False)
    path = name.split(".")
    parent_name = ".".join(path[:-1])
    parent = model.get_submodule(parent_name)
    if _is_sequential(parent) and parent_name in called:
        return _Place(parent, path[-1], hooked=False)
    for depth in range(len(path), -1, -1):
        owner_name = ".".join(path[:depth])
        if owner_name not in containers:
            return _Place(model.get_submodule(owner_name), ".".join(path[depth:]), hooked=True)
    raise ValueError(
        f"no place for a block after module {name!r}: every module around it may iterate over "
        f"its children; wrap the network in a module of its own"
    )


def _attach(place: _Place, block: nn.Module) -> None:
    owner = place.owner
    taken = list(owner._modules)
    first = "_".join([*filter(None, place.after.split(".")), "srl"])
    candidates = [first, *(f"{first}{i}" for i in range(2, len(taken) + 3))]
    label = next(label for label in candidates if label not in taken)
    owner.add_module(label, block)
    owner.__dict__.setdefault(INSERTED, {})[label] = place.after
    if place.hooked:
        target = owner.get_submodule(place.after)
        target.register_forward_hook(BlockHook(label, None if owner is target else owner))
    elif place.after:
        for key in taken[taken.index(place.after) + 1 :]:
            owner._modules[key] = owner._modules.pop(key)


def _is_sequential(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward
