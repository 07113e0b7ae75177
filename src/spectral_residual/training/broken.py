"""Keeping count of training samples whose files cannot be read."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

log = logging.getLogger(__name__)


class BrokenSamples:
    """Counts unreadable training files, names each once, and stops when they are too many.

    Parameters
    ----------
    dataset_size : int
        Samples of the training data.
    name_of : callable
        File of a sample by its index.
    max_share : float
        Largest share of the samples that may be unreadable, in [0, 1].
    kind : str
        What the files are, e.g. "image", for the messages.

    Attributes
    ----------
    indices : set of int
        Unreadable samples so far.
    """

    def __init__(
        self,
        dataset_size: int,
        name_of: Callable[[int], str],
        max_share: float,
        kind: str,
    ) -> None:
        self.dataset_size = dataset_size
        self.name_of = name_of
        self.max_share = max_share
        self.kind = kind
        self.indices: set[int] = set()

    def update(self, batch: Mapping[str, Any]) -> None:
        """Take note of a batch: its ``broken``, indices of unreadable samples or -1.

        Raises
        ------
        ValueError
            If more than the allowed share of all samples is unreadable.
        """
        for index in batch["broken"].tolist():
            if index < 0 or index in self.indices:
                continue
            self.indices.add(index)
            count, name = len(self.indices), self.name_of(index)
            log.warning(
                "unreadable training %s %s, replaced by another (%d so far)", self.kind, name, count
            )
            share = count / self.dataset_size
            if share > self.max_share:
                raise ValueError(
                    f"{count} of {self.dataset_size} training samples have unreadable "
                    f"{self.kind}s ({share:.1%}), more than data.loading.max_broken_share "
                    f"({self.max_share:.1%}); the last: {name}"
                )
