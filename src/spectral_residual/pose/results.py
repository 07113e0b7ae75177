"""From decoded joints of single persons to COCO results of images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .coco import results_entries
from .oks import oks_nms, rescore

Poses = dict[str, NDArray[Any]]

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


def rescored_poses(
    poses: Poses, sigmas: Sequence[float], joint_threshold: float, nms_threshold: float
) -> Poses:
    """Score each pose by its joints and suppress near-duplicates within each image.

    Parameters
    ----------
    poses : dict of ndarray
        As `PoseCollector.gather` returns them.
    sigmas : sequence of float
        OKS sigmas of the K joints.
    joint_threshold : float
        Joints with a higher score count in the mean that multiplies the box score.
    nms_threshold : float
        Poses with a higher OKS to a better one in the same image are dropped; 1 keeps all.

    Returns
    -------
    dict of ndarray
        The remaining poses, with the further field ``score``.
    """
    poses = {name: values[poses["broken"] < 0] for name, values in poses.items()}
    scores = rescore(poses["box_score"], poses["joint_scores"], joint_threshold)
    by_image: dict[int, list[int]] = defaultdict(list)
    for row, image_id in enumerate(poses["image_id"].tolist()):
        by_image[image_id].append(row)
    kept: list[int] = []
    for rows in by_image.values():
        chosen = oks_nms(
            poses["keypoints"][rows], scores[rows], poses["area"][rows], sigmas, nms_threshold
        )
        kept += [rows[i] for i in chosen]
    order = np.asarray(sorted(kept), dtype=np.int64)
    return {**{name: values[order] for name, values in poses.items()}, "score": scores[order]}


def coco_results(poses: Poses, category_id: int) -> list[dict[str, Any]]:
    """Entries in COCO's results format of rescored poses."""
    return results_entries(
        poses["image_id"], poses["keypoints"], poses["joint_scores"], poses["score"], category_id
    )
