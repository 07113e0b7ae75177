"""Files that appear when they are complete."""

from __future__ import annotations

import errno
import json
import math
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

_LONGEST_NAME = 50


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give the name of a temporary file beside `path`, which takes its place at the end.

    No reader sees half of it, even after a power cut. After an error the temporary file is removed
    and what was at `path` before stays.

    Parameters
    ----------
    path : path
        File to create or replace; missing parent folders are created.

    Raises
    ------
    OSError
        If the folder cannot be made or the file cannot be moved.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name[:_LONGEST_NAME]}.{uuid.uuid4().hex}")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        if error.errno and error.filename is None:  # a full disk does not say of what
            error.filename = str(target)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def prepare_folder(folder: str | Path, files: Iterable[str] = ()) -> None:
    """Make a folder, and see before the work whether anything can be written there.

    Parameters
    ----------
    folder : path
        Made if it is not there, as are its parents.
    files : iterable of str
        Names of files that are to be written there.

    Raises
    ------
    OSError
        If nothing can be written there, or one of the names is that of a folder.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryFile(dir=folder):
        pass
    for path in (folder / name for name in files):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))


def write_file(path: str | Path, content: str | bytes) -> Path:
    """Write text (UTF-8) or bytes in one step; see `replacing`.

    Parameters
    ----------
    path : path
        File to create or replace; missing parent folders are created.
    content : str or bytes
        All of the file.

    Returns
    -------
    Path
        The file.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
    return Path(path)


def write_metrics(path: str | Path, metrics: Mapping[str, float]) -> Path:
    """Write numbers by their names as JSON, null where there was nothing to measure (NaN)."""
    known = {name: None if math.isnan(value) else value for name, value in metrics.items()}
    return write_file(path, json.dumps(known, indent=1) + "\n")
