"""``srl pose speed``: does loading keep up with training?"""

from __future__ import annotations

from torch import Tensor

from ..training.speed import Batch, speed_command
from .commands import pose_cli
from .heatmap import keypoint_mse
from .task import PoseTask


def main(arguments: list[str]) -> int:
    """Command line; further options are those of ``srl pose fit``."""
    return speed_command(
        arguments,
        name="pose",
        unit="images",
        make_cli=lambda rest: pose_cli(rest, run=False),
        loss=_loss,
    )


def _loss(task: PoseTask, batch: Batch) -> Tensor:
    targets, weights = task.codec.encode(batch["joints"], batch["visible"])
    return keypoint_mse(task(batch["image"]), targets, weights)
