"""Reading arrays from an archive that anybody may have written or damaged."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_ALWAYS_READ = 2**28
_MOST_PACKED = 100


def read_arrays(path: Path, expected: Mapping[str, tuple[str, int]]) -> dict[str, NDArray[Any]]:
    """Read arrays of a ``.npz`` file, each looked at before memory is taken for it.

    Parameters
    ----------
    path : Path
        File of `numpy.savez` or `numpy.savez_compressed`.
    expected : mapping
        Kinds of dtype (letters of `numpy.dtype.kind`) and number of axes of each array by name.
        Other arrays in the file are not read.

    Raises
    ------
    ValueError
        If the file is no archive, is damaged, lacks an array or has one of another kind or number
        of axes, or unpacks to more than 256 MiB and a hundred times its own size.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            missing = [name for name in expected if f"{name}.npy" not in names]
            if missing:
                raise ValueError(f"it has no {', '.join(missing)}")
            size = sum(archive.getinfo(f"{name}.npy").file_size for name in expected)
            if size > max(_ALWAYS_READ, _MOST_PACKED * path.stat().st_size):
                raise ValueError(f"{path.stat().st_size} bytes would unpack to {size}")
            for name, (kinds, axes) in expected.items():
                with archive.open(f"{name}.npy") as file:
                    _check_header(file, archive.getinfo(f"{name}.npy").file_size, name, kinds, axes)
            arrays = {}
            for name in expected:
                with archive.open(f"{name}.npy") as file:
                    arrays[name] = np.lib.format.read_array(file, allow_pickle=False)
                    file.read()  # to the end, where the checksum is
            return arrays
    except Exception as error:  # a damaged archive raises anything from zlib.error to IndexError
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"{path}: damaged, or not a scores file of 'srl video': {reason}"
        ) from error


def _check_header(file: IO[bytes], size: int, name: str, kinds: str, axes: int) -> None:
    """Raise ValueError unless a .npy member of so many bytes holds such an array."""
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"{name} is written in version {version} of the format")
    shape, _, dtype = _HEADERS[version](file)
    if dtype.kind not in kinds or len(shape) != axes:
        raise ValueError(
            f"{name} is an array of shape {shape} and type {dtype}, expected {axes} axes and a "
            f"type of {kinds!r}"
        )
    content = math.prod(shape) * dtype.itemsize
    if min((*shape, 0)) < 0 or content != size - file.tell():
        raise ValueError(f"{name} is of shape {shape}, but has {size - file.tell()} bytes")
