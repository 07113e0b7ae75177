"""``srl video speed``: does loading keep up with training?"""

from __future__ import annotations

from torch import Tensor

from ..training.speed import Batch, speed_command
from .commands import video_cli
from .task import VideoTask


def main(arguments: list[str]) -> int:
    """Command line; further options are those of ``srl video fit``."""
    return speed_command(
        arguments,
        name="video",
        unit="clips",
        make_cli=lambda rest: video_cli(rest, run=False),
        loss=_loss,
    )


def _loss(task: VideoTask, batch: Batch) -> Tensor:
    return task.loss(batch)
