"""The order of training samples, over epochs and processes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch.utils.data import DistributedSampler


class EpochSampler(DistributedSampler[Any]):
    """Shuffles anew in each epoch and yields (epoch, index), for one or many processes.

    Process r of n gets every n-th index, so that n processes together see in each step what
    one process with an n times larger batch sees.
    """

    def __iter__(self) -> Iterator[Any]:
        return ((self.epoch, index) for index in super().__iter__())

    def begin(self, trainer: Any) -> None:
        """Set the epoch that a Lightning trainer begins with, which is not 0 when it resumes.

        Lightning sets it too, but only after loader processes have been given their first samples.
        """
        self.set_epoch(trainer.fit_loop.epoch_progress.current.processed)
