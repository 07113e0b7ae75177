"""Put blocks into any network at named places, keeping the names of its weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .blocks import create_block
from .errors import unknown_name

Shape = tuple[int, ...]


class _BlockHook:
    """Forward hook that passes a module's output through a block."""

    def __init__(self, block: nn.Module) -> None:
        self.block = block

    def __call__(self, module: nn.Module, args: object, output: Tensor) -> Tensor:
        return self.block(output)


def insert_blocks(
    model: nn.Module,
    after: Sequence[str],
    block: str = "srl-fft",
    *,
    input_size: Shape,
    options: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Insert a block after each named module, in place.

    Channels and map sizes are found by running the network on the meta device, which computes
    nothing. All weights keep their names, so that pre-trained weights can be loaded before or
    after; the new parameters appear as ``<module>.srl.*`` (or ``<module>_srl.*`` beside a
    module in an `nn.Sequential`). As the blocks start as the identity (alpha is 0), the
    network's output does not change.

    Parameters
    ----------
    model : nn.Module
        Any network that runs on one tensor (N, \\*input_size).
    after : sequence of str
        Names as in ``model.named_modules()``, e.g. ``["layer3", "layer4"]``. Their outputs must
        be feature maps (N, C, H, W).
    block : str, default "srl-fft"
        Name for `create_block`.
    input_size : tuple of int
        Shape of one input without the batch axis, e.g. ``(3, 224, 224)``.
    options : mapping, optional
        Further options for `create_block`.

    Returns
    -------
    nn.Module
        `model` itself.

    Raises
    ------
    ValueError
        If a module name, the block or an option is unknown (the nearest is suggested), a
        module's output is not a feature map, or the network does not run at this input size.
    """
    if isinstance(after, str):
        raise TypeError(f"after must be a sequence of module names, got the string {after!r}")
    shapes = output_shapes(model, after, input_size)
    reference = next((p for p in model.parameters() if p.is_floating_point()), None)
    blocks = []
    for name in after:
        shape = shapes[name]
        if len(shape) != 4:
            raise ValueError(
                f"the output of module {name!r} must be a feature map (N, C, H, W), "
                f"got shape {tuple(shape)}"
            )
        new = create_block(block, shape[1], (shape[2], shape[3]), **dict(options or {}))
        if reference is not None:
            new = new.to(device=reference.device, dtype=reference.dtype)
        blocks.append(new.train(model.get_submodule(name).training))
    for name, new in zip(after, blocks, strict=True):
        _attach(model, name, new)
    return model


def output_shapes(
    model: nn.Module, names: Sequence[str], input_size: Shape
) -> dict[str, Shape]:
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
    modules = dict(model.named_modules())
    for name in names:
        if name not in modules or name == "":
            raise unknown_name("module", name, [n for n in modules if n])
    if len(set(names)) != len(names):
        raise ValueError(f"module names must differ, got {list(names)}")
    skeleton = meta_copy(model).eval()
    dtype = next((p.dtype for p in skeleton.parameters() if p.is_floating_point()), torch.float32)
    shapes: dict[str, Shape] = {}

    def record(name: str, output: object) -> None:
        if not isinstance(output, Tensor):
            raise ValueError(
                f"module {name!r} must return a tensor, got {type(output).__name__}"
            )
        if shapes.setdefault(name, tuple(output.shape)) != tuple(output.shape):
            raise ValueError(
                f"module {name!r} is called with maps of several sizes: "
                f"{shapes[name]} and {tuple(output.shape)}"
            )

    for name in names:
        skeleton.get_submodule(name).register_forward_hook(
            lambda module, args, output, name=name: record(name, output)
        )
    try:
        with torch.no_grad():
            skeleton(torch.empty(1, *input_size, device="meta", dtype=dtype))
    except (RuntimeError, NotImplementedError, TypeError, IndexError) as error:
        raise ValueError(
            f"{type(model).__name__} does not run on the meta device with an input of shape "
            f"{(1, *input_size)}: {error}"
        ) from error
    for name in names:
        if name not in shapes:
            raise ValueError(f"module {name!r} is not called in the forward pass")
    return shapes


def meta_copy(model: nn.Module) -> nn.Module:
    """Copy of a network whose parameters and buffers have shapes but no values."""
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(
            torch.empty_like(parameter, device="meta"), requires_grad=parameter.requires_grad
        )
    for buffer in model.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(model, memo)


def _attach(model: nn.Module, name: str, block: nn.Module) -> None:
    """Run `block` after the module `name`.

    An `nn.Sequential` runs it as a further child of its own, or of its parent. Elsewhere a
    forward hook runs it.
    """
    target = model.get_submodule(name)
    parent_name, _, leaf = name.rpartition(".")
    parent = model.get_submodule(parent_name)
    if _is_sequential(target):
        target.add_module(_free_name(target, "srl"), block)
    elif _is_sequential(parent):
        _insert_behind(parent, leaf, _free_name(parent, f"{leaf}_srl"), block)
    else:
        iterated = isinstance(target, (nn.ModuleDict, nn.ModuleList))
        owner, label = (parent, f"{leaf}_srl") if iterated else (target, "srl")
        owner.add_module(_free_name(owner, label), block)
        target.register_forward_hook(_BlockHook(block))


def _is_sequential(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def _insert_behind(parent: nn.Module, leaf: str, label: str, block: nn.Module) -> None:
    later = list(parent._modules)[list(parent._modules).index(leaf) + 1 :]
    parent.add_module(label, block)
    for key in later:
        parent._modules[key] = parent._modules.pop(key)


def _free_name(module: nn.Module, label: str) -> str:
    candidates = [label, *(f"{label}{i}" for i in range(2, 100))]
    return next(name for name in candidates if name not in module._modules)
