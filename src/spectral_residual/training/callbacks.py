"""Checkpoints that a killed training goes on from."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint

from ..report.files import replacing
from .checkpoint import read_file

log = logging.getLogger(__name__)

LAST, BEST = "last.ckpt", "best.ckpt"


@contextmanager
def _replacing(path: str | Path) -> Iterator[Path]:
    """As `replacing`, with an error that names the checkpoint."""
    with replacing(path) as temporary:
        try:
            yield temporary
        except (OSError, RuntimeError) as error:  # PyTorch's of a full disk is the second
            raise OSError(
                f"{path}: the checkpoint cannot be written, and what was there stays; is the "
                f"disk full? ({str(error).splitlines()[0]})"
            ) from error


class CheckpointFiles(TorchCheckpointIO):
    """Writes checkpoints in one step, beside where they are to be, and reads plain values alone."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write a file that no reader sees half of, even after a power cut; OSError if it fails."""
        with _replacing(path) as temporary:
            torch.save(checkpoint, temporary)

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

    def on_load_checkpoint(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        checkpoint: dict[str, Any],
    ) -> None:
        """Before training goes on: bring the best epochs so far into the folder of this run.

        Lightning forgets their scores where the folder is another.
        """
        if trainer.state.fn != "fit":
            return
        states = checkpoint.get("callbacks") or {}
        for callback in trainer.checkpoint_callbacks:
            state = states.get(callback.state_key)
            if isinstance(callback, ModelCheckpoint) and state:
                _bring_best(trainer, state, str(callback.dirpath))

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


def _bring_best(trainer: lightning.Trainer, state: dict[str, Any], folder: str) -> None:
    """Copy the files that a state of `ModelCheckpoint` names, and let it name the copies."""
    scores = state.get("best_k_models") or {}
    if state.get("dirpath") == folder or not scores:
        return
    resumed = Path(str(trainer.ckpt_path)).parent
    copies = {path: Path(folder) / Path(path).name for path in scores}
    files = {
        path: Path(path) if Path(path).is_file() else resumed / Path(path).name for path in scores
    }
    absent = [path for path, file in files.items() if not file.is_file()]
    if trainer.strategy.broadcast(absent):
        log.warning(
            "THE BEST EPOCH SO FAR IS FORGOTTEN: no file %s; the best is that of the epochs from "
            "here on",
            ", ".join(absent),
        )
        return
    for path, copy in copies.items() if trainer.is_global_zero else ():
        with _replacing(copy) as temporary:
            shutil.copyfile(files[path], temporary)
    named = {path: str(copy) for path, copy in copies.items()}
    for entry in ("best_model_path", "kth_best_model_path"):
        state[entry] = named.get(state[entry], state[entry])
    state["best_k_models"] = {named[path]: score for path, score in scores.items()}
    state["dirpath"], state["last_model_path"] = folder, ""


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
        other = f"; the {wanted} that is here is ./{wanted}" if Path(wanted).exists() else ""
        raise FileNotFoundError(f"--ckpt {wanted}: no {wanted}.ckpt below {folder}{other}")
    log.info("checkpoint: %s", found)
    return str(found)
