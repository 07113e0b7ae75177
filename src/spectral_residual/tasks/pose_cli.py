"""``srl pose fit | validate | test | predict``: Lightning's command line for pose models."""

from __future__ import annotations

import warnings

import lightning
import torch
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from ..data.module import KeypointDataModule
from .pose import PoseTask

_HARMLESS_WARNINGS = (
    "LightningCLI's args parameter",
    "predict returned None",
    "The dirpath has changed from",
    ".*is not supported by the model summary",
    r".*treespec, LeafSpec",
    ".*does not have many workers",
)


class PoseCLI(LightningCLI):
    """LightningCLI for `PoseTask` and `KeypointDataModule`.

    Input size and skeleton of the model come from the data.
    """

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Link what the model takes from the data."""
        parser.link_arguments("data.input_size", "model.input_size")
        parser.link_arguments("data.skeleton", "model.skeleton", apply_on="instantiate")


def pose_cli(arguments: list[str], run: bool = True) -> PoseCLI:
    """Parse arguments, build trainer, model and data, and run the subcommand if asked to.

    Parameters
    ----------
    arguments : list of str
        Subcommand (if `run`) and its options.
    run : bool
        False only builds ``cli.trainer``, ``cli.model`` and ``cli.datamodule``.
    """
    for message in _HARMLESS_WARNINGS:
        warnings.filterwarnings("ignore", message=message)
    torch.set_float32_matmul_precision("high")
    return PoseCLI(
        PoseTask,
        KeypointDataModule,
        trainer_defaults={"callbacks": default_callbacks(), "default_root_dir": "runs/pose"},
        save_config_kwargs={"overwrite": True},
        seed_everything_default=0,
        args=arguments,
        run=run,
        parser_kwargs={"prog": "srl pose"} if not run else {},
    )


def default_callbacks() -> list[lightning.Callback]:
    """Checkpoints of the last and the best epoch (by AP), and the rate's curve."""
    return [
        ModelCheckpoint(
            monitor="val/AP", mode="max", save_last=True, filename="best",
            auto_insert_metric_name=False,
        ),
        LearningRateMonitor(logging_interval="epoch"),
    ]  # fmt: skip


def fit(arguments: list[str]) -> int:
    """Command ``srl pose fit``."""
    pose_cli(["fit", *arguments])
    return 0


def validate(arguments: list[str]) -> int:
    """Command ``srl pose validate``."""
    pose_cli(["validate", *arguments])
    return 0


def test(arguments: list[str]) -> int:
    """Command ``srl pose test``."""
    pose_cli(["test", *arguments])
    return 0


def predict(arguments: list[str]) -> int:
    """Command ``srl pose predict``."""
    pose_cli(["predict", *arguments])
    return 0
