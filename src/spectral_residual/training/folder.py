"""Trained networks as folders: ``config.json``, ``model.safetensors``, and a model card.

``config.json`` is what a checkpoint says of its network (`Task.describe`) as JSON, with the name
of the task. The weights are those of the network, by their names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import __version__
from ..errors import printable
from ..report.files import prepare_folder, write_file
from .hub import CARD, CONFIG, WEIGHTS

_MOST_CONFIG_BYTES = 2**24
_OF_THE_FILE = ("library", "version", "task")


def read_folder(folder: Path) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
    """Read a trained network's folder: text and tensors, never code.

    Parameters
    ----------
    folder : Path
        Written by `write_folder`.

    Returns
    -------
    str
        Name of the task.
    dict
        What is said of the network; see `description` for what is in it.
    dict of str to Tensor
        Its weights, float32 where the file has half precision.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or a file is not in it.
    ValueError
        If a file cannot be read, or is not of a network of this package.
    """
    named = printable(folder)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{named}: no {name}; expected a folder of a trained network")
    config = _read_config(folder / CONFIG, named)
    try:
        from safetensors.torch import load_file

        weights = load_file(folder / WEIGHTS)
    except ModuleNotFoundError:
        raise
    except Exception as error:  # of safetensors, and what torch raises for types unknown to it
        raise ValueError(f"{named}: {WEIGHTS} cannot be read: {printable(error)}") from error
    stored = {name: value for name, value in config.items() if name not in _OF_THE_FILE}
    return config["task"], stored, {name: _whole(value) for name, value in weights.items()}


def write_folder(
    folder: str | Path,
    task: str,
    stored: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    card: str,
    *,
    half: bool = False,
) -> Path:
    """Write a trained network's folder; files that are there already are replaced.

    Parameters
    ----------
    folder : path
        Made if it is not there.
    task : str
        Name of the task.
    stored : mapping
        What is said of the network: plain values.
    weights : mapping
        State dict of the network.
    card : str
        The model card.
    half : bool, default False
        float16 for weights with two or more axes: half the size. Normalisations, biases and
        alpha keep their precision.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    OSError
        If it cannot be written to; then nothing is.
    ValueError
        If weights are not finite or do not fit into float16, or what is said is no JSON.
    """
    from safetensors.torch import save

    config = {"library": "spectral_residual", "version": __version__, "task": task, **stored}
    try:
        text = json.dumps(config, indent=1, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the description of the {task} network is no JSON: {error}") from error
    saved = {name: _saved(name, value, half) for name, value in weights.items()}
    folder = Path(folder)
    prepare_folder(folder, [WEIGHTS, CONFIG, CARD])
    write_file(folder / WEIGHTS, save(saved, metadata={"format": "pt"}))
    write_file(folder / CONFIG, text + "\n")
    write_file(folder / CARD, card)
    return folder


def _read_config(path: Path, named: str) -> dict[str, Any]:
    size = path.stat().st_size
    if size > _MOST_CONFIG_BYTES:
        raise ValueError(f"{named}: {CONFIG} has {size} bytes, more than {_MOST_CONFIG_BYTES}")
    try:
        config = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{named}: {CONFIG} is no JSON: {printable(error)}") from error
    if not isinstance(config, dict) or config.get("library") != "spectral_residual":
        raise ValueError(f"{named}: {CONFIG} is not of a network of this package")
    if not isinstance(config.get("task"), str):
        raise ValueError(f"{named}: {CONFIG} names no task")
    return config


def _whole(value: Tensor) -> Tensor:
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value


def _saved(name: str, value: Tensor, half: bool) -> Tensor:
    """The tensor that is written, contiguous and with memory of its own."""
    value = value.detach().cpu()
    if not torch.isfinite(value).all():
        raise ValueError(f"the weights {name} are not finite")
    if half and value.is_floating_point() and value.ndim > 1:
        value = value.half()
        if not torch.isfinite(value).all():
            raise ValueError(f"the weights {name} do not fit into half precision")
    return value.clone(memory_format=torch.contiguous_format)
