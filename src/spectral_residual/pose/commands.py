"""``srl pose fit | validate | test | predict | speed``."""

from __future__ import annotations

from typing import ClassVar

from ..training.cli import Command, TaskCLI
from .data_module import KeypointDataModule
from .own_data import without_config
from .task import PoseTask


class PoseCLI(TaskCLI):
    """Lightning's command line for pose models: size and skeleton come from the data."""

    task = PoseTask
    data = KeypointDataModule
    monitor = "val/AP"
    links: ClassVar = {"input_size": "input_size"}
    made: ClassVar = {"skeleton": "skeleton"}

    @classmethod
    def command(cls, subcommand: str) -> Command:
        """The command ``srl pose <subcommand>``, which does without --config; see `own_data`."""

        def run(arguments: list[str]) -> int:
            cls.build(without_config([subcommand, *arguments]))
            return 0

        return run


pose_cli = PoseCLI.build
fit = PoseCLI.command("fit")
validate = PoseCLI.command("validate")
test = PoseCLI.command("test")
predict = PoseCLI.command("predict")
speed = PoseCLI.speed
