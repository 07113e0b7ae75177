"""Checkpoints that say which network they hold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_SHOWN_DIFFERENCES = 10
_NETWORK_PREFIX = "network."


def checkpoint_key(name: str) -> str:
    """Where a checkpoint of a task, e.g. ``"pose"``, describes its network."""
    return f"spectral_residual_{name}"


def read_file(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint: tensors and plain values, never code.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If `path` is an address, or the file no checkpoint or damaged, or if weights in it are not
        finite.
    """
    if "://" in str(path):
        raise ValueError(f"checkpoint {path}: an address; download the file and give its path")
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint {path}")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        raise ValueError(f"{path}: not a readable checkpoint: {reason}") from error
    weights = checkpoint.get("state_dict") if isinstance(checkpoint, dict) else None
    if not isinstance(weights, dict):
        raise ValueError(f"{path}: not a checkpoint: it has no state_dict")
    for name, value in weights.items():
        if isinstance(value, Tensor) and not torch.isfinite(value).all():
            raise ValueError(f"{path}: the weights {name} are not finite: its training diverged")
    return checkpoint


def check_same(
    checkpoint: Mapping[str, Any],
    name: str,
    expected: Mapping[str, Any],
    defaults: Mapping[str, Any],
) -> None:
    """Compare a checkpoint's description of its model with another.

    Parameters
    ----------
    checkpoint : mapping
        As Lightning loads it.
    name : str
        Name of the task.
    expected : mapping
        Nested description of the model that is to take the weights. Top-level entries of the
        checkpoint that it does not have are not compared.
    defaults : mapping
        Values of those entries of ``network`` that an older version did not know.

    Raises
    ------
    ValueError
        If the checkpoint has no description, or if the two differ; the message lists the
        differences.
    """
    differences = find_differences(description(checkpoint, name), expected, defaults)
    if differences:
        more = len(differences) - _SHOWN_DIFFERENCES
        shown = differences[:_SHOWN_DIFFERENCES] + ([f"and {more} more"] if more > 0 else [])
        raise ValueError("the checkpoint is of another model:\n  " + "\n  ".join(shown))


def description(checkpoint: Any, name: str, path: Path | None = None) -> Mapping[str, Any]:
    """What a checkpoint says of its network; ValueError if it is not one of a task's."""
    key = checkpoint_key(name)
    stored = checkpoint.get(key) if isinstance(checkpoint, Mapping) else None
    if not isinstance(stored, Mapping):
        subject = "the checkpoint is not one" if path is None else f"{path}: not a checkpoint"
        raise ValueError(f"{subject} of a {name} model of this package")
    return stored


def find_differences(
    stored: Mapping[str, Any], expected: Mapping[str, Any], defaults: Mapping[str, Any]
) -> list[str]:
    """Entries of two descriptions that differ, one line each; see `check_same`."""
    known = {n: value for n, value in defaults.items() if n in expected["network"]}
    stored = {**stored, "network": known | dict(stored["network"])}
    got = _flatten({name: value for name, value in stored.items() if name in expected})
    wanted = _flatten(expected)
    return [
        f"{name}: {got.get(name, 'absent')!r} in the checkpoint, "
        f"{wanted.get(name, 'absent')!r} here"
        for name in sorted(got.keys() | wanted.keys())
        if got.get(name) != wanted.get(name)
    ]


def read_checkpoint(path: str | Path, name: str) -> tuple[Mapping[str, Any], dict[str, Tensor]]:
    """Read the description of a network and its weights.

    Parameters
    ----------
    path : path
        Checkpoint written by training.
    name : str
        Name of the task.

    Returns
    -------
    mapping
        The description.
    dict of str to Tensor
        State dict of the task's ``network``, on the CPU.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a checkpoint with such a description.
    """
    checkpoint = read_file(path)
    stored = description(checkpoint, name, Path(path))
    weights = {
        name.removeprefix(_NETWORK_PREFIX): value
        for name, value in checkpoint["state_dict"].items()
        if name.startswith(_NETWORK_PREFIX)
    }
    return stored, weights


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
