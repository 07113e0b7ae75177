"""Experiments as data: what is trained with which configuration, and what the paper printed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from ...configs import FOLDER, find_configuration
from ...errors import unknown_name

KINDS = ("pose", "video")

NEUTRAL = (
    "seed_everything",
    "data.root",
    "data.seed",
    "data.loading.workers",
    "trainer.default_root_dir",
    "trainer.enable_model_summary",
    "trainer.enable_progress_bar",
    "trainer.log_every_n_steps",
)
"""What the result of a run with a given seed does not depend on."""


@dataclass(frozen=True)
class Run:
    """One training, by ``srl pose`` or ``srl video``, with all its seeds.

    Of the `configs`, files relative to the current folder or names of the package's, later ones
    win; `overrides` are single values by dotted keys, e.g. ``{"model.network.block_after":
    ["d1"]}``. `baseline` is the run of the same experiment to take the difference to; `paper` holds
    metrics that the paper printed, in percent.
    """

    name: str
    kind: str
    configs: tuple[str, ...] = ()
    overrides: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)
    baseline: str | None = None
    paper: Mapping[str, float] = field(default_factory=dict)

    def configuration(self, extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """All configuration files merged, with the overrides and further ones applied.

        Raises
        ------
        FileNotFoundError
            If a configuration file is missing.
        ValueError
            If one is not a YAML mapping.
        """
        merged: dict[str, Any] = {}
        for path in self.configs:
            merged = _merged(merged, _read_mapping(find_configuration(path, self.kind)))
        for key, value in {**self.overrides, **(extra or {})}.items():
            for part in reversed(key.split(".")):
                value = {part: value}
            merged = _merged(merged, value)
        return merged

    def definition(self, extra: Mapping[str, Any] | None = None) -> str:
        """SHA-256 of kind and merged configuration, without what is `NEUTRAL`.

        Runs of different experiments that train the same have the same definition, so that their
        results are shared.
        """
        values = _flat(self.configuration(extra))
        kept = {key: value for key, value in values.items() if key not in NEUTRAL}
        text = json.dumps({**kept, "kind": self.kind}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def arguments(
        self, seed: int, root: str | None = None, extra: Mapping[str, Any] | None = None
    ) -> list[str]:
        """Options for ``srl pose fit`` or ``srl video fit``."""
        values = {**self.overrides, **({} if root is None else {"data.root": root})}
        values |= {"seed_everything": seed, "data.seed": seed, **(extra or {})}
        configs = [part for path in self.configs for part in ("--config", path)]
        return configs + as_options(values)


@dataclass(frozen=True)
class Experiment:
    """One table: runs, in its order, that are compared with each other.

    `name` is that of its file without suffix. `data` says in a sentence with which data and budget
    our runs are defined, `paper` from which the printed numbers are. `metrics` are tabulated, with
    differences of the first; `compared` is the run to compare with each other one.
    """

    name: str
    title: str
    kind: str
    data: str
    metrics: tuple[str, ...]
    runs: tuple[Run, ...]
    paper: str | None = None
    compared: str | None = None

    def run(self, name: str) -> Run:
        """Run of a name; ValueError, with the nearest name, if there is none."""
        runs = {run.name: run for run in self.runs}
        _check_known(f"run of {self.name}", [name], runs)
        return runs[name]


_DEFAULTS_OF_RUNS = ("configs", "overrides", "seeds")
_RUN_KEYS = [f.name for f in fields(Run) if f.name != "kind"]
_EXPERIMENT_KEYS = [f.name for f in fields(Experiment) if f.name != "name"] + [*_DEFAULTS_OF_RUNS]


def experiment_names(folder: Path) -> list[str]:
    """Names of the experiments that a folder defines.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder} of experiments; --experiments may be left out")
    return sorted(path.stem for path in folder.glob("*.yaml"))


def read_experiment(folder: Path, name: str) -> Experiment:
    """Read the definition ``<folder>/<name>.yaml``.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    ValueError
        If there is no such experiment (the nearest name is suggested) or the file is not a valid
        definition; file and field are named.
    """
    _check_known("experiment", [name], experiment_names(folder))
    path = folder / f"{name}.yaml"
    content = _read_mapping(path)
    _check_known(f"key of experiment in {path}", content, _EXPERIMENT_KEYS)
    for key in ("title", "kind", "data", "metrics", "runs"):
        if not content.get(key):
            raise ValueError(f"{path}: {key} is missing")
    if content["kind"] not in KINDS:
        raise ValueError(f"{path}: kind must be one of {KINDS}, got {content['kind']!r}")
    runs = tuple(_read_run(path, content, entry) for entry in content["runs"])
    known = [run.name for run in runs]
    if len(set(known)) != len(known):
        raise ValueError(f"{path}: two runs have the same name: {known}")
    for run in runs:
        _check_known(f"baseline of run {run.name} in {path}", {run.baseline} - {None}, known)
    _check_known(f"compared run in {path}", {content.get("compared")} - {None}, known)
    own = {key: value for key, value in content.items() if key not in _DEFAULTS_OF_RUNS}
    return Experiment(**own | {"name": name, "metrics": tuple(content["metrics"]), "runs": runs})


@dataclass(frozen=True)
class Options:
    """What all commands of ``srl experiment`` take.

    Attributes
    ----------
    experiments : Path, optional
        Folder of definitions; by default ``configs/experiments``, or those of the package where
        there is no such folder.
    results : Path
        Folder of results, one file of JSON lines for each experiment.
    json_ : bool
        Print JSON.
    """

    experiments: Path | None = None
    results: Path = Path("results")
    json_: bool = False

    def read(self, names: Sequence[str] | None = None) -> list[Experiment]:
        """Experiments of these names, or all if none is given; see `read_experiment`."""
        here, packaged = Path("configs/experiments"), FOLDER / "experiments"
        folder = self.experiments or (here if here.is_dir() else packaged)
        return [read_experiment(folder, name) for name in names or experiment_names(folder)]


def as_options(values: Mapping[str, Any]) -> list[str]:
    """Words ``--KEY VALUE`` of a command line."""
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in values.items()}
    return [word for key, text in texts.items() for word in (f"--{key}", text)]


def _read_run(path: Path, experiment: Mapping[str, Any], entry: Any) -> Run:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise ValueError(f"{path}: every run needs a name, got {entry!r}")
    label = f"run {entry['name']}"
    _check_known(f"key of {label} in {path}", entry, _RUN_KEYS)
    _check_known(f"metric of {label} in {path}", entry.get("paper", {}), experiment["metrics"])
    seeds = entry.get("seeds", experiment.get("seeds", [0]))
    if not seeds or not all(isinstance(seed, int) for seed in seeds):
        raise ValueError(f"{path}: {label}: seeds must be integers, got {seeds!r}")
    return Run(
        **entry
        | {
            "kind": experiment["kind"],
            "configs": (*experiment.get("configs", []), *entry.get("configs", [])),
            "overrides": experiment.get("overrides", {}) | entry.get("overrides", {}),
            "seeds": tuple(seeds),
        }
    )


def _check_known(label: str, names: Collection[Any], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            raise unknown_name(label, name, known)


def _read_mapping(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"no configuration file {path}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a mapping, got {type(content).__name__}")
    return content


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values by dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _merged(base: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in other.items():
        if isinstance(value, dict):
            old = result.get(key)
            value = _merged(old if isinstance(old, dict) else {}, value)
        result[key] = value
    return result
