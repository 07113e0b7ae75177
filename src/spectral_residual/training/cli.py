"""What the command lines of all tasks share: Lightning's, with this package's defaults."""

from __future__ import annotations

import warnings
from typing import Any, TypeVar

import lightning
import torch
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.cli import LightningCLI

CLI = TypeVar("CLI", bound=LightningCLI)

_HARMLESS_WARNINGS = (
    "LightningCLI's args parameter",
    "predict returned None",
    "The dirpath has changed from",
    ".*is not supported by the model summary",
    r".*treespec, LeafSpec",
    ".*does not have many workers",
    r".*module\(s\) in eval mode at the start",
)


def prepare() -> None:
    """Hide warnings that say nothing to the user, and allow TensorFloat-32 products."""
    for message in _HARMLESS_WARNINGS:
        warnings.filterwarnings("ignore", message=message)
    torch.set_float32_matmul_precision("high")


def build_cli(
    cli: type[CLI],
    task: type[lightning.LightningModule],
    data: type[lightning.LightningDataModule],
    arguments: list[str],
    *,
    name: str,
    monitor: str,
    run: bool,
) -> CLI:
    """Parse arguments, build trainer, model and data, and run the subcommand if asked to.

    Parameters
    ----------
    cli, task, data : type
        The command line and what it builds.
    arguments : list of str
        Subcommand (if `run`) and its options.
    name : str
        Name of the task, as in ``srl pose``; logs go to ``runs/<name>``.
    monitor : str
        Logged metric whose highest value marks the best checkpoint.
    run : bool
        False only builds ``trainer``, ``model`` and ``datamodule`` of the result.
    """
    prepare()
    options: dict[str, Any] = {} if run else {"parser_kwargs": {"prog": f"srl {name}"}}
    return cli(
        task,
        data,
        trainer_defaults={
            "callbacks": default_callbacks(monitor),
            "default_root_dir": f"runs/{name}",
        },
        save_config_kwargs={"overwrite": True},
        seed_everything_default=0,
        args=arguments,
        run=run,
        **options,
    )


def default_callbacks(monitor: str) -> list[lightning.Callback]:
    """Checkpoints of the last and of the best epoch by a metric, and the rate's curve."""
    return [
        ModelCheckpoint(
            monitor=monitor, mode="max", save_last=True, filename="best",
            auto_insert_metric_name=False,
        ),
        LearningRateMonitor(logging_interval="epoch"),
    ]  # fmt: skip
