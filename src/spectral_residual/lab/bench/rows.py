"""Rows of the benchmarks: which block on which input, or which network, forward or trained.

Rows of the same group are compared with each other: those with the same input, and of networks
with the same trunk, mode and precision.
"""

from __future__ import annotations

import dataclasses
import importlib.resources
import json
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

import torch
from torch import nn

from ...blocks import MapSize, create_block
from ...errors import unknown_name

if TYPE_CHECKING:
    from ...pose.network import SimpleBaseline

PLAIN = "none"
"""Name of a network without blocks."""

PRECISIONS = ("float32", "bf16-mixed")


@dataclass(frozen=True)
class Row:
    """One block on one input.

    Attributes
    ----------
    name : str
        What the row is called; rows of the same group have different names.
    block : str
        Name for `create_block`.
    channels : int
        Channels C.
    shape : tuple of int
        (H, W) of images or (T, H, W) of videos.
    batch : int
        Images or videos N.
    options : dict
        Options for `create_block`.
    channels_last : bool
        Whether the input is laid out channels last in memory.
    """

    packaged: ClassVar[str] = "rows.json"

    name: str
    block: str
    channels: int
    shape: tuple[int, ...]
    batch: int = 1
    options: dict[str, Any] = field(default_factory=dict, hash=False)
    channels_last: bool = False

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(N, C, H, W) or (N, C, T, H, W)."""
        return (self.batch, self.channels, *self.shape)

    @property
    def size(self) -> str:
        """Shape as it is written: ``96x72`` or ``4x28x28``."""
        return "x".join(map(str, self.shape))

    @property
    def group(self) -> str:
        """The input in words."""
        layout = ", channels last" if self.channels_last else ""
        return f"{self.channels} channels at {self.size}, batch {self.batch}{layout}"

    def build(self) -> nn.Module:
        """Make the block; ValueError if `create_block` refuses."""
        size = cast(MapSize, self.shape)
        return create_block(self.block, self.channels, size, **self.options)

    def check(self) -> None:
        """Run the block on the meta device; ValueError or TypeError if it cannot be."""
        with torch.device("meta"), torch.no_grad():
            got = tuple(self.build().eval()(torch.empty(self.input_shape)).shape)
        if got != self.input_shape:
            raise ValueError(f"expected an output of shape {self.input_shape}, got {got}")


@dataclass(frozen=True)
class NetworkRow:
    """A SimpleBaseline pose network with blocks, or without.

    Attributes
    ----------
    name : str
        What the row is called; rows of the same group have different names.
    network : dict
        What rows of a group share: ``backbone`` and if need be other fields of `PoseNetwork`
        (``stages``, ``deconv_channels``, ...), and ``num_joints`` (17).
    input_size : (int, int)
        Height and width (H, W) of the crops.
    block : str or None
        Name for `create_block`; None for the network without blocks, whose name is ``"none"``.
    after : tuple of str
        Modules that a block is inserted after; empty without blocks.
    options : dict
        Options of the block.
    batch : int
        Images N.
    training : bool
        Whether it is a training step (forward, loss, backward, optimiser) that is measured; else
        forward in evaluation mode without gradients.
    precision : str
        Of `PRECISIONS`: all in float32, or bfloat16 by autocast.
    """

    packaged: ClassVar[str] = "networks.json"

    name: str
    network: dict[str, Any] = field(hash=False)
    input_size: tuple[int, int]
    block: str | None = None
    after: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict, hash=False)
    batch: int = 1
    training: bool = False
    precision: str = "float32"

    @property
    def size(self) -> str:
        """Input size as it is written: ``384x288``."""
        return "x".join(map(str, self.input_size))

    @property
    def mode(self) -> str:
        """``"step"`` if it is a training step, else ``"inference"``."""
        return "step" if self.training else "inference"

    @property
    def group(self) -> str:
        """Network, input, mode and precision in words."""
        options = [f"{name} {v}" for name, v in self.network.items() if name != "backbone"]
        network = ", ".join([self.network["backbone"], *options])
        mode = "training step" if self.training else "forward"
        return f"{network}: {mode}, {self.size}, batch {self.batch}, {self.precision}"

    def build(self) -> SimpleBaseline:
        """Make the network, channels last; ValueError or TypeError for options it refuses."""
        from ...pose.network import PoseNetwork

        trunk = dict(self.network)
        num_joints = trunk.pop("num_joints", 17)
        network = PoseNetwork(
            **trunk,
            block=self.block,
            block_after=list(self.after),
            block_options=self.options,
        )
        return network.build(num_joints, self.input_size).to(memory_format=torch.channels_last)

    def check(self) -> None:
        """Build the network on the meta device; ValueError or TypeError if it cannot be."""
        if (self.block is None) != (self.name == PLAIN):
            raise ValueError(
                f"a row without a block, and no other, is named {PLAIN!r}, "
                f"got name {self.name!r} and block {self.block!r}"
            )
        if bool(self.after) != (self.block is not None):
            raise ValueError(f"block {self.block!r} does not go with after {list(self.after)}")
        if "backbone" not in self.network:
            raise ValueError(f"network has no 'backbone', got {self.network!r}")
        with torch.device("meta"):
            self.build()


AnyRow = TypeVar("AnyRow", bound=Row | NetworkRow)


def load_rows(row_type: type[AnyRow], path: Path | None = None) -> list[AnyRow]:
    """Read rows and try each on the meta device, where nothing is allocated or computed.

    The file is a JSON list of objects with the fields of `row_type`; by default the one that
    comes with this package. Fields with a default may be missing, and ``name`` is that of the
    block, or ``"none"``, if it is. If ``block`` is a list, there is a row of each.

    Raises
    ------
    ValueError
        If the file is not such a list, a field is missing, unknown or of another type, a block or
        network cannot be built or does not take the input, or a group has two rows of the same
        name, or of networks none without a block.
    """
    rows: list[AnyRow] = []
    for place, entry in _read_entries(path, row_type.packaged):
        row = row_type(**_checked(row_type, entry, place))
        try:
            row.check()
        except (ValueError, TypeError) as error:
            raise ValueError(f"{place} ({row.name}): {error}") from error
        _check_name_is_free(row, rows, place)
        rows.append(row)
    for group in group_rows(rows):
        if row_type is NetworkRow and PLAIN not in [row.name for row in group]:
            raise ValueError(f"a row without a block is missing: {group[0].group}")
    return rows


def group_rows(rows: Sequence[AnyRow]) -> list[list[AnyRow]]:
    """Rows of the same group together, in the order of their first."""
    groups: dict[str, list[AnyRow]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    return list(groups.values())


def with_batch(rows: Sequence[Row], batch: int) -> list[Row]:
    """Rows with another batch size; those that become equal by it are one.

    Raises
    ------
    ValueError
        If two rows would have the same name and input, but not the same block or options.
    """
    changed: list[Row] = []
    for row in dict.fromkeys(dataclasses.replace(row, batch=batch) for row in rows):
        _check_name_is_free(row, changed, f"batch size {batch}")
        changed.append(row)
    return changed


def select_rows(
    rows: Sequence[AnyRow], names: Sequence[str] = (), sizes: Sequence[str] = ()
) -> list[AnyRow]:
    """Rows with one of the names and one of the sizes, in their order; no names mean all.

    Raises
    ------
    ValueError
        If a name or a size is that of no row, or nothing is left.
    """
    for kind, wanted, known in (
        ("block", names, dict.fromkeys(row.name for row in rows)),
        ("size", sizes, dict.fromkeys(row.size for row in rows)),
    ):
        for value in wanted:
            if value not in known:
                raise unknown_name(f"{kind} of the benchmark's rows", value, known)
    kept = [
        row for row in rows if (not names or row.name in names) and (not sizes or row.size in sizes)
    ]
    if not kept:
        raise ValueError(f"no row has a block of {list(names)} and a size of {list(sizes)}")
    return kept


def _read_entries(path: Path | None, packaged: str) -> list[tuple[str, Any]]:
    """Entries of a file with rows, each with a label for error messages: file and number."""
    name = path or packaged
    text = (path or importlib.resources.files(__package__) / packaged).read_text(encoding="utf-8")
    try:
        entries = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{name} is not JSON: {error}") from error
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{name}: expected a list of rows, got {type(entries).__name__}")
    rows = [row for entry in entries for row in _of_each_block(entry)]
    return [(f"{name}, row {number}", row) for number, row in enumerate(rows, start=1)]


def _of_each_block(entry: Any) -> list[Any]:
    if isinstance(entry, dict) and isinstance(entry.get("block"), list) and entry["block"]:
        return [{**entry, "block": block} for block in entry["block"]]
    return [entry]


def _check_name_is_free(row: AnyRow, others: Sequence[AnyRow], place: str) -> None:
    for number, other in enumerate(others, start=1):
        if (other.name, other.group) == (row.name, row.group):
            raise ValueError(
                f"{place}: {row.name!r} with {row.group} is row {number} too; "
                "give one of them another name"
            )


def _checked(row_type: type[AnyRow], entry: Any, place: str) -> dict[str, Any]:
    """Values for all fields that a row has or needs, of the right types."""
    if not isinstance(entry, dict):
        raise ValueError(f"{place}: expected an object, got {type(entry).__name__}")
    known = {found.name: found for found in dataclasses.fields(row_type)}
    for label in entry:
        if label not in known:
            raise unknown_name(f"field of {place}:", label, known)
    for label, found in known.items():
        expected, fits = _EXPECTED[label]
        if label in entry:
            if entry[label] is not found.default and not fits(entry[label]):
                raise ValueError(f"{place}: {label} must be {expected}, got {entry[label]!r}")
        elif label != "name" and found.default is MISSING and found.default_factory is MISSING:
            raise ValueError(f"{place}: the field {label!r} is missing")
    values = {"name": PLAIN if entry.get("block") is None else entry["block"], **entry}
    return {label: tuple(v) if isinstance(v, list) else v for label, v in values.items()}


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_positive(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_size(value: Any, *lengths: int) -> bool:
    return isinstance(value, list) and len(value) in lengths and all(map(_is_positive, value))


_EXPECTED: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "name": ("a name", _is_name),
    "block": ("a name", _is_name),
    "network": ("an object", lambda v: isinstance(v, dict)),
    "options": ("an object", lambda v: isinstance(v, dict)),
    "channels": ("a positive integer", _is_positive),
    "batch": ("a positive integer", _is_positive),
    "shape": ("positive integers [H, W] or [T, H, W]", lambda v: _is_size(v, 2, 3)),
    "input_size": ("positive integers [H, W]", lambda v: _is_size(v, 2)),
    "after": (
        "a list of module names",
        lambda v: isinstance(v, list) and all(isinstance(name, str) for name in v),
    ),
    "channels_last": ("true or false", lambda v: isinstance(v, bool)),
    "training": ("true or false", lambda v: isinstance(v, bool)),
    "precision": (f"one of {', '.join(PRECISIONS)}", lambda v: v in PRECISIONS),
}
