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

Floats = NDArray[np.float64]

Poses = dict[str, NDArray[Any]]
"""Predicted poses by field, the first axis being the poses; see `rescored_poses`."""


def _array(name: str, value: ArrayLike, shape: tuple[int | None, ...]) -> Floats:
    """Convert to float64 and check the shape (None: any length) and that all is finite."""
    array: Floats = np.asarray(value, dtype=np.float64)
    fits = array.ndim == len(shape) and all(
        want is None or want == got for want, got in zip(shape, array.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if length is None else str(length) for length in shape)
        raise ValueError(f"{name}: got shape {array.shape}, expected ({wanted})")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: got NaN or infinite values, expected finite ones")
    return array


def check_sigmas(sigmas: ArrayLike) -> Floats:
    """Check the per-joint standard deviations of OKS.

    Parameters
    ----------
    sigmas : array_like, shape (K,)
        Standard deviation of every joint, as a fraction of the object's scale (the square root
        of its area); COCO's nose has 0.026.

    Returns
    -------
    ndarray, shape (K,), float64

    Raises
    ------
    ValueError
        If they are not a non-empty list of positive finite numbers.
    """
    checked = _array("sigmas", sigmas, (None,))
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
    keypoints: ArrayLike,
    scores: ArrayLike,
    areas: ArrayLike,
    sigmas: ArrayLike,
    threshold: float = 0.9,
) -> NDArray[np.int64]:
    """Greedy non-maximum suppression of the poses of one image by OKS.

    The best-scored pose is kept, all others whose similarity to it is above `threshold` are
    dropped, and so on with those that remain. Of equal scores the earlier pose comes first.

    Parameters
    ----------
    keypoints : array_like, shape (M, K, 2)
        Poses of one image, [x, y] in pixels; M may be 0.
    scores : array_like, shape (M,)
        Instance scores, higher is better.
    areas : array_like, shape (M,)
        Areas, square pixels, at least 0. Top-down methods take that of the padded box.
    sigmas : array_like, shape (K,)
        Standard deviation of every joint as a fraction of the object's scale.
    threshold : float, default 0.9
        A pose is dropped only if its similarity is strictly above it.

    Returns
    -------
    ndarray, int64
        Indices of the kept poses, by falling score.

    Raises
    ------
    ValueError
        For shapes that do not fit, values that are not finite, negative areas, or sigmas that
        are not positive.
    """
    deviations = check_sigmas(sigmas)
    poses = _array("keypoints", keypoints, (None, len(deviations), 2))
    ranks = _array("scores", scores, (len(poses),))
    sizes = _array("areas", areas, (len(poses),))
    if (sizes < 0).any():
        raise ValueError(f"areas: got {sizes.min()}, expected areas of at least 0")
    remaining = np.argsort(-ranks, kind="stable")
    kept = []
    while remaining.size:
        best, remaining = remaining[0], remaining[1:]
        kept.append(best)
        similarity = oks(poses[best], poses[remaining], sizes[best], sizes[remaining], deviations)
        remaining = remaining[similarity <= threshold]
    return np.asarray(kept, dtype=np.int64)


def rescore(box_scores: ArrayLike, joint_scores: ArrayLike, threshold: float = 0.2) -> Floats:
    """Instance score of a pose from the scores of its box and of its joints.

    Parameters
    ----------
    box_scores : array_like, shape (M,)
        Detector scores; 1 for ground-truth boxes.
    joint_scores : array_like, shape (M, K)
        Heatmap maxima.
    threshold : float, default 0.2
        Only joint scores strictly above it count.

    Returns
    -------
    ndarray, shape (M,), float64
        Box score times the mean of the counted joint scores; 0 where none counts.

    Raises
    ------
    ValueError
        For shapes that do not fit or values that are not finite.
    """
    boxes = _array("box_scores", box_scores, (None,))
    joints = _array("joint_scores", joint_scores, (len(boxes), None))
    counted = joints > threshold
    total = np.where(counted, joints, 0.0).sum(axis=1)
    mean: Floats = total / np.maximum(counted.sum(axis=1), 1)
    return boxes * mean


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
    """
    poses = {name: values[poses["broken"] < 0] for name, values in poses.items()}
    poses["score"] = rescore(poses["box_score"], poses["joint_scores"], joint_threshold)
    by_image: dict[int, list[int]] = defaultdict(list)
    for row, image_id in enumerate(poses["image_id"].tolist()):
        by_image[image_id].append(row)
    kept: list[int] = []
    for rows in by_image.values():
        points, scores, areas = (poses[name][rows] for name in ("keypoints", "score", "area"))
        kept += [rows[i] for i in oks_nms(points, scores, areas, sigmas, nms_threshold)]
    order = np.asarray(sorted(kept), dtype=np.int64)
    return {name: values[order] for name, values in poses.items()}
