"""Predicted poses of all batches and processes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .oks import Poses

FIELDS = ("index", "image_id", "keypoints", "joint_scores", "box_score", "area", "broken")


class PoseCollector:
    """Collects predicted poses over batches and processes.

    Every pose has ``index`` of its instance, ``image_id``, ``keypoints`` (K, 2) in image
    pixels, ``joint_scores`` (K,), ``box_score``, ``area`` of its padded box in pixels, and
    ``broken`` (the instance's index if its image was unreadable, otherwise -1).
    """

    def __init__(self) -> None:
        self._batches: list[Mapping[str, NDArray[Any]]] = []

    def add(self, **fields: Tensor) -> None:
        """Add a batch: one tensor per field, the first axis being the persons."""
        if set(fields) != set(FIELDS):
            raise ValueError(f"expected the fields {FIELDS}, got {tuple(fields)}")
        self._batches.append({name: value.detach().cpu().numpy() for name, value in fields.items()})

    def gather(self) -> Poses:
        """All poses of all processes, each instance once, in the order of instances."""
        batches: list[Mapping[str, NDArray[Any]]] = self._batches
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            parts: list[Any] = [None] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(parts, self._batches)
            batches = [batch for part in parts for batch in part]
        if not batches:
            raise ValueError("no poses were predicted")
        joined = {name: np.concatenate([batch[name] for batch in batches]) for name in FIELDS}
        _, first = np.unique(joined["index"], return_index=True)
        return {name: values[first] for name, values in joined.items()}
