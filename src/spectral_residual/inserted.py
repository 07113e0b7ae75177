"""Blocks that `insert_blocks` put into a network: a report of them, and how they are removed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .insertion import INSERTED, BlockHook
from .meta import Example, Shape, as_inputs, meta_copy, observe


@dataclass(frozen=True)
class InsertedBlock:
    """A block in a network.

    Attributes
    ----------
    name : str
        As in ``model.named_modules()``; empty for the network itself, as in `after`.
    after : str
        The module whose output it gets.
    type : str
        Name of its class.
    shape : tuple of int
        Shape of the maps that it gets, batch axis included.
    parameters : int
        Its parameters.
    operations : float
        Its multiply-accumulates for that shape, by the accounting ``"exact"``; see `measure_cost`.
    """

    name: str
    after: str
    type: str
    shape: Shape
    parameters: int
    operations: float


class InsertionReport(tuple[InsertedBlock, ...]):
    """The inserted blocks, in the order of ``model.named_modules()``; printed as a table."""

    __slots__ = ()

    def __str__(self) -> str:
        """One line for each block, and the sums."""
        head = ("after", "block", "maps", "parameters", "operations")
        rows = [
            (
                b.after,
                b.type,
                "x".join(map(str, b.shape)),
                f"{b.parameters:,}",
                _short(b.operations),
            )
            for b in self
        ]
        parameters = sum(block.parameters for block in self)
        operations = sum(block.operations for block in self)
        rows.append(("total", "", "", f"{parameters:,}", _short(operations)))
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        return "\n".join(_line(row, widths) for row in (head, *rows))


def inserted_blocks(
    model: nn.Module, input_size: Shape | None = None, *, example_inputs: Any = None
) -> InsertionReport:
    """Report which blocks are where in a network, and what they cost.

    Parameters
    ----------
    model : nn.Module
        Network with blocks of `insert_blocks`; it is not changed, and nothing is computed.
    input_size : tuple of int, optional
        Shape of one input without the batch axis.
    example_inputs : Tensor, tuple or mapping, optional
        In place of `input_size`; see `insert_blocks`.

    Returns
    -------
    InsertionReport
        Tuple of `InsertedBlock`; empty if there is none.

    Raises
    ------
    ValueError
        If the network does not run with these inputs.
    """
    inputs = as_inputs(input_size, example_inputs)
    modules = dict(model.named_modules())
    places = {name: after for name, after, *_ in _places(model)}
    names = [name for name in modules if name in places]
    if not names:
        return InsertionReport()
    shapes, _ = observe(meta_copy(model), names, inputs)
    return InsertionReport(
        InsertedBlock(
            name,
            places[name],
            type(modules[name]).__name__,
            shapes[name],
            sum(p.numel() for p in modules[name].parameters()),
            _operations(modules[name], shapes[name]),
        )
        for name in names
    )


def remove_blocks(model: nn.Module) -> nn.Module:
    """Take all blocks of `insert_blocks` out of a network, in place.

    What is left has the modules, the names and the outputs that it had before the insertion.

    Parameters
    ----------
    model : nn.Module
        Any network; one without blocks stays as it is.

    Returns
    -------
    nn.Module
        `model` itself.
    """
    for _, _, owner, label in list(_places(model)):
        after = getattr(owner, INSERTED).pop(label)
        target = owner.get_submodule(after)
        for key, hook in list(target._forward_hooks.items()):
            if isinstance(hook, BlockHook) and hook.runs(label, owner, target):
                del target._forward_hooks[key]
        del owner._modules[label]
        if not getattr(owner, INSERTED):
            delattr(owner, INSERTED)
    return model


def _operations(block: nn.Module, shape: Shape) -> float:
    from .cost import measure_cost  # loads Triton where it is installed

    dtype = next((p.dtype for p in block.parameters() if p.is_floating_point()), torch.float32)
    maps = torch.empty(shape, dtype=dtype, device="meta")
    return measure_cost(block, Example((maps,)), "exact").operations


def _places(model: nn.Module) -> Iterator[tuple[str, str, nn.Module, str]]:
    """Name of every block, what it is behind, the module that holds it, and its name there."""
    for path, owner in model.named_modules():
        for label, after in getattr(owner, INSERTED, {}).items():
            if label in owner._modules:
                yield _joined(path, label), _joined(path, after), owner, label


def _joined(*parts: str) -> str:
    return ".".join(filter(None, parts))


def _line(row: Iterable[str], widths: Iterable[int]) -> str:
    cells = list(zip(row, widths, strict=True))
    texts = [text.ljust(width) for text, width in cells[:3]]
    return "  ".join([*texts, *(text.rjust(width) for text, width in cells[3:])])


def _short(count: float) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f}"
