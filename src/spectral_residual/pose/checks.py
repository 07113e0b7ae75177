"""Checks of array shapes, and of the fields of JSON records: errors say got and expected."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

_WORDS: dict[type, str] = {
    Integral: "an integer",
    Real: "a number",
    bool: "a boolean",
    str: "a string",
    list: "a list",
}


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
        boolean is no number.

    Raises
    ------
    ValueError
        If the record is no object, or the field is missing or of another type.
    """
    value = _field(record, name, where)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        wanted = " or ".join(_WORDS[kind] for kind in kinds)
        raise ValueError(f"{where}: {name}: got {value!r}, expected {wanted}")
    return value


def number_field(record: Any, name: str, where: str, *shape: int) -> NDArray[np.float64]:
    """Field of finite numbers as a float64 array.

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
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.full(shape, np.nan)
    if array.shape != shape or not np.isfinite(array).all():
        got = repr(value) if array.shape == shape else f"{array.size} numbers"
        wanted = f"{shape[0]} finite numbers" if shape else "one finite number"
        raise ValueError(f"{where}: {name}: got {got}, expected {wanted}")
    return array


def _field(record: Any, name: str, where: str) -> Any:
    if not isinstance(record, Mapping):
        raise ValueError(f"{where}: got {type(record).__name__}, expected an object")
    if name not in record:
        raise ValueError(f"{where}: missing field {name!r}, got {sorted(map(str, record))}")
    return record[name]
