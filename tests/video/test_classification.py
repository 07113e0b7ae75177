"""Classification metrics against naive counting."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spectral_residual.video.classification import (
    class_accuracy,
    classification_metrics,
    confusion_matrix,
    label_ranks,
    mean_probabilities,
    pair_accuracy,
)

NAN = float("nan")


@pytest.fixture
def sample():
    """Scores with many ties, and labels of classes 0 to 5 of 7."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(0, 4, (200, 7), generator=generator).double()
    return scores, torch.randint(0, 6, (200,), generator=generator)


def naive_ranking(row):
    return sorted(range(len(row)), key=lambda c: (-row[c], c))


@pytest.mark.parametrize("classes", [3, 5, 6, 7])
def test_top_k_is_a_stable_sort(sample, classes):
    scores, labels = sample
    scores, labels = scores[labels < classes, :classes], labels[labels < classes]
    metrics = classification_metrics(scores, labels)
    for k in (1, 5):
        hits = [
            label in naive_ranking(row)[:k]
            for row, label in zip(scores.tolist(), labels.tolist(), strict=True)
        ]
        assert metrics[f"top{k}"] == pytest.approx(np.mean(hits), abs=1e-12)
        assert (k >= classes) == all(hits)


def test_ranks(sample):
    scores, labels = sample
    expected = [
        naive_ranking(row).index(label)
        for row, label in zip(scores.tolist(), labels.tolist(), strict=True)
    ]
    assert label_ranks(scores, labels).tolist() == expected
    first = scores.argmax(dim=1) == labels
    assert classification_metrics(scores, labels)["top1"] == float(first.double().mean())


def test_five_ties_of_six():
    scores, labels = torch.zeros(6, 6), torch.arange(6)
    metrics = classification_metrics(scores, labels)
    assert metrics["top5"] == pytest.approx(5 / 6)
    assert metrics["top1"] == pytest.approx(1 / 6)


def test_confusion_and_class_accuracy(sample):
    scores, labels = sample
    counted = np.zeros((7, 7), dtype=int)
    for row, label in zip(scores.tolist(), labels.tolist(), strict=True):
        counted[label, naive_ranking(row)[0]] += 1
    np.testing.assert_array_equal(confusion_matrix(scores, labels).numpy(), counted)
    with np.errstate(invalid="ignore"):
        expected = np.diag(counted) / counted.sum(axis=1)
    assert np.isnan(expected[6])
    np.testing.assert_allclose(class_accuracy(scores, labels).numpy(), expected)
    metrics = classification_metrics(scores, labels)
    assert metrics["mean_class"] == pytest.approx(np.nanmean(expected))
    assert set(metrics) == {"top1", "top5", "mean_class"}


def test_nan_is_wrong_in_every_metric():
    scores = torch.tensor([[1.0, 0.0], [NAN, 0.0], [0.0, NAN], [NAN, NAN]])
    labels = torch.tensor([0, 0, 0, 1])
    metrics = classification_metrics(scores, labels)
    assert (metrics["top1"], metrics["top5"]) == (0.25, 0.25)
    assert class_accuracy(scores, labels).tolist() == [1 / 3, 0]
    assert confusion_matrix(scores, labels).tolist() == [[1, 0], [0, 0]]
    assert float(pair_accuracy(scores, labels, [(0, 1)])) == 0.25


def test_pairs_compare_two_scores_only():
    scores = torch.tensor(
        [
            [0.1, 0.2, 0.9, 0.9],  # of 0: wrong, though 2 and 3 are higher
            [0.3, 0.2, 0.9, 0.9],  # of 0: right
            [0.2, 0.2, 0.9, 0.0],  # of 1: equal
            [0.0, 0.1, 0.3, 0.2],  # of 2: right
            [9.0, 0.1, 0.3, 0.2],  # of 3: wrong
            [9.0, 0.1, 0.1, 0.2],  # of 3: right
        ]
    )
    labels = torch.tensor([0, 0, 1, 2, 3, 3])
    assert float(pair_accuracy(scores, labels, [(0, 1), (3, 2)])) == pytest.approx(3.5 / 6)
    for pair, accuracy in (((0, 1), 1.5 / 3), ((3, 2), 2 / 3)):
        for order in (pair, pair[::-1]):
            assert float(pair_accuracy(scores, labels, [order])) == pytest.approx(accuracy)
    metrics = classification_metrics(scores, labels, [(0, 1), (3, 2)])
    assert metrics["direction"] == pytest.approx(3.5 / 6)


def test_a_pair_without_samples_is_unknown():
    scores, labels = torch.eye(4), torch.tensor([0, 0, 1, 1])
    assert pair_accuracy(scores, labels, [(2, 3)]).isnan()
    both = pair_accuracy(scores, labels, [(0, 1), (2, 3)])
    assert float(both) == float(pair_accuracy(scores, labels, [(0, 1)]))


def test_softmax_comes_before_the_mean():
    logits = torch.tensor([[5.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 2.0, 0.0]])
    naive = np.zeros(3)
    for row in logits.double().numpy():
        naive += np.exp(row) / np.exp(row).sum() / 3
    averaged = mean_probabilities(logits)
    np.testing.assert_allclose(averaged, naive, rtol=1e-6)
    late = logits.mean(dim=0).softmax(dim=0)
    assert (averaged - late).abs().max() > 0.1
    assert mean_probabilities(logits.half()).dtype == torch.float32
    assert mean_probabilities(logits.double().expand(2, 4, 3, 3)).shape == (2, 4, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: label_ranks(torch.zeros(3), torch.zeros(3).long()), r"got shapes \(3,\)"),
        (lambda: label_ranks(torch.zeros(3, 2), torch.zeros(2).long()), "expected"),
        (lambda: confusion_matrix(torch.zeros(2, 2), torch.tensor([0, 2])), r"got \[2\]"),
        (lambda: class_accuracy(torch.zeros(2, 2), torch.tensor([0, -1])), r"got \[-1\]"),
        (lambda: pair_accuracy(torch.zeros(1, 2), torch.tensor([0]), []), "pairs: got none"),
        (lambda: pair_accuracy(torch.zeros(1, 2), torch.tensor([0]), [(1, 1)]), r"\(1, 1\)"),
        (lambda: pair_accuracy(torch.zeros(1, 2), torch.tensor([0]), [(0, 2)]), r"\(0, 2\)"),
    ],
)
def test_wrong_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
