"""Networks without values: what a network does at one input size, found on the meta device."""

from __future__ import annotations

import copy
import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from .errors import unknown_name

Shape = tuple[int, ...]

Where = str | type[nn.Module]
"""Name or pattern of modules, or their class."""


@dataclass(frozen=True)
class Example:
    """Arguments of a call of a network, for one that takes more than a single tensor."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)


class ValuesNeededError(ValueError):
    """A network asks for values, as for the boxes that it found, which the meta device has not."""


Inputs = Shape | Example
"""Shape of one input without the batch axis, or an example of all inputs."""


def as_inputs(input_size: Shape | None, example_inputs: Any) -> Inputs:
    """Inputs of a network as functions take them.

    Parameters
    ----------
    input_size : tuple of int or None
        Shape of the only input without the batch axis.
    example_inputs : Tensor, tuple, list, mapping or None
        The only argument, positional ones, or named ones.

    Raises
    ------
    ValueError
        Unless exactly one of the two is given.
    """
    if (input_size is None) == (example_inputs is None):
        got = "both" if input_size is not None else "neither"
        raise ValueError(f"give one of input_size and example_inputs, got {got}")
    if input_size is not None:
        return tuple(input_size)
    if isinstance(example_inputs, Mapping):
        return Example(kwargs=dict(example_inputs))
    several = isinstance(example_inputs, (tuple, list))
    return Example(tuple(example_inputs) if several else (example_inputs,))


def module_names(model: nn.Module, after: Where | Sequence[Where]) -> list[str]:
    """Names of modules by names, shell patterns and classes.

    Parameters
    ----------
    model : nn.Module
        Any network.
    after : str, type, or sequence of them
        Names as in ``model.named_modules()``. A pattern has ``*``, ``?`` or ``[...]`` in parts of a
        name and stands for all modules of as many parts: ``layer*.*``. A class stands for all
        modules that are of it.

    Returns
    -------
    list of str
        In the order of `after`, and of the network within one entry; what several entries stand for
        is given once.

    Raises
    ------
    ValueError
        If nothing is given, a pattern or class stands for nothing, or a name is unknown or given
        twice.
    TypeError
        If `after` is a name instead of a sequence.
    """
    modules = {name: module for name, module in model.named_modules() if name}
    if isinstance(after, type) or (isinstance(after, str) and _is_pattern(after, modules)):
        after = [after]
    if isinstance(after, str):
        raise TypeError(f"after must be a sequence of module names, got the string {after!r}")
    if not after:
        raise ValueError("after must name at least one module, got none")
    found: list[str] = []
    written: list[str] = []
    for entry in after:
        if isinstance(entry, str) and not _is_pattern(entry, modules):
            written.append(entry)
            found.append(entry)
            continue
        matching = _matching(entry, modules)
        if not matching:
            kind = "pattern" if isinstance(entry, str) else "class"
            shown = entry if isinstance(entry, str) else getattr(entry, "__name__", repr(entry))
            raise unknown_name(f"module {kind}", shown, modules)
        found += matching
    for name in written:
        if name not in modules:
            raise unknown_name("module", name, modules)
    if len(set(written)) != len(written):
        raise ValueError(f"module names must differ, got {written}")
    return list(dict.fromkeys(found))


def _is_pattern(text: str, modules: Mapping[str, nn.Module]) -> bool:
    return text not in modules and any(mark in text for mark in "*?[")


def _matching(entry: Where, modules: Mapping[str, nn.Module]) -> list[str]:
    if not isinstance(entry, str):
        return [name for name, module in modules.items() if isinstance(module, entry)]
    parts = entry.split(".")
    split = {name: name.split(".") for name in modules}
    return [
        name
        for name, own in split.items()
        if len(own) == len(parts) and all(map(fnmatch.fnmatchcase, own, parts))
    ]


def output_shapes(model: nn.Module, names: Sequence[str], input_size: Inputs) -> dict[str, Shape]:
    """Shapes of the outputs of named modules for one input, without computing.

    Parameters
    ----------
    model : nn.Module
        Any network; it is not changed.
    names : sequence of str
        Names as in ``model.named_modules()``. What a network does after it has asked for values, as
        detectors do for the boxes that they found, is not seen.
    input_size : tuple of int or Example
        Shape of one input without the batch axis, or an example of all inputs.

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
    skeleton: nn.Module, names: Sequence[str], input_size: Inputs
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
    maps: list[str] = []

    def record(name: str, output: object) -> None:
        called.append(name)
        if isinstance(output, Tensor) and output.ndim in (4, 5):
            maps.append(name)
        if name not in names:
            return
        if not isinstance(output, Tensor):
            inside = {n: n.count(".") for n in maps if n.startswith(f"{name}.")}
            near = sorted(inside, key=inside.__getitem__)[:4]
            hint = f"; modules in it that do: {', '.join(near)}" if near else ""
            raise ValueError(
                f"module {name!r} must return a tensor, got {type(output).__name__}{hint}"
            )
        if shapes.setdefault(name, tuple(output.shape)) != tuple(output.shape):
            raise ValueError(
                f"module {name!r} is called with maps of several sizes: "
                f"{shapes[name]} and {tuple(output.shape)}"
            )

    for name, module in modules.items():
        module.register_forward_hook(lambda _, args, output, name=name: record(name, output))
    needed: ValuesNeededError | None = None
    try:
        run_on_meta(skeleton, input_size)
    except ValuesNeededError as error:
        needed = error
    for name in names:
        if name not in shapes:
            before = f" before the network needs values: {needed}" if needed else ""
            raise ValueError(f"module {name!r} is not called in the forward pass{before}")
    return shapes, called


def run_on_meta(skeleton: nn.Module, input_size: Inputs, batch: int = 1) -> object:
    """Output of a network made by `meta_copy` for an input of (batch, *input_size), or an example.

    Raises
    ------
    ValuesNeededError
        If the network asks for values, or for another device.
    ValueError
        If it does not run on the meta device at this size.
    """
    dtype = next((p.dtype for p in skeleton.parameters() if p.is_floating_point()), torch.float32)
    if isinstance(input_size, Example):
        args, kwargs = tree_map_only(Tensor, _on_meta, (input_size.args, dict(input_size.kwargs)))
        what = "the example inputs"
    else:
        args, kwargs = (torch.empty(batch, *input_size, device="meta", dtype=dtype),), {}
        what = f"an input of shape {(batch, *input_size)}"
    try:
        with torch.no_grad():
            return skeleton(*args, **kwargs)
    except (ValueError, _ProbeCalled):
        raise
    except Exception as error:
        kind = ValuesNeededError if "meta" in str(error).lower() else ValueError
        raise kind(
            f"{type(skeleton).__name__} does not run on the meta device with {what}: {error}"
        ) from error


def _on_meta(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, device="meta")


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


def find_containers(skeleton: nn.Module, names: Sequence[str], input_size: Inputs) -> set[str]:
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
        except ValuesNeededError:
            return found
        else:
            return found
