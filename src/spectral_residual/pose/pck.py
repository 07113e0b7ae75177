"""Percentage of correct keypoints (PCK).

A visible joint is correct if its distance to the target is at most `threshold` times the
sample's reference length (torso or head length, or the larger side of the box), after Yang and
Ramanan, "Articulated Human Detection with Flexible Mixtures of Parts", TPAMI 2013. The bound
itself counts as correct, as in the evaluation code of MPII Human Pose (mmpose has ``<``).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


def _check_threshold(threshold: float) -> None:
    if not (math.isfinite(threshold) and threshold > 0):
        raise ValueError(f"threshold: got {threshold}, expected a positive number")


def _check_shape(name: str, value: Tensor, expected: tuple[int, ...]) -> None:
    if value.shape != expected:
        raise ValueError(f"{name}: got shape {tuple(value.shape)}, expected {expected}")


def _counts(
    predicted: Tensor,
    target: Tensor,
    visible: Tensor,
    reference_length: Tensor,
    threshold: float,
) -> tuple[Tensor, Tensor]:
    """Count correct and visible joints: two int64 tensors of shape (K,)."""
    if predicted.dim() != 3 or predicted.shape[2] != 2:
        raise ValueError(f"predicted: got shape {tuple(predicted.shape)}, expected (N, K, 2)")
    samples, joints, _ = predicted.shape
    _check_shape("target", target, (samples, joints, 2))
    _check_shape("visible", visible, (samples, joints))
    _check_shape("reference_length", reference_length, (samples,))
    counted = visible > 0
    used = reference_length[counted.any(dim=1)]
    if not bool(((used > 0) & torch.isfinite(used)).all()):
        raise ValueError(
            f"reference_length: got {used.tolist()}, expected positive finite lengths "
            "for all samples with a visible joint"
        )
    distance = torch.linalg.vector_norm(predicted - target, dim=-1)
    correct = (distance <= threshold * reference_length[:, None]) & counted
    return correct.sum(dim=0), counted.sum(dim=0)


def _fractions(correct: Tensor, counted: Tensor) -> dict[str, Tensor]:
    return {"pck": correct.sum() / counted.sum(), "per_joint": correct / counted}


def pck(
    predicted: Tensor,
    target: Tensor,
    visible: Tensor,
    reference_length: Tensor,
    threshold: float,
) -> dict[str, Tensor]:
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
    dict of Tensor
        ``"pck"``, shape (): the fraction, in [0, 1], of all visible joints that are correct, so
        that a joint labelled more often weighs more. ``"per_joint"``, shape (K,): the fraction
        for each joint. NaN where no joint is visible.

    Raises
    ------
    ValueError
        For shapes that do not fit, a threshold or a needed reference length that is not
        positive and finite.
    """
    _check_threshold(threshold)
    return _fractions(*_counts(predicted, target, visible, reference_length, threshold))


class PCK(Metric):
    """Fraction of correct keypoints, gathered over batches and over processes.

    The states are integer counts that are summed over processes, so the result does not depend
    on how the samples were split.

    Parameters
    ----------
    threshold : float
        Fraction of the reference length within which a joint is correct, the bound included.
    num_joints : int
        Number K of joints.
    **kwargs
        Options of :class:`torchmetrics.Metric`.

    Raises
    ------
    ValueError
        If `threshold` is not positive or `num_joints` is below 1.

    Examples
    --------
    >>> metric = PCK(threshold=0.5, num_joints=1)
    >>> target = torch.zeros(2, 1, 2)
    >>> predicted = torch.tensor([[[3.0, 4.0]], [[3.0, 4.1]]])
    >>> metric.update(predicted, target, torch.ones(2, 1), torch.tensor([10.0, 10.0]))
    >>> metric.compute()["pck"].item()
    0.5
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    correct: Tensor
    counted: Tensor

    def __init__(self, threshold: float, num_joints: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        _check_threshold(threshold)
        if num_joints < 1:
            raise ValueError(f"num_joints: got {num_joints}, expected at least 1")
        self.threshold = threshold
        self.num_joints = num_joints
        zeros = torch.zeros(num_joints, dtype=torch.int64)
        self.add_state("correct", default=zeros.clone(), dist_reduce_fx="sum")
        self.add_state("counted", default=zeros.clone(), dist_reduce_fx="sum")

    def update(
        self, predicted: Tensor, target: Tensor, visible: Tensor, reference_length: Tensor
    ) -> None:
        """Add a batch.

        Parameters
        ----------
        predicted, target : Tensor, shape (N, K, 2)
            Predicted and true joints, [x, y] in pixels.
        visible : Tensor, shape (N, K)
            Joints above 0 (or True) count.
        reference_length : Tensor, shape (N,)
            Pixels; positive where a joint is visible.

        Raises
        ------
        ValueError
            As :func:`pck`, and if K differs from `num_joints`.
        """
        if predicted.dim() != 3 or predicted.shape[1] != self.num_joints:
            raise ValueError(
                f"predicted: got shape {tuple(predicted.shape)}, expected (N, {self.num_joints}, 2)"
            )
        correct, counted = _counts(predicted, target, visible, reference_length, self.threshold)
        self.correct += correct
        self.counted += counted

    def compute(self) -> dict[str, Tensor]:
        """Return the fractions over all samples added so far.

        Returns
        -------
        dict of Tensor
            ``"pck"``, shape (), and ``"per_joint"``, shape (K,), in [0, 1], NaN where no joint
            was visible; see :func:`pck`.
        """
        return _fractions(self.correct, self.counted)
