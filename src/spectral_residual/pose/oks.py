"""Object keypoint similarity (OKS) between predicted poses, and the scores of instances.

The similarity, the suppression of duplicates and the rescoring of instances follow the
top-down COCO protocol of Xiao, Wu and Wei, "Simple Baselines for Human Pose Estimation and
Tracking", ECCV 2018. Coordinates are pixels, x right, y down; areas are square pixels.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .checks import check_shape

Floats = NDArray[np.float64]

Poses = dict[str, NDArray[Any]]
"""Predicted poses by field, the first axis being the poses; see `rescored_poses`."""


def check_sigmas(sigmas: ArrayLike) -> Floats:
    """Return the K standard deviations of OKS, or raise ValueError if one is not positive.

    They are fractions of the object's scale (the square root of its area); COCO's nose has 0.026.
    """
    checked = _finite("sigmas", np.asarray(sigmas), "K")
    if checked.size == 0 or not (checked > 0).all():
        raise ValueError(f"sigmas: got {checked.tolist()}, expected at least one, all positive")
    return checked


def oks(pose: Floats, others: Floats, area: float, areas: Floats, sigmas: Floats) -> Floats:
    """Similarity of one predicted pose to M others.

    It is the mean over all joints, visible or not, of
    ``exp(-d_j**2 / (2 * (2 * sigma_j)**2 * area_m))`` with ``d_j`` the distance between the two
    positions of joint j and ``area_m`` the mean of the two areas.

    Parameters
    ----------
    pose : ndarray, shape (K, 2)
        One pose, [x, y] in pixels.
    others : ndarray, shape (M, K, 2)
        The others; M may be 0.
    area : float
        Area of the one, square pixels, at least 0. Top-down methods take that of the padded box.
    areas : ndarray, shape (M,)
        Areas of the others, square pixels, at least 0.
    sigmas : ndarray, shape (K,)
        Standard deviation of every joint as a fraction of the object's scale.

    Returns
    -------
    ndarray, shape (M,), float64
        Similarities in [0, 1]; 1 where two poses coincide.
    """
    squared = ((others - pose) ** 2).sum(axis=-1)
    # The spacing keeps two poses of zero area defined; COCO's own evaluation adds the same.
    mean = (area + areas) / 2 + np.spacing(1.0)
    similarity: Floats = np.exp(-squared / (2 * (2 * sigmas) ** 2 * mean[:, None])).mean(axis=-1)
    return similarity


def oks_nms(
    keypoints: Floats, scores: Floats, areas: Floats, sigmas: Floats, threshold: float
) -> list[int]:
    """Greedy non-maximum suppression of the poses of one image by OKS.

    The best-scored pose is kept, all others whose similarity to it is above `threshold` are
    dropped, and so on with those that remain. Of equal scores the earlier pose comes first.

    Parameters
    ----------
    keypoints : ndarray, shape (M, K, 2)
        Poses of one image, [x, y] in pixels; M may be 0.
    scores : ndarray, shape (M,)
        Instance scores, higher is better.
    areas, sigmas : ndarray, shapes (M,) and (K,)
        As for :func:`oks`.
    threshold : float
        A pose is dropped only if its similarity is strictly above it.

    Returns
    -------
    list of int
        Indices of the kept poses, by falling score.
    """
    remaining = np.argsort(-scores, kind="stable")
    kept = []
    while remaining.size:
        best, remaining = int(remaining[0]), remaining[1:]
        kept.append(best)
        others = keypoints[remaining]
        similarity = oks(keypoints[best], others, areas[best], areas[remaining], sigmas)
        remaining = remaining[similarity <= threshold]
    return kept


def rescore(box_scores: Floats, joint_scores: Floats, threshold: float) -> Floats:
    """Instance score of a pose from the scores of its box and of its joints.

    Parameters
    ----------
    box_scores : ndarray, shape (M,)
        Detector scores; 1 for ground-truth boxes.
    joint_scores : ndarray, shape (M, K)
        Heatmap maxima.
    threshold : float
        Only joint scores strictly above it count.

    Returns
    -------
    ndarray, shape (M,), float64
        Box score times the mean of the counted joint scores; 0 where none counts.
    """
    counted = joint_scores > threshold
    total = np.where(counted, joint_scores, 0.0).sum(axis=1)
    mean: Floats = total / np.maximum(counted.sum(axis=1), 1)
    return box_scores * mean


def rescored_poses(
    poses: Poses, sigmas: Sequence[float], joint_threshold: float, nms_threshold: float
) -> Poses:
    """Score each pose by its joints and suppress near-duplicates within each image.

    Parameters
    ----------
    poses : dict of ndarray
        M poses: ``index`` (M,) of their instances, ``image_id`` (M,), ``keypoints`` (M, K, 2) in
        image pixels, ``joint_scores`` (M, K), ``box_score`` (M,), ``area`` (M,) of the padded
        boxes in square pixels, ``broken`` (M,), the index of the instance if its image was
        unreadable, otherwise -1.
    sigmas : sequence of float
        OKS sigmas of the K joints.
    joint_threshold : float
        Joints with a higher score count in the mean that multiplies the box score.
    nms_threshold : float
        Poses with a higher OKS to a better one in the same image are dropped; 1 keeps all.

    Returns
    -------
    dict of ndarray
        The remaining poses, without those of unreadable images, with the further field ``score``.

    Raises
    ------
    ValueError
        For shapes that do not fit, values that are not finite, negative areas, or sigmas that
        are not positive.
    """
    deviations = check_sigmas(sigmas)
    poses = {name: values[poses["broken"] < 0] for name, values in poses.items()}
    count, joints = len(poses["index"]), len(deviations)
    keypoints = _finite("keypoints", poses["keypoints"], count, joints, 2)
    joint_scores = _finite("joint_scores", poses["joint_scores"], count, joints)
    areas = _finite("area", poses["area"], count)
    if (areas < 0).any():
        raise ValueError(f"area: got {areas.min()}, expected areas of at least 0")
    box_scores = _finite("box_score", poses["box_score"], count)
    poses["score"] = scores = rescore(box_scores, joint_scores, joint_threshold)
    by_image: dict[int, list[int]] = defaultdict(list)
    for row, image_id in enumerate(poses["image_id"].tolist()):
        by_image[image_id].append(row)
    kept: list[int] = []
    for rows in by_image.values():
        points, ranks, sizes = (values[rows] for values in (keypoints, scores, areas))
        kept += [rows[i] for i in oks_nms(points, ranks, sizes, deviations, nms_threshold)]
    return {name: values[sorted(kept)] for name, values in poses.items()}


def _finite(name: str, values: NDArray[Any], *axes: int | str) -> Floats:
    check_shape(name, values, *axes)
    numbers: Floats = values.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError(f"{name}: got NaN or infinite values, expected finite ones")
    return numbers
