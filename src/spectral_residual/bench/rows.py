"""Rows of the benchmark: which block, with which options, on which input."""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from ..blocks import MapSize, create_block
from ..errors import unknown_name


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
    """

    name: str
    block: str
    channels: int
    shape: tuple[int, ...]
    batch: int = 1
    options: dict[str, Any] = field(default_factory=dict, hash=False)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(N, C, H, W) or (N, C, T, H, W)."""
        return (self.batch, self.channels, *self.shape)

    @property
    def size(self) -> str:
        """Shape as it is written: ``96x72`` or ``4x28x28``."""
        return "x".join(map(str, self.shape))

    def build(self) -> nn.Module:
        """Make the block; ValueError if `create_block` refuses."""
        size = cast(MapSize, self.shape)
        return create_block(self.block, self.channels, size, **self.options)


_FIELDS = ("name", "block", "channels", "shape", "batch", "options")
_REQUIRED = ("block", "channels", "shape")


def load_rows(path: Path | None = None) -> list[Row]:
    """Read rows and try each on the meta device, where nothing is allocated or computed.

    Parameters
    ----------
    path : Path, optional
        JSON list of objects with ``block``, ``channels``, ``shape`` (``[H, W]`` or
        ``[T, H, W]``) and, where they differ from the default, ``name`` (that of the block),
        ``batch`` (1) and ``options`` (none). By default the rows that come with this package.

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
    if path is None:
        source = "rows.json"
        text = (importlib.resources.files(__package__) / source).read_text(encoding="utf-8")
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
    rows: list[Row] = []
    taken: dict[tuple[object, ...], int] = {}
    for number, entry in enumerate(entries, start=1):
        place = f"{source}, row {number}"
        row = _parse(entry, place)
        _try_on_meta(row, place)
        first = taken.setdefault((row.name, row.input_shape), number)
        if first != number:
            raise ValueError(
                f"{place}: {row.name!r} with input {row.input_shape} is row {first} too; "
                "give one of them another name"
            )
        rows.append(row)
    return rows


def select_rows(
    rows: Sequence[Row], names: Sequence[str] = (), sizes: Sequence[str] = ()
) -> list[Row]:
    """Rows with one of the names and one of the sizes, in their order.

    Parameters
    ----------
    rows : sequence of Row
        All rows.
    names, sizes : sequence of str
        What to keep, as in `Row.name` and `Row.size`; everything if empty.

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


def _parse(entry: object, place: str) -> Row:
    if not isinstance(entry, dict):
        raise ValueError(f"{place}: expected an object, got {type(entry).__name__}")
    for name in entry:
        if name not in _FIELDS:
            raise unknown_name(f"field of {place}:", name, _FIELDS)
    for name in _REQUIRED:
        if name not in entry:
            raise ValueError(f"{place}: the field {name!r} is missing")
    values = {"name": entry["block"], "batch": 1, "options": {}, **entry}
    for label in ("block", "name"):
        value = values[label]
        if not isinstance(value, str) or not value:
            raise ValueError(f"{place}: {label} must be a name, got {value!r}")
    for label in ("channels", "batch"):
        value = values[label]
        if not _is_positive(value):
            raise ValueError(f"{place}: {label} must be a positive integer, got {value!r}")
    shape, options = values["shape"], values["options"]
    if not isinstance(shape, list) or len(shape) not in (2, 3) or not all(map(_is_positive, shape)):
        raise ValueError(
            f"{place}: shape must be positive integers [H, W] or [T, H, W], got {shape!r}"
        )
    if not isinstance(options, dict):
        raise ValueError(f"{place}: options must be an object, got {options!r}")
    return Row(**{**values, "shape": tuple(shape)})


def _is_positive(value: object) -> bool:
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
