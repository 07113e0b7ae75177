"""The process that trains and evaluates one run; started by `experiments.runner`.

A process of its own gives every run its own peak memory and leaves nothing to the next one. What
is kept of the training is one checkpoint, with the record of all epochs inside.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import threading
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from ...report.files import write_file
from ...training.callbacks import LastCheckpoint
from ...training.checkpoint import read_file
from ..bench.report import device_name
from .results import CHECKPOINT, OUTCOME, data_fingerprint, resolved_data


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
    fingerprint = data_fingerprint(resolved_data(cli))
    others = [c for c in trainer.callbacks if not isinstance(c, Checkpoint)]
    checkpoint = folder / CHECKPOINT
    trainer.callbacks = [*others, EpochRecorder(checkpoint, seed, code)]
    trainer.fit(task, datamodule=data, ckpt_path=checkpoint if checkpoint.is_file() else None)
    trainer.validate(task, datamodule=data, ckpt_path=checkpoint, verbose=False)
    device = trainer.strategy.root_device
    record = read_record(checkpoint)
    epochs = record["epochs"]
    return {
        "metrics": dict(task.metrics),
        "epochs": len(epochs),
        "seconds_per_epoch": statistics.median(epoch["seconds"] for epoch in epochs),
        "peak_memory_bytes": max(epoch["peak_memory_bytes"] for epoch in epochs),
        "peak_memory_of": _peak_memory(device)[1],
        "parameters": sum(p.numel() for p in task.network.parameters()),
        "samples": {split: len(dataset) for split, dataset in data.datasets.items()},
        "data": fingerprint,
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "precision": str(trainer.precision),
        "torch": torch.__version__,
        "history": epochs,
        "sessions": record["sessions"],
    }


def _build(kind: str, arguments: list[str]) -> Any:
    if kind == "pose":
        from ...pose.commands import pose_cli

        return pose_cli(arguments, run=False)
    from ...video.commands import video_cli

    return video_cli(arguments, run=False)


class EpochRecorder(LastCheckpoint):
    """Writes a checkpoint after every epoch, and records the epochs in it.

    `code`, as `code_version` returns it, is noted for every process that has trained.

    Attributes
    ----------
    epochs : list of dict
        For each finished epoch: ``epoch`` (from 0), ``loss`` (mean over the epoch), ``metrics``
        (of the validation, empty if there was none), ``seconds`` (of training, waiting for the
        loader included, validation not), ``peak_memory_bytes``.
    sessions : list of dict
        For each process that has trained: `code`, and ``epoch``, with which it began.
    """

    def __init__(self, path: Path, seed: int, code: dict[str, Any]) -> None:
        super().__init__(path, seed)
        self.code = code
        self.epochs: list[dict[str, Any]] = []
        self.sessions: list[dict[str, Any]] = []
        self._validated: dict[str, float] = {}
        self._start = 0.0
        self._end = 0.0

    def state_dict(self) -> dict[str, Any]:
        """The record, for the checkpoint."""
        return {"epochs": self.epochs, "sessions": self.sessions}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the record of a checkpoint."""
        self.epochs, self.sessions = state_dict["epochs"], state_dict["sessions"]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note who trains."""
        self.sessions.append({"epoch": len(self.epochs), **self.code})

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock of the first epoch."""
        self._start = time.perf_counter()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed the epoch, and forget the metrics of the one before."""
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
        if batch_idx == 0:
            self._validated = {}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop the clock, so that validation is not counted."""
        self._end = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the metrics."""
        if not trainer.sanity_checking:
            self._validated = dict(getattr(pl_module, "metrics", {}))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the epoch and write the checkpoint."""
        memory, _ = _peak_memory(trainer.strategy.root_device)
        self.epochs.append(
            {
                "epoch": trainer.current_epoch,
                "loss": float(trainer.callback_metrics["train/loss_epoch"]),
                "metrics": self._validated,
                "seconds": self._end - self._start,
                "peak_memory_bytes": memory,
            }
        )
        if trainer.is_global_zero:
            values = {"loss": self.epochs[-1]["loss"], **self._validated}
            shown = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
            print(f"epoch {trainer.current_epoch}: {shown}", flush=True)
        super().on_train_epoch_end(trainer, pl_module)
        trainer.strategy.barrier("EpochRecorder")
        self._start = time.perf_counter()


def read_record(checkpoint: Path) -> dict[str, Any]:
    """Record of a checkpoint: ``epochs`` and ``sessions`` of `EpochRecorder`.

    Raises
    ------
    ValueError
        If it is not a checkpoint of an experiment.
    """
    callbacks = read_file(checkpoint).get("callbacks", {})
    if EpochRecorder.__name__ not in callbacks:
        raise ValueError(f"{checkpoint}: not a checkpoint of an experiment")
    return dict(callbacks[EpochRecorder.__name__])


def _peak_memory(device: torch.device) -> tuple[int, str]:
    """Greatest memory of this process so far, in bytes, and what that is.

    On CUDA it is what PyTorch's allocator had given out at most, elsewhere the resident set,
    without loader processes.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device), "CUDA allocator"
    # Not getrusage where it can be avoided: Linux counts the parent process in it.
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1]), "resident set"
    import resource  # Windows does not have it

    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, "resident set"


def main(request: Path) -> None:
    """Execute the request in a JSON file and write the outcome beside it.

    The process ends with the one that holds the other end of its standard input, so that
    nothing goes on training when that one is killed.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    outcome = execute(folder=request.parent, **json.loads(request.read_text(encoding="utf-8")))
    if int(os.environ.get("LOCAL_RANK", 0)) == 0:
        write_file(request.with_name(OUTCOME), json.dumps(outcome))


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
