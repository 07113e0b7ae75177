"""Measuring classification: top-k and mean class accuracy, confusion, pairs of classes.

Wherever scores are ranked, the higher comes first and, of equal ones, the class with the lower
number, so that top-1 is `torch.argmax`. A sample with a NaN among its scores is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix


def mean_probabilities(logits: Tensor) -> Tensor:
    """Average the class probabilities of several views: softmax first, then the mean.

    Parameters
    ----------
    logits : Tensor
        (..., V, classes), any range; V views of one sample.

    Returns
    -------
    Tensor
        (..., classes), in [0, 1], of sum 1, at least float32.
    """
    dtype = torch.promote_types(logits.dtype, torch.float32)
    return logits.softmax(dim=-1, dtype=dtype).mean(dim=-2)


def label_ranks(scores: Tensor, labels: Tensor) -> Tensor:
    """Place of the true class among all classes, 0 for the best.

    Parameters
    ----------
    scores : Tensor
        (N, classes), higher is better, any range.
    labels : Tensor
        (N,) int64, true classes in [0, classes).

    Returns
    -------
    Tensor
        (N,) int64 in [0, classes]; `classes` for a sample with a NaN.

    Raises
    ------
    ValueError
        For shapes that do not fit or labels out of range.
    """
    _check(scores, labels)
    own = scores.gather(1, labels[:, None])
    lower = torch.arange(scores.shape[1], device=scores.device) < labels[:, None]
    ranks = ((scores > own) | ((scores == own) & lower)).sum(dim=1)
    return ranks.masked_fill(scores.isnan().any(dim=1), scores.shape[1])


def class_accuracy(scores: Tensor, labels: Tensor) -> Tensor:
    """Top-1 accuracy among the samples of each class; `label_ranks` says what it takes.

    Returns
    -------
    Tensor
        (classes,) float64 in [0, 1]; NaN for a class without samples.
    """
    correct = (label_ranks(scores, labels) == 0).double()
    classes = scores.shape[1]
    return torch.bincount(labels, correct, classes) / torch.bincount(labels, minlength=classes)


def confusion_matrix(scores: Tensor, labels: Tensor) -> Tensor:
    """Count samples by true and by guessed class; `label_ranks` says what it takes.

    Samples with a NaN are left out.

    Returns
    -------
    Tensor
        (classes, classes) int64: row the true class, column the best guess.
    """
    _check(scores, labels)
    known = ~scores.isnan().any(dim=1)
    guesses = scores[known].argmax(dim=1)
    return multiclass_confusion_matrix(guesses, labels[known], scores.shape[1])


def pair_accuracy(scores: Tensor, labels: Tensor, pairs: Sequence[tuple[int, int]]) -> Tensor:
    """Tell two classes apart: only the scores of these two are compared.

    With pairs that differ in the direction of time alone this measures whether a model sees that
    direction, however well it knows what moves. Equal scores count one half, so that a model that
    cannot tell has 0.5.

    Parameters
    ----------
    scores, labels : Tensor
        As for `label_ranks`.
    pairs : sequence of (int, int)
        Two different classes each; samples of other classes are not looked at.

    Returns
    -------
    Tensor
        () float64 in [0, 1]: share of right decisions over the samples of all pairs; NaN without
        samples.

    Raises
    ------
    ValueError
        As `label_ranks`; if there are no pairs, or one has equal classes or one out of range.
    """
    _check(scores, labels)
    classes = scores.shape[1]
    if not pairs:
        raise ValueError("pairs: got none, expected at least one")
    decisions = []
    for pair in pairs:
        first, second = pair
        if first == second or not (0 <= first < classes and 0 <= second < classes):
            raise ValueError(
                f"pairs: got {tuple(pair)}, expected two different classes in [0, {classes})"
            )
        members = (labels == first) | (labels == second)
        sign = torch.where(labels[members] == first, 1, -1)
        difference = sign * (scores[members, first] - scores[members, second])
        decision = (difference > 0).double() + 0.5 * (difference == 0)
        decisions.append(decision.masked_fill(scores[members].isnan().any(dim=1), 0.0))
    return torch.cat(decisions).mean()


def classification_metrics(
    scores: Tensor, labels: Tensor, pairs: Sequence[tuple[int, int]] = ()
) -> dict[str, float]:
    """Metrics of a set of samples.

    Parameters
    ----------
    scores, labels : Tensor
        As for `label_ranks`.
    pairs : sequence of (int, int), optional
        As for `pair_accuracy`.

    Returns
    -------
    dict of str to float
        ``top1`` and ``top5``, shares of the samples whose true class is the best or among the
        five best (with five classes or fewer every sample without NaN); ``mean_class``, mean of
        `class_accuracy` over the classes that have samples; and, if there are pairs,
        ``direction``, their `pair_accuracy`. In [0, 1], NaN without samples.
    """
    ranks = label_ranks(scores, labels)
    metrics = {
        "top1": float((ranks == 0).double().mean()),
        "top5": float((ranks < min(5, scores.shape[1])).double().mean()),
        "mean_class": float(class_accuracy(scores, labels).nanmean()),
    }
    if pairs:
        metrics["direction"] = float(pair_accuracy(scores, labels, pairs))
    return metrics


def _check(scores: Tensor, labels: Tensor) -> None:
    if scores.dim() != 2 or labels.shape != scores.shape[:1]:
        raise ValueError(
            f"scores, labels: got shapes {tuple(scores.shape)} and {tuple(labels.shape)}, "
            "expected (N, classes) and (N,)"
        )
    outside = labels[(labels < 0) | (labels >= scores.shape[1])]
    if len(outside):
        raise ValueError(
            f"labels: got {outside[:5].tolist()}, expected classes in [0, {scores.shape[1]})"
        )
