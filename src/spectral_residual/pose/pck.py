"""Percentage of correct keypoints (PCK).

A visible joint is correct if its distance to the target is at most `threshold` times the
sample's reference length (torso or head length, or the larger side of the box), after Yang and
Ramanan, "Articulated Human Detection with Flexible Mixtures of Parts", TPAMI 2013. The bound
itself counts as correct, as in the evaluation code of MPII Human Pose (mmpose has ``<``).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .checks import check_shape


def pck(
    predicted: Tensor,
    target: Tensor,
    visible: Tensor,
    reference_length: Tensor,
    threshold: float,
) -> float:
    """Fraction of correct keypoints of a set of poses.

    Parameters
    ----------
    predicted : Tensor, shape (N, K, 2)
        Predicted joints, [x, y] in pixels; NaN counts as wrong.
    target : Tensor, shape (N, K, 2)
        True joints, [x, y] in pixels; read only where visible.
    visible : Tensor, shape (N, K)
        Joints above 0 (or True) count.
    reference_length : Tensor, shape (N,)
        Length by which distances are judged, in pixels; positive where a joint is visible.
    threshold : float
        Fraction of the reference length, such as 0.2 (torso) or 0.5 (head).

    Returns
    -------
    float
        Fraction, in [0, 1], of all visible joints that are correct, so that a joint labelled more
        often weighs more. NaN where no joint is visible.

    Raises
    ------
    ValueError
        For shapes that do not fit, a threshold or a needed reference length that is not
        positive and finite.
    """
    if not (math.isfinite(threshold) and threshold > 0):
        raise ValueError(f"threshold: got {threshold}, expected a positive number")
    check_shape("predicted", predicted, "N", "K", 2)
    check_shape("target", target, *predicted.shape)
    check_shape("visible", visible, *predicted.shape[:2])
    check_shape("reference_length", reference_length, *predicted.shape[:1])
    counted = visible > 0
    used = reference_length[counted.any(dim=1)]
    if not bool(((used > 0) & torch.isfinite(used)).all()):
        raise ValueError(
            f"reference_length: got {used.tolist()}, expected positive finite lengths "
            "for all samples with a visible joint"
        )
    distance = torch.linalg.vector_norm(predicted - target, dim=-1)
    correct = (distance <= threshold * reference_length[:, None]) & counted
    return float(correct.sum() / counted.sum())
