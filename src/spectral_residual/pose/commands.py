"""``srl pose fit | validate | test | predict``: Lightning's command line for pose models."""

from __future__ import annotations

from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from ..training.cli import build_cli
from .data_module import KeypointDataModule
from .task import PoseTask


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
    return build_cli(
        PoseCLI, PoseTask, KeypointDataModule, arguments, name="pose", monitor="val/AP", run=run
    )


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
