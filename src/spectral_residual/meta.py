"""Networks without values: what a network does at one input size, found on the meta device."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .errors import unknown_name

Shape = tuple[int, ...]


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
    return observe(meta_copy(model), names, input_size)[0]


def observe(
    skeleton: nn.Module, names: Sequence[str], input_size: Shape
) -> tuple[dict[str, Shape], list[str]]:
    """Shapes for `output_shapes`, and the names of all called modules in the order of outputs."""
    modules = dict(skeleton.named_modules())
    for name in names:
        if name not in modules or name == "":
            raise unknown_name("module", name, [n for n in modules if n])
    if len(set(names)) != len(names):
        raise ValueError(f"module names must differ, got {list(names)}")
    shapes: dict[str, Shape] = {}
    called: list[str] = []

    def record(name: str, output: object) -> None:
        called.append(name)
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


def find_containers(skeleton: nn.Module, names: Sequence[str], input_size: Shape) -> set[str]:
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
