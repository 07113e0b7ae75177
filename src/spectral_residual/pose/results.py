"""From decoded joints of single persons to COCO results of images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .coco import results_entries
from .oks import oks_nms, rescore

Poses = dict[str, NDArray[Any]]


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
