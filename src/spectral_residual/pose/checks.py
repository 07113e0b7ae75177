"""Checks of array shapes, and of JSON files and their records: errors say got and expected."""

from __future__ import annotations

import json
import reprlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import printable

if TYPE_CHECKING:
    from torch import Tensor

_WORDS: dict[type, str] = {
    Integral: "an integer",
    Real: "a number",
    bool: "a boolean",
    str: "a string",
    list: "a list",
}
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60
_LARGEST_INTEGER = 2**63 - 1
_LARGEST_NUMBER = 1e15
_MOST_FAULTS = 20

Value = TypeVar("Value")


def check_shape(name: str, array: NDArray[Any] | Tensor, *axes: int | str) -> None:
    """Raise ValueError unless an array has a shape.

    Parameters
    ----------
    name : str
        Name of the array, for the message.
    array : ndarray or tensor
        Array.
    *axes : int or str
        Length of each axis, or its name where any length will do: ``"N", 17, 2``.
    """
    got = tuple(array.shape)
    if len(got) != len(axes) or any(
        length != axis for length, axis in zip(got, axes, strict=True) if isinstance(axis, int)
    ):
        expected = ", ".join(map(str, axes))
        raise ValueError(f"{name}: got shape {got}, expected ({expected})")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no JSON file, or one of its objects has a field twice.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {printable(path)}")
    try:
        return json.loads(path.read_bytes(), object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{printable(path)}: not a JSON file: {printable(error)}") from error


class Faults:
    """Faults of a file, to be raised in one error.

    Parameters
    ----------
    source : str or Path
        The file, which begins the message.
    """

    def __init__(self, source: str | Path) -> None:
        self.source = source
        self.found: list[str] = []

    def check(self, function: Callable[..., Value], *arguments: Any) -> Value | None:
        """Result of a function; None, and its message is kept, if it raises ValueError."""
        try:
            return function(*arguments)
        except ValueError as error:
            self.found.append(str(error))
            return None

    def stop(self) -> None:
        """Raise ValueError if there are faults; it lists the first ones."""
        if not self.found:
            return
        shown, source = self.found[:_MOST_FAULTS], printable(self.source)
        if len(self.found) == 1:
            raise ValueError(f"{source}: {shown[0]}")
        more = len(self.found) - len(shown)
        lines = [f"{source}: {len(self.found)} faults", *shown, *([f"{more} more"] if more else [])]
        raise ValueError("\n  ".join(lines))


def typed_field(record: Any, name: str, where: str, *kinds: type) -> Any:
    """Field of a record, of certain types.

    Parameters
    ----------
    record : object
        Any value of a JSON file, an object if all is well.
    name : str
        Field.
    where : str
        Place of the record, for messages.
    *kinds : type
        Types that the field may have: ``Integral``, ``Real``, ``bool``, ``str``, ``list``. A
        boolean is no number; an integer has at most 64 bits.

    Raises
    ------
    ValueError
        If the record is no object, or the field is missing or of another type.
    """
    value = _field(record, name, where)
    wanted = " or ".join(_WORDS[kind] for kind in kinds)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise ValueError(f"{where}: {name}: got {short(value)}, expected {wanted}")
    if isinstance(value, Integral) and abs(int(value)) > _LARGEST_INTEGER:
        raise ValueError(f"{where}: {name}: got {short(value)}, expected {wanted} of 64 bits")
    return value


def number_field(record: Any, name: str, where: str, *shape: int) -> NDArray[np.float64]:
    """Field of finite numbers as a float64 array; neither text nor booleans are numbers.

    Parameters
    ----------
    record, name, where
        As for `typed_field`.
    *shape : int
        Nothing for a single number, or the length of a list.

    Raises
    ------
    ValueError
        If the record is no object, or the field is missing or not finite numbers of this shape.
    """
    value = _field(record, name, where)
    items: Any = value if shape else [value]
    wanted = f"{shape[0]} finite numbers" if shape else "one finite number"
    if not isinstance(items, (Sequence, np.ndarray)) or isinstance(items, (str, bytes)):
        raise ValueError(f"{where}: {name}: got {short(value)}, expected {wanted}")
    if shape and len(items) != shape[0]:
        raise ValueError(f"{where}: {name}: got {len(items)} numbers, expected {wanted}")
    if not all(issubclass(kind, Real) and kind is not bool for kind in set(map(type, items))):
        wrong = next(i for i in items if not isinstance(i, Real) or isinstance(i, bool))
        raise ValueError(f"{where}: {name}: got {short(wrong)}, expected {wanted}")
    try:
        numbers = np.asarray(value, dtype=np.float64)
    except OverflowError:
        numbers = np.full(shape, np.inf)
    if not (np.abs(numbers) <= _LARGEST_NUMBER).all():
        wrong = next(item for item in items if not abs(item) <= _LARGEST_NUMBER)
        raise ValueError(
            f"{where}: {name}: got {short(wrong)}, expected {wanted} up to {_LARGEST_NUMBER:g}"
        )
    return numbers


def short(value: Any) -> str:
    """A value as Python writes it, cut where it is long or deep."""
    return _SHORT.repr(value)


def _field(record: Any, name: str, where: str) -> Any:
    if not isinstance(record, Mapping):
        raise ValueError(f"{where}: got {type(record).__name__}, expected an object")
    if name not in record:
        fields = short(sorted(map(str, record)))
        raise ValueError(f"{where}: missing field {name!r}, got {fields}")
    return record[name]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        twice = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
        raise ValueError(f"got the fields {short(twice)} twice in {short(record)}, expected once")
    return record
