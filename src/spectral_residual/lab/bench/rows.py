"""Rows of the benchmark of blocks: which block, with which options, on which input."""

from __future__ import annotations

import dataclasses
import importlib.resources
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import torch
from torch import nn

from ...blocks import MapSize, create_block
from ...errors import unknown_name


class Named(Protocol):
    """What rows of blocks and of networks have in common."""

    @property
    def name(self) -> str:
        """What the row is called; rows of a group have different names."""

    @property
    def size(self) -> str:
        """Size of the input as it is written: ``96x72``."""

    @property
    def group(self) -> str:
        """What the rows that it is compared with have in common, in words."""


AnyRow = TypeVar("AnyRow", bound=Named)


@dataclass(frozen=True)
class Row:
    """One block on one input.

    Attributes
    ----------
    name : str
        What the row is called; rows with the same input have different names.
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
        """The input in words; rows with the same input have the same."""
        layout = ", channels last" if self.channels_last else ""
        return f"{self.channels} channels at {self.size}, batch {self.batch}{layout}"

    def build(self) -> nn.Module:
        """Make the block; ValueError if `create_block` refuses."""
        size = cast(MapSize, self.shape)
        return create_block(self.block, self.channels, size, **self.options)


_FIELDS = ("name", "block", "channels", "shape", "batch", "options", "channels_last")
_REQUIRED = ("block", "channels", "shape")


def load_rows(path: Path | None = None) -> list[Row]:
    """Read rows and try each on the meta device, where nothing is allocated or computed.

    Parameters
    ----------
    path : Path, optional
        JSON list of objects with ``block``, ``channels``, ``shape`` (``[H, W]`` or
        ``[T, H, W]``) and, where they differ from the default, ``name`` (that of the block),
        ``batch`` (1), ``options`` (none) and ``channels_last`` (false). By default the rows that
        come with this package.

    Returns
    -------
    list of Row

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If the file is not such a list, a field is missing, unknown or of another type, a block
        or an option is unknown, a block does not take the shape, or two rows with the same
        input have the same name.
    """
    rows: list[Row] = []
    for place, entry in read_entries(path, "rows.json"):
        row = _parse(entry, place)
        _try_on_meta(row, place)
        check_name_is_free(row, rows, place)
        rows.append(row)
    return rows


def read_entries(path: Path | None, packaged: str) -> list[tuple[str, dict[str, Any]]]:
    """Read a file with rows: a JSON list of objects.

    Parameters
    ----------
    path : Path or None
        The file; None for one that comes with this package.
    packaged : str
        Name of that one.

    Returns
    -------
    list of (str, dict)
        For every row a label for error messages, with the file's name and the row's number, and
        its fields.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If it is not such a list.
    """
    if path is None:
        source = packaged
        text = (importlib.resources.files(__package__) / packaged).read_text(encoding="utf-8")
    else:
        source = str(path)
        if not path.is_file():
            raise FileNotFoundError(f"no such file with rows: {path}")
        text = path.read_text(encoding="utf-8")
    try:
        entries = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{source} is not JSON: {error}") from error
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{source}: expected a list of rows, got {type(entries).__name__}")
    found = [(f"{source}, row {number}", entry) for number, entry in enumerate(entries, start=1)]
    for place, entry in found:
        if not isinstance(entry, dict):
            raise ValueError(f"{place}: expected an object, got {type(entry).__name__}")
    return found


def check_fields(
    entry: dict[str, Any], place: str, known: Sequence[str], required: Sequence[str]
) -> None:
    """Raise ValueError if a row has an unknown field or lacks a required one."""
    for name in entry:
        if name not in known:
            raise unknown_name(f"field of {place}:", name, known)
    for name in required:
        if name not in entry:
            raise ValueError(f"{place}: the field {name!r} is missing")


def check_name_is_free(row: Named, others: Sequence[Named], place: str) -> None:
    """Raise ValueError if one of the other rows has the same name and the same group."""
    for number, other in enumerate(others, start=1):
        if (other.name, other.group) == (row.name, row.group):
            raise ValueError(
                f"{place}: {row.name!r} with {row.group} is row {number} too; "
                "give one of them another name"
            )


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
        check_name_is_free(row, changed, f"batch size {batch}")
        changed.append(row)
    return changed


def select_rows(
    rows: Sequence[AnyRow], names: Sequence[str] = (), sizes: Sequence[str] = ()
) -> list[AnyRow]:
    """Rows with one of the names and one of the sizes, in their order.

    Parameters
    ----------
    rows : sequence of Row or of NetworkRow
        All rows.
    names, sizes : sequence of str
        What to keep, as in ``row.name`` and ``row.size``; everything if empty.

    Raises
    ------
    ValueError
        If a name or a size is that of no row, or nothing is left.
    """
    for kind, wanted, known in (
        ("block of the benchmark's rows", names, [row.name for row in rows]),
        ("size of the benchmark's rows", sizes, [row.size for row in rows]),
    ):
        for value in wanted:
            if value not in known:
                raise unknown_name(kind, value, dict.fromkeys(known))
    kept = [
        row for row in rows if (not names or row.name in names) and (not sizes or row.size in sizes)
    ]
    if not kept:
        raise ValueError(f"no row has a block of {list(names)} and a size of {list(sizes)}")
    return kept


def _parse(entry: dict[str, Any], place: str) -> Row:
    check_fields(entry, place, _FIELDS, _REQUIRED)
    values = {"name": entry["block"], "batch": 1, "options": {}, **entry}
    for label in ("block", "name"):
        value = values[label]
        if not isinstance(value, str) or not value:
            raise ValueError(f"{place}: {label} must be a name, got {value!r}")
    for label in ("channels", "batch"):
        value = values[label]
        if not is_positive(value):
            raise ValueError(f"{place}: {label} must be a positive integer, got {value!r}")
    shape, options = values["shape"], values["options"]
    if not isinstance(shape, list) or len(shape) not in (2, 3) or not all(map(is_positive, shape)):
        raise ValueError(
            f"{place}: shape must be positive integers [H, W] or [T, H, W], got {shape!r}"
        )
    if not isinstance(options, dict):
        raise ValueError(f"{place}: options must be an object, got {options!r}")
    if not isinstance(values.get("channels_last", False), bool):
        raise ValueError(
            f"{place}: channels_last must be true or false, got {values['channels_last']!r}"
        )
    return Row(**{**values, "shape": tuple(shape)})


def is_positive(value: object) -> bool:
    """Whether a value is an integer of at least 1."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _try_on_meta(row: Row, place: str) -> None:
    try:
        with torch.device("meta"), torch.no_grad():
            got = tuple(row.build().eval()(torch.empty(row.input_shape)).shape)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{place} ({row.name}): {error}") from error
    if got != row.input_shape:
        raise ValueError(
            f"{place} ({row.name}): expected an output of shape {row.input_shape}, got {got}"
        )
