"""What the demos share: the networks to compare, and one way to train them."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import lightning
import torch
from lightning.pytorch.callbacks import TQDMProgressBar

from ...errors import unknown_name

Task = TypeVar("Task", bound=lightning.LightningModule)


def fast_precision() -> Literal["bf16-mixed", "32-true"]:
    """Bfloat16 where the CPU multiplies it in hardware; elsewhere it is slower than float32."""
    flags = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return "bf16-mixed" if flags.get("avx512_bf16") or flags.get("amx_bf16") else "32-true"


def compared(
    plain: str, blocks: Sequence[str], known: Collection[str], kind: str
) -> dict[str, str | None]:
    """Blocks by the names to show, the plain network first.

    Raises
    ------
    ValueError
        If a block is not known, or is given twice.
    """
    for block in blocks:
        if block not in known:
            raise unknown_name(kind, block, known)
        if blocks.count(block) > 1:
            raise ValueError(f"--blocks: got {block!r} {blocks.count(block)} times, expected once")
    return {plain: None} | {f"+ {block}": block for block in blocks}


def train(
    build: Callable[[int], Task],
    data: lightning.LightningDataModule,
    *,
    name: str,
    output: Path,
    epochs: int,
    seed: int,
    callbacks: Sequence[lightning.Callback] = (),
    **options: Any,
) -> Task:
    """Train a task on the CPU, and validate it.

    Parameters
    ----------
    build : callable
        Makes the task from the number of training steps.
    data : LightningDataModule
        Training and validation data.
    name : str
        What is printed, and the name of the folder of the network in `output`.
    output : Path
        Folder of the demo.
    epochs, seed : int
        Passes over the data; seed of the training.
    callbacks, **options
        For the trainer.

    Returns
    -------
    LightningModule
        The task, with its trainer.
    """
    print(f"\n{name}: {epochs} epochs, {fast_precision()}", flush=True)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    lightning.seed_everything(seed, verbose=False)
    data.setup("fit")
    task = build(epochs * len(data.train_dataloader()))
    with warnings.catch_warnings():  # Lightning's advice, which a demo has no use for
        for category in (UserWarning, FutureWarning):
            warnings.filterwarnings("ignore", category=category)
        trainer = lightning.Trainer(
            accelerator="cpu",
            precision=fast_precision(),
            max_epochs=epochs,
            callbacks=[*callbacks, TQDMProgressBar()],
            default_root_dir=output / name.strip("+ "),
            num_sanity_val_steps=0,
            enable_model_summary=False,
            **options,
        )
        trainer.fit(task, datamodule=data)
        trainer.limit_val_batches = 1.0
        trainer.validate(task, datamodule=data, verbose=False)
    return task
