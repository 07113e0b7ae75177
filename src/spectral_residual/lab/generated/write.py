"""What both data sets share: checks, progress, and a folder that appears when it is complete."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

Record = dict[str, Any]

_MIN_SIDE = 64


def check_number(name: str, value: int, least: int, most: int | None = None) -> None:
    """Raise ValueError if a number is out of range, ends included."""
    if value < least or (most is not None and value > most):
        expected = f"{least} or more" if most is None else f"from {least} to {most:,}"
        raise ValueError(f"{name} must be {expected}, got {value}")


def check_image_size(size: tuple[int, int], even: bool = False) -> None:
    """Raise ValueError if (H, W) in pixels are too small or, where they must be, not even."""
    if len(size) != 2 or min(size) < _MIN_SIDE or (even and any(side % 2 for side in size)):
        expected = f"{'even ' if even else ''}(H, W) of at least {_MIN_SIDE}"
        raise ValueError(f"image_size must be {expected}, got {size}")


def show_progress(items: Iterable[Any], label: str, count: int, shown: bool) -> Iterable[Any]:
    """Give the items, and show a bar on standard error."""
    return track(items, label, count, console=Console(stderr=True), disable=not shown)


@contextmanager
def new_folder(root: Path) -> Iterator[Path]:
    """Give a folder which takes its place at `root` at the end, and goes after an error."""
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{root.name}.", dir=root.parent) as temporary:
        stage = Path(temporary) / "data"
        stage.mkdir()
        yield stage
        if root.exists():
            root.rmdir()
        stage.rename(root)


def is_free(root: Path) -> bool:
    """Whether there is nothing at `root`, or an empty folder."""
    return not root.exists() or (root.is_dir() and not any(root.iterdir()))


def describe(description: str, version: int, options: Any) -> Record:
    """What a data set's file says of it: a description and the parameters it was made with."""
    parameters = {"generator_version": version, **asdict(options)}
    return {
        "description": description,
        "parameters": parameters | {"image_size": list(options.image_size)},
    }


def read_same(root: Path, file: Path, info: Record, defaults: Record | None = None) -> Record:
    """Read the JSON file that describes the data set at `root`.

    Raises FileExistsError unless it says what `info` does, see `describe`; `defaults` are
    parameters that a file of an earlier version may lack.
    """
    try:
        content: Record = json.loads(file.read_text(encoding="utf-8"))
        held = content.get("info", content)
        described, parameters = held["description"], {**(defaults or {}), **held["parameters"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FileExistsError(
            f"{root} exists and is no generated data set: {file} cannot be read as its "
            "description; expected a new or empty folder"
        ) from error
    if described != info["description"] or parameters != info["parameters"]:
        raise FileExistsError(
            f"{root} holds another data set: {file}, got parameters {parameters}, "
            f"expected {info['parameters']}; choose a new folder"
        )
    return content


def check_files(root: Path, folder: Path, names: list[str]) -> None:
    """Raise ValueError if a folder below `root` does not hold just the files of these names."""
    found = {path.name for path in folder.glob(f"*{Path(names[0]).suffix}")}
    if found != set(names):
        raise ValueError(
            f"{folder}: got {len(found)} files, expected {len(names)} ({names[0]} to "
            f"{names[-1]}); delete {root} and generate it again"
        )
