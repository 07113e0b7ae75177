"""The process that trains and evaluates one run; started by `experiments.runner`.

A process of its own gives every run its own peak memory and leaves nothing to the next one.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import sys
import threading
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from ..bench.report import device_name
from .provenance import data_fingerprint, peak_memory
from .recorder import EpochRecorder, read_record
from .results import CHECKPOINT, OUTCOME


def execute(
    kind: str, arguments: list[str], folder: Path, seed: int, code: dict[str, Any]
) -> dict[str, Any]:
    """Train a run, from its checkpoint if there is one, and evaluate it.

    Parameters
    ----------
    kind : {"pose", "video"}
        Task.
    arguments : list of str
        Options of ``srl pose fit`` or ``srl video fit``.
    folder : Path
        Gets the checkpoint ``last.ckpt`` and logs.
    seed : int
        Seed of the run.
    code : dict
        As `code_version` returns it.

    Returns
    -------
    dict
        ``metrics`` (fractions) as ``validate`` gives them for the last checkpoint; ``epochs``;
        ``history``, as `EpochRecorder.epochs`; ``sessions``; ``seconds_per_epoch``, the median of
        training without validation; ``peak_memory_bytes`` and ``peak_memory_of``;
        ``parameters``; ``samples`` of each split; ``data``, as `data_fingerprint`; ``device``,
        ``threads``, ``precision`` and ``torch``.
    """
    bar = ["--trainer.enable_progress_bar", str(sys.stdout.isatty()).lower()]
    cli = _build(kind, [*bar, *arguments, "--trainer.default_root_dir", str(folder)])
    trainer, task, data = cli.trainer, cli.model, cli.datamodule
    fingerprint = data_fingerprint(cli.config.data.as_dict())
    others = [c for c in trainer.callbacks if not isinstance(c, ModelCheckpoint)]
    checkpoint = folder / CHECKPOINT
    trainer.callbacks = [*others, EpochRecorder(checkpoint, seed, code)]
    trainer.fit(task, datamodule=data, ckpt_path=checkpoint if checkpoint.is_file() else None)
    trainer.validate(task, datamodule=data, ckpt_path=checkpoint, verbose=False)
    device = trainer.strategy.root_device
    record = read_record(checkpoint)
    return {
        "metrics": dict(task.metrics),
        "epochs": len(record["epochs"]),
        "seconds_per_epoch": statistics.median(e["seconds"] for e in record["epochs"]),
        "peak_memory_bytes": max(e["peak_memory_bytes"] for e in record["epochs"]),
        "peak_memory_of": peak_memory(device)[1],
        "parameters": sum(p.numel() for p in task.network.parameters()),
        "samples": {split: len(dataset) for split, dataset in data.datasets.items()},
        "data": fingerprint,
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "precision": str(trainer.precision),
        "torch": torch.__version__,
        "history": record["epochs"],
        "sessions": record["sessions"],
    }


def main(arguments: list[str]) -> int:
    """Execute the request in a JSON file and write the outcome beside it.

    The process ends with the one that holds the other end of its standard input, so that
    nothing goes on training when that one is killed.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    request = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    folder = Path(arguments[0]).parent
    outcome = execute(folder=folder, **request)
    if int(os.environ.get("LOCAL_RANK", 0)) == 0:
        text = json.dumps(_without_nan(outcome))
        part = folder / f"{OUTCOME}.part"
        part.write_text(text, encoding="utf-8")
        part.replace(folder / OUTCOME)
    return 0


def _build(kind: str, arguments: list[str]) -> Any:
    if kind == "pose":
        from ...pose.commands import pose_cli

        return pose_cli(arguments, run=False)
    from ...video.commands import video_cli

    return video_cli(arguments, run=False)


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


def _without_nan(value: Any) -> Any:
    """The same with None for every number that JSON cannot hold."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
