"""What a run's own files say for the model card of its network."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from ..errors import printable
from .checkpoint import read_file
from .hub import locate
from .pretrained import About

_CONFIG = "config.yaml"
_TOLD_OF_OPTIMISERS = ("lr", "weight_decay", "momentum", "eps")
_TOLD_OF_EVALUATION = ("detections", "minimum_score", "apply_exif")


def gather_about(ckpt: str | Path, metrics: Sequence[str | Path], about: About) -> About:
    """Add what files say to what is already said, which has the last word.

    Parameters
    ----------
    ckpt : str or path
        Checkpoint of training; the ``config.yaml`` of its run is read if it is there. Of a folder
        nothing is added.
    metrics : sequence of path
        ``metrics_val.json`` or ``metrics_test.json`` of evaluations of it, and ``config.yaml``
        beside them.
    about : About
        What is already said.

    Raises
    ------
    FileNotFoundError
        If a metrics file does not exist.
    ValueError
        If one is not a mapping of names to numbers, or two are of the same data.
    """
    read: dict[str, dict[str, float]] = {}
    files: dict[str, str] = {}
    for path in metrics:
        name = _data_name(Path(path))
        if name in read:
            raise ValueError(
                f"metrics: got {files[name]} and {printable(path)}, both of {name}; expected one"
            )
        read[name], files[name] = read_metrics(path), printable(path)
    protocols = [protocol for path in metrics for protocol in _protocol(Path(path))]
    data, training = _training(locate(ckpt).resolve())
    return replace(
        about,
        data=about.data or data,
        protocol=about.protocol or "; ".join(dict.fromkeys(protocols)) or None,
        metrics={**about.metrics, **read},
        training={**training, **about.training},
    )


def read_metrics(path: str | Path) -> dict[str, float]:
    """Read a file ``metrics_<split>.json``, without what was not measured: NaN, null, COCO's -1.

    Raises
    ------
    FileNotFoundError
        If it does not exist.
    ValueError
        If it is not a mapping of names to such numbers, or nothing was measured.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no metrics file {printable(path)}")
    try:
        content = json.loads(Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"{printable(path)}: no JSON: {error}") from error
    if not isinstance(content, dict) or not all(map(_is_metric, content.values())):
        raise ValueError(f"{printable(path)}: expected finite numbers by their names")
    measured = {n: v for n, v in content.items() if not (v is None or v == -1 or math.isnan(v))}
    if not measured:
        raise ValueError(f"{printable(path)}: nothing was measured")
    return measured


def _data_name(path: Path) -> str:
    """Name of what was evaluated on: the split, and the annotation file if that is known."""
    split = path.stem.removeprefix("metrics_")
    config = _read_config(path.parent)
    named = _source(config, _split(config, split))
    return f"{split} ({named})" if named else split


def _protocol(path: Path) -> Iterator[str]:
    config = _read_config(path.parent)
    if not config:
        return
    split = path.stem.removeprefix("metrics_")
    of_data = {k: v for k, v in _split(config, split).items() if k in _TOLD_OF_EVALUATION}
    if "detections" in of_data:
        yield "boxes of a detector" if of_data.pop("detections") else "annotated boxes"
    of_data = {name: value for name, value in of_data.items() if value}
    for values in (of_data, _inner(config, "data", "views"), _inner(config, "model", "evaluation")):
        yield from _told(values)


def _training(checkpoint: Path) -> tuple[str | None, dict[str, str]]:
    """Name of the data, and how the network was trained, as far as files say."""
    if not checkpoint.is_file():
        return None, {}
    content = read_file(checkpoint)
    told: dict[str, str] = {}
    if isinstance(content.get("epoch"), int) and isinstance(content.get("global_step"), int):
        told = {"Epochs": str(content["epoch"] + 1), "Steps": str(content["global_step"])}
    config = _read_config(checkpoint.parent.parent)
    if not config:
        return None, told
    optimiser = _inner(config, "model", "optimizer")
    if isinstance(optimiser.get("class_path"), str):
        options = _inner(optimiser, "init_args")
        named = ", ".join(_told({k: options[k] for k in _TOLD_OF_OPTIMISERS if k in options}))
        told["Optimiser"] = f"{optimiser['class_path'].rpartition('.')[2]} ({named})"
    told["Initial weights"] = _initial_weights(config)
    told["Batch"] = str(_inner(config, "data", "loading").get("batch_size", "not stated"))
    if told_of := ", ".join(_told(_inner(config, "data", "augment"))):
        told["Augmentation"] = told_of
    return _source(config, _split(config, "train")) or None, told


def _initial_weights(config: Mapping[str, Any]) -> str:
    """Those of the trunk; of a training that was resumed, what its first run began with."""
    seen: list[Mapping[str, Any]] = []
    while config and config not in seen:
        seen.append(config)
        weights = _inner(config, "model", "network").get("weights")
        resumed = config.get("ckpt_path")
        if isinstance(weights, str):
            return f"trunk: {_short(weights)}"
        if not isinstance(resumed, str):
            return "random"
        config = _read_config(Path(resumed).parent.parent)
    return "not stated"


def _source(config: Mapping[str, Any], split: Mapping[str, Any]) -> str:
    """Names of the data's folder and of the file or folder that lists a split, if it is stated."""
    root, file = _inner(config, "data").get("root"), split.get("annotations") or split.get("source")
    stated = (name for name in (root, file) if isinstance(name, str) and name != "auto")
    return ": ".join(filter(None, map(_short, stated)))


def _read_config(folder: Path) -> dict[str, Any]:
    """The configuration that Lightning wrote into a run's folder; empty if it is not there."""
    path = folder / _CONFIG
    if not path.is_file():
        return {}
    try:
        config = yaml.safe_load(path.read_bytes())
    except yaml.YAMLError as error:
        raise ValueError(f"{printable(path)}: no YAML: {printable(error)}") from error
    return config if isinstance(config, dict) else {}


def _split(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    return _inner(config, "data", name) or (_inner(config, "data", "val") if name == "test" else {})


def _inner(config: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The mapping at a place; empty if there is none."""
    value: Any = config
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return dict(value) if isinstance(value, Mapping) else {}


def _told(values: Mapping[str, Any]) -> Iterator[str]:
    """Options in words, without those that are empty."""
    for name, value in values.items():
        if value is not None and value != [] and value != {}:
            yield f"{name.replace('_', ' ')} {value}"


def _short(name: str) -> str:
    """The end of a path; names of users and machines stay at home."""
    return Path(name).name


def _is_metric(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not math.isinf(value))
