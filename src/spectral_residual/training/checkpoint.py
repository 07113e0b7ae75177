"""Checkpoints that say which network they hold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_SHOWN_DIFFERENCES = 10
_NETWORK_PREFIX = "network."


def check_same(checkpoint: Mapping[str, Any], key: str, expected: Mapping[str, Any]) -> None:
    """Compare a checkpoint's description of its model with another.

    Parameters
    ----------
    checkpoint : mapping
        As Lightning loads it.
    key : str
        Where the description is.
    expected : mapping
        Nested description of the model that is to take the weights. Top-level entries of the
        checkpoint that it does not have are not compared.

    Raises
    ------
    ValueError
        If the checkpoint has no description under `key`, or if the two differ; the message lists
        the differences.
    """
    stored = checkpoint.get(key)
    if not isinstance(stored, Mapping):
        raise ValueError(f"the checkpoint is not one of a {_kind(key)} model of this package")
    differences = _differences(stored, expected)
    if differences:
        more = len(differences) - _SHOWN_DIFFERENCES
        shown = differences[:_SHOWN_DIFFERENCES] + ([f"and {more} more"] if more > 0 else [])
        raise ValueError("the checkpoint is of another model:\n  " + "\n  ".join(shown))


def is_same(checkpoint: Mapping[str, Any], key: str, expected: Mapping[str, Any]) -> bool:
    """Whether `check_same` would accept the checkpoint."""
    stored = checkpoint.get(key)
    return isinstance(stored, Mapping) and not _differences(stored, expected)


def _differences(stored: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    got = _flatten({name: value for name, value in stored.items() if name in expected})
    wanted = _flatten(expected)
    return [
        f"{name}: {got.get(name, 'absent')!r} in the checkpoint, "
        f"{wanted.get(name, 'absent')!r} here"
        for name in sorted(got.keys() | wanted.keys())
        if got.get(name) != wanted.get(name)
    ]


def read_checkpoint(path: str | Path, key: str) -> tuple[Mapping[str, Any], dict[str, Tensor]]:
    """Read the description of a network and its weights.

    Parameters
    ----------
    path : path
        Checkpoint written by training.
    key : str
        Where the description is.

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
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint {path}")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{path}: not a readable checkpoint: {error}") from error
    stored = checkpoint.get(key) if isinstance(checkpoint, Mapping) else None
    if not isinstance(stored, Mapping):
        raise ValueError(f"{path}: not a checkpoint of a {_kind(key)} model of this package")
    weights = {
        name.removeprefix(_NETWORK_PREFIX): value
        for name, value in checkpoint["state_dict"].items()
        if name.startswith(_NETWORK_PREFIX)
    }
    return stored, weights


def _kind(key: str) -> str:
    return key.rpartition("_")[2]


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
