"""Checkpoints that a killed training goes on from."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint

from ..report.files import replacing
from .checkpoint import read_file

log = logging.getLogger(__name__)

LAST, BEST = "last.ckpt", "best.ckpt"


class CheckpointFiles(TorchCheckpointIO):
    """Writes checkpoints in one step, beside where they are to be, and reads plain values alone."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write a file that no reader sees half of, even after a power cut; OSError if it fails."""
        with replacing(path) as temporary:
            try:
                torch.save(checkpoint, temporary)
            except (OSError, RuntimeError) as error:  # PyTorch's of a full disk is the second
                raise OSError(
                    f"{path}: the checkpoint cannot be written, and what was there stays; is the "
                    f"disk full? ({str(error).splitlines()[0]})"
                ) from error

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Read a file; never code, whatever is asked for."""
        return read_file(path)


class LastCheckpoint(Checkpoint):
    """Writes the last finished epoch, whatever its metrics, and makes epochs repeatable.

    A training that is killed at any moment and goes on from the file ends as an unbroken one:
    the file is replaced as a whole, and PyTorch's generator, which dropout and mixup draw from,
    starts every epoch from a seed of its own.

    Parameters
    ----------
    path : Path, optional
        The file; by default ``checkpoints/last.ckpt`` in the run's folder.
    seed : int, optional
        Seed of the run; by default that of ``seed_everything``.
    """

    def __init__(self, path: Path | None = None, seed: int | None = None) -> None:
        self.path = path
        self.seed = int(os.environ.get("PL_GLOBAL_SEED", 0)) if seed is None else seed

    def setup(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str
    ) -> None:
        """Let the trainer write and read checkpoints by `CheckpointFiles`."""
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = CheckpointFiles()

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

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Write the checkpoint."""
        if getattr(trainer, "fast_dev_run", False):
            return
        if self.path is None:
            folder = trainer.log_dir or trainer.default_root_dir
            self.path = Path(folder) / "checkpoints" / LAST
        trainer.save_checkpoint(self.path)


def find_checkpoint(wanted: str, folder: Path) -> Path | None:
    """The newest ``last`` or ``best`` checkpoint of any run in a folder."""
    name = {"last": LAST, "best": BEST}[wanted]
    found = sorted(folder.rglob(name), key=lambda path: path.stat().st_mtime_ns)
    return found[-1] if found else None


def named_checkpoint(wanted: str, folder: Path) -> str:
    """What ``--ckpt`` of a command means: the newest of all runs if it is ``last`` or ``best``.

    Raises
    ------
    FileNotFoundError
        If there is none in the folder.
    """
    if wanted not in ("last", "best"):
        return wanted
    found = find_checkpoint(wanted, folder)
    if found is None:
        raise FileNotFoundError(f"--ckpt {wanted}: no {wanted}.ckpt below {folder}")
    log.info("checkpoint: %s", found)
    return str(found)
