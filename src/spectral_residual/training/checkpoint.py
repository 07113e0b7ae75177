"""Checkpoints that say which network they hold."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..blocks import check_imported
from ..errors import listed, printable
from .folder import read_folder
from .hub import locate

_SHOWN_DIFFERENCES = 10
_NETWORK_PREFIX = "network."
_LIGHTNING_FORMAT = "2.6.0"
_LONGEST_SIDE = 8192
_MOST_JOINTS = 1000
_MOST_FRAMES = _LARGEST_OPTION = 4096

Built = TypeVar("Built", bound=nn.Module)


def checkpoint_key(name: str) -> str:
    """Where a checkpoint of a task, e.g. ``"pose"``, describes its network."""
    return f"spectral_residual_{name}"


def read_file(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint, or a trained network's folder as one: never code.

    Parameters
    ----------
    path : path
        File, folder or name; see `locate`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If `path` is an address, or the file no checkpoint or damaged, or if weights in it are not
        finite.
    """
    named = printable(path)
    if "://" in str(path):
        raise ValueError(f"checkpoint {named}: an address; download the file and give its path")
    path = locate(path)
    checkpoint = _folder_as_checkpoint(path) if path.is_dir() else _load(path, named)
    weights = checkpoint.get("state_dict") if isinstance(checkpoint, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(name, str) for name in weights):
        raise ValueError(f"{named}: not a checkpoint: it has no state_dict of named weights")
    check_stored(weights, named)
    try:
        check_finite(weights)
    except ValueError as error:
        raise ValueError(f"{named}: {error}: its training diverged") from None
    return checkpoint


def check_stored(weights: Mapping[str, Any], named: str) -> None:
    """Raise ValueError for tensors that stand for more numbers than their file has."""
    for name, value in weights.items():
        if isinstance(value, Tensor) and not _is_whole(value):
            raise ValueError(
                f"{named}: the weights {printable(name)}, {value.dtype} {tuple(value.shape)}: "
                "expected every number in the file, floating-point ones of 16 bits or more"
            )


def check_finite(weights: Mapping[str, Any]) -> None:
    """Raise ValueError, naming the weights, unless all of them are finite."""
    for name, value in weights.items():
        if isinstance(value, Tensor) and not torch.isfinite(value).all():
            raise ValueError(f"the weights {printable(name)} are not finite")


def _load(path: Path, named: str) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint {named}")
    try:
        check_archive(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = printable(str(error).strip().split("\n")[0] or type(error).__name__)
        raise ValueError(f"{named}: not a readable checkpoint: {reason}") from error


def _folder_as_checkpoint(folder: Path) -> dict[str, Any]:
    """What Lightning reads to evaluate and predict; it cannot go on training from it."""
    task, stored, weights = read_folder(folder)
    return {
        "epoch": 0,
        "global_step": 0,
        "pytorch-lightning_version": _LIGHTNING_FORMAT,
        "state_dict": {_NETWORK_PREFIX + name: value for name, value in weights.items()},
        checkpoint_key(task): stored,
    }


def check_archive(path: Path) -> None:
    """Raise ValueError if an archive claims more bytes than its file has; none are compressed."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
    if size > path.stat().st_size:
        raise ValueError(f"{path.stat().st_size} bytes would unpack to {size}")


def _is_whole(value: Tensor) -> bool:
    """Whether all numbers of a tensor are in memory, none of them standing for several."""
    if value.layout is not torch.strided or value.device.type != "cpu" or value.is_quantized:
        return False
    if value.is_floating_point() and value.element_size() < 2:  # torch counts nothing in them
        return False
    return value.numel() * value.element_size() <= value.untyped_storage().nbytes()


def check_same(
    stored: Mapping[str, Any], expected: Mapping[str, Any], defaults: Mapping[str, Any]
) -> None:
    """Compare a checkpoint's description of its model with another.

    Places of blocks are not compared where there is no block.

    Parameters
    ----------
    stored : mapping
        The checkpoint's `description`.
    expected : mapping
        Nested description of the model that is to take the weights. Top-level entries of the
        checkpoint that it does not have are not compared.
    defaults : mapping
        Values of those entries of ``network`` that an older version did not know.

    Raises
    ------
    ValueError
        If the two differ; the message lists the differences.
    """
    differences = find_differences(stored, expected, defaults)
    if differences:
        more = len(differences) - _SHOWN_DIFFERENCES
        shown = differences[:_SHOWN_DIFFERENCES] + ([f"and {more} more"] if more > 0 else [])
        raise ValueError("the checkpoint is of another model:\n  " + "\n  ".join(shown))


def description(checkpoint: Any, name: str, path: Path | None = None) -> Mapping[str, Any]:
    """What a checkpoint says of its network; ValueError if it is not one of a task's.

    What is in it has the right type and is of a sane size: "network" and "skeleton" are mappings,
    "input_size" two sides, "frames" a number, "classes" different names.
    """
    key = checkpoint_key(name)
    stored = checkpoint.get(key) if isinstance(checkpoint, Mapping) else None
    named = "the checkpoint" if path is None else f"{printable(path)}:"
    if not isinstance(stored, Mapping):
        subject = f"{named} is not one" if path is None else f"{named} not a checkpoint"
        raise ValueError(f"{subject} of a {name} model of this package")
    faults = [
        f"{entry}: got {str(stored.get(entry, 'nothing'))[:100]}, expected {expected}"
        for entry, (expected, is_right) in _ENTRIES.items()
        if (entry in stored or entry == "network") and not is_right(stored.get(entry))
    ]
    if faults:
        raise ValueError(f"{named} describes no {name} model:{listed(faults)}")
    return stored


def is_number(value: Any, most: int) -> bool:
    """Whether a value is a whole number in [1, most]."""
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most


def _is_network(value: Any) -> bool:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        return False
    block, options = value.get("block"), value.get("block_options", {})
    if not isinstance(options, Mapping) or not isinstance(block, str | None):
        return False
    numbers = [n for v in options.values() for n in (v if isinstance(v, list | tuple) else [v])]
    return all(abs(n) <= _LARGEST_OPTION for n in numbers if isinstance(n, int))


def _is_size(value: Any) -> bool:
    is_pair = isinstance(value, list | tuple) and len(value) == 2
    return is_pair and all(is_number(side, _LONGEST_SIDE) for side in value)


def _are_names(value: Any) -> bool:
    is_list = isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)
    return is_list and 0 < len(value) == len(set(value))


def _is_skeleton(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        part is None or (isinstance(part, list | tuple) and len(part) <= _MOST_JOINTS)
        for part in value.values()
    )


def _is_about(value: Any) -> bool:
    texts, tables = ("data", "protocol", "licence"), ("metrics", "training")
    if not isinstance(value, Mapping) or not value.keys() <= {*texts, *tables}:
        return False
    metrics, training = (value.get(name, {}) for name in tables)
    rows = [metrics, training, *(metrics.values() if isinstance(metrics, Mapping) else [])]
    return (
        all(isinstance(value.get(name), str | None) for name in texts)
        and all(isinstance(row, Mapping) and all(isinstance(k, str) for k in row) for row in rows)
        and all(isinstance(text, str) for text in training.values())
        and all(isinstance(n, int | float) for row in metrics.values() for n in row.values())
    )


_ENTRIES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "network": (f"options of a network, numbers of a block up to {_LARGEST_OPTION}", _is_network),
    "input_size": (f"a height and a width up to {_LONGEST_SIDE}", _is_size),
    "frames": (f"a number up to {_MOST_FRAMES}", lambda value: is_number(value, _MOST_FRAMES)),
    "classes": ("a list of different names", _are_names),
    "about": ("texts and numbers for a model card", _is_about),
    "skeleton": (f"lists of up to {_MOST_JOINTS} joints and limbs", _is_skeleton),
}


def find_differences(
    stored: Mapping[str, Any], expected: Mapping[str, Any], defaults: Mapping[str, Any]
) -> list[str]:
    """Entries of two descriptions that differ, one line each; see `check_same`."""
    known = {n: value for n, value in defaults.items() if n in expected["network"]}
    stored = {**stored, "network": known | dict(stored["network"])}
    got = _flatten(_placed({name: value for name, value in stored.items() if name in expected}))
    wanted = _flatten(_placed(expected))
    return [
        f"{name}: {got.get(name, 'absent')!r} in the checkpoint, "
        f"{wanted.get(name, 'absent')!r} here"
        for name in sorted(got.keys() | wanted.keys())
        if got.get(name) != wanted.get(name)
    ]


def _placed(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A description without the places of blocks, where it has no block."""
    network = dict(stored["network"])
    if network.get("block") is None:
        network.pop("block_after", None)
    return {**stored, "network": network}


def read_checkpoint(path: str | Path, name: str) -> tuple[Mapping[str, Any], dict[str, Tensor]]:
    """Read the description of a network and its weights.

    Parameters
    ----------
    path : path
        Checkpoint written by training, folder or name; see `locate`.
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
    located = locate(path)
    checkpoint = read_file(located)
    stored = description(checkpoint, name, Path(path))
    weights = {
        name.removeprefix(_NETWORK_PREFIX): value
        for name, value in checkpoint["state_dict"].items()
        if str(name).startswith(_NETWORK_PREFIX) and isinstance(value, Tensor)
    }
    size = sum(value.numel() * value.element_size() for value in weights.values())
    if located.is_file() and size > located.stat().st_size:
        raise ValueError(f"{printable(path)}: its weights claim {size} bytes, more than the file")
    return stored, weights


def load_network(
    path: str | Path, name: str, build: Callable[[Mapping[str, Any]], Built]
) -> tuple[Built, Mapping[str, Any]]:
    """Build the network that a checkpoint describes, and load its weights.

    It is built without memory first: where the shapes are not those of the weights in the file,
    nothing is taken.

    Parameters
    ----------
    path : path
        Checkpoint written by training.
    name : str
        Name of the task.
    build : callable
        Takes the description and returns the network.

    Returns
    -------
    nn.Module
        In evaluation mode, on the CPU, channels last in memory.
    mapping
        The description.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a checkpoint with such a description, or the weights are of another network.
    """
    stored, weights = read_checkpoint(path, name)
    network = {key: value for key, value in stored["network"].items() if key != "weights"}
    stored = {**stored, "network": network}
    try:
        check_imported(network.get("block"))
        with torch.device("meta"):
            expected = build(stored).state_dict()
        check_weights(weights, expected)
        model = build(stored)
        model.load_state_dict(weights)
    except Exception as error:  # what a file describes fails in any way
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise ValueError(f"{printable(path)}: no network: {kind}{error}") from error
    return model.to(memory_format=torch.channels_last).eval(), stored


def check_weights(weights: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raise ValueError, naming weights, unless names and shapes are those that are expected."""
    faults = []
    for name in sorted(map(str, weights.keys() | expected.keys())):
        got, wanted = (_shape(state.get(name)) for state in (weights, expected))
        if got != wanted:
            faults.append(f"{name}: {got} in the checkpoint, {wanted} in the network")
    if faults:
        raise ValueError(f"the weights are of another network:{listed(faults, _SHOWN_DIFFERENCES)}")


def _shape(value: Any) -> str:
    """Shape in words; numbers without an axis, as alpha once was, are loaded as if they had one."""
    return f"shape {tuple(value.shape) or (1,)}" if isinstance(value, Tensor) else "nothing"


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
