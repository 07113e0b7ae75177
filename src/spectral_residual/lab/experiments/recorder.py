"""What is kept of a training: one checkpoint, with the record of all epochs inside."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Checkpoint

from .provenance import peak_memory

STATE_KEY = "EpochRecorder"


class EpochRecorder(Checkpoint):
    """Writes a checkpoint after every epoch, and records the epochs in it.

    A run that is interrupted anywhere, and goes on from the checkpoint, ends as an unbroken one:
    the file is replaced as a whole, by renaming (Lightning's own writing is not safe if the
    folder for temporary files is on another file system), and PyTorch's generator, which dropout
    draws from, starts every epoch from a seed of its own.

    Parameters
    ----------
    path : Path
        The checkpoint.
    seed : int
        Seed of the run.
    code : dict
        As `code_version` returns it; noted for every process that has trained.

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
        self.path = path
        self.seed = seed
        self.code = code
        self.epochs: list[dict[str, Any]] = []
        self.sessions: list[dict[str, Any]] = []
        self._validated: dict[str, float] = {}
        self._start = 0.0
        self._end = 0.0

    @property
    def state_key(self) -> str:
        """Key of the record in a checkpoint's ``callbacks``."""
        return STATE_KEY

    def state_dict(self) -> dict[str, Any]:
        """The record, for the checkpoint."""
        return {"epochs": self.epochs, "sessions": self.sessions}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the record of a checkpoint."""
        self.epochs, self.sessions = state_dict["epochs"], state_dict["sessions"]

    def on_fit_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Note who trains."""
        self.sessions.append({"epoch": len(self.epochs), **self.code})

    def on_train_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Start the clock of the first epoch."""
        self._start = time.perf_counter()

    def on_train_batch_start(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Seed the epoch, before its first step.

        Not in ``on_train_epoch_start``, which Lightning leaves out in some resumed epochs, and
        after which loaders draw from the same generator in all but a resumed epoch.
        """
        if batch_idx == 0:
            key = (self.seed, trainer.current_epoch, trainer.global_rank)
            torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))
            self._validated = {}

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Stop the clock, so that validation is not counted."""
        self._end = time.perf_counter()

    def on_validation_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Take the metrics."""
        if not trainer.sanity_checking:
            self._validated = dict(getattr(pl_module, "metrics", {}))

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Record the epoch and write the checkpoint."""
        memory, _ = peak_memory(trainer.strategy.root_device)
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
        part = self.path.with_name(self.path.name + ".part")
        trainer.save_checkpoint(part)
        if trainer.is_global_zero:
            with part.open("rb") as file:
                os.fsync(file.fileno())
            part.replace(self.path)
        trainer.strategy.barrier("EpochRecorder")
        self._start = time.perf_counter()


def read_record(checkpoint: Path) -> dict[str, Any]:
    """Record of a checkpoint: ``epochs`` and ``sessions`` of `EpochRecorder`.

    Raises
    ------
    ValueError
        If it is not a checkpoint of an experiment.
    """
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    record = content.get("callbacks", {}).get(STATE_KEY) if isinstance(content, dict) else None
    if record is None:
        raise ValueError(f"{checkpoint}: not a checkpoint of an experiment")
    return dict(record)
