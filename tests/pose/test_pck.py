"""PCK against a loop, and at its bounds."""

from __future__ import annotations

import math

import pytest
import torch

from spectral_residual.pose.pck import pck


def poses(samples, joints, seed):
    generator = torch.Generator().manual_seed(seed)
    target = 100 * torch.rand(samples, joints, 2, generator=generator, dtype=torch.float64)
    noise = torch.randn(samples, joints, 2, generator=generator, dtype=torch.float64)
    visible = (torch.rand(samples, joints, generator=generator) < 0.7).long()
    length = 20 + 30 * torch.rand(samples, generator=generator, dtype=torch.float64)
    return target + 8 * noise, target, visible, length


def naive(predicted, target, visible, length, threshold):
    joints = target.shape[1]
    correct, counted = [0] * joints, [0] * joints
    for n in range(len(target)):
        for j in range(joints):
            if visible[n, j]:
                (x, y), (u, v) = predicted[n, j].tolist(), target[n, j].tolist()
                counted[j] += 1
                correct[j] += math.hypot(x - u, y - v) <= threshold * length[n].item()
    per_joint = [c / m if m else math.nan for c, m in zip(correct, counted, strict=True)]
    return sum(correct) / sum(counted), per_joint


@pytest.mark.parametrize("threshold", [0.1, 0.2, 0.5])
def test_equals_the_loop(threshold):
    data = poses(50, 14, seed=0)
    data[2][:, 3] = 0
    overall, per_joint = naive(*data, threshold)
    assert 0.05 < overall < 0.95
    assert pck(*data, threshold) == pytest.approx(overall, rel=1e-6)
    assert of_each_joint(*data, threshold) == pytest.approx(per_joint, rel=1e-6, nan_ok=True)
    assert [j for j, value in enumerate(per_joint) if math.isnan(value)] == [3]


def of_each_joint(predicted, target, visible, length, threshold):
    return [
        pck(predicted[:, j, None], target[:, j, None], visible[:, j, None], length, threshold)
        for j in range(predicted.shape[1])
    ]


def test_the_bound_counts_as_correct():
    target = torch.zeros(1, 2, 2, dtype=torch.float64)
    predicted = torch.tensor([[[3.0, 4.0], [3.0, 4.0 + 1e-9]]], dtype=torch.float64)
    got = of_each_joint(predicted, target, torch.ones(1, 2), torch.tensor([10.0]), 0.5)
    assert got == [1.0, 0.0]


def test_overall_weighs_by_visible_joints():
    """Three visible left joints, all right, and one right joint, wrong: 3 of 4."""
    target = torch.zeros(3, 2, 2)
    predicted = target.clone()
    predicted[0, 1] = 50
    visible = torch.tensor([[1, 1], [1, 0], [1, 0]])
    arguments = (predicted, target, visible, torch.full((3,), 10.0), 0.5)
    assert pck(*arguments) == 0.75
    assert of_each_joint(*arguments) == [1.0, 0.0]


def test_nan_is_wrong_where_visible_and_ignored_where_not():
    target = torch.tensor([[[0.0, 0.0], [math.nan, math.nan]]])
    predicted = torch.tensor([[[math.nan, 0.0], [1.0, 1.0]]])
    got = pck(predicted, target, torch.tensor([[True, False]]), torch.tensor([1.0]), 0.5)
    assert got == 0.0


def test_nothing_visible_is_nan_and_needs_no_length():
    empty = torch.zeros(2, 3, 2)
    assert math.isnan(pck(empty, empty, torch.zeros(2, 3), torch.zeros(2), 0.5))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({0: torch.zeros(2, 6)}, r"predicted: got shape \(2, 6\), expected \(N, K, 2\)"),
        ({1: torch.zeros(2, 4, 2)}, r"target: got shape \(2, 4, 2\), expected \(2, 3, 2\)"),
        ({2: torch.ones(2, 3, 1)}, r"visible: got shape \(2, 3, 1\), expected \(2, 3\)"),
        ({3: torch.ones(3)}, r"reference_length: got shape \(3,\), expected \(2\)"),
        ({3: torch.tensor([1.0, 0.0])}, r"reference_length: got \[1.0, 0.0\]"),
        ({3: torch.tensor([1.0, math.nan])}, "reference_length: got .*nan"),
    ],
)
def test_errors_of_shapes_and_lengths(changed, message):
    arguments = [torch.zeros(2, 3, 2), torch.zeros(2, 3, 2), torch.ones(2, 3), torch.ones(2)]
    for position, value in changed.items():
        arguments[position] = value
    with pytest.raises(ValueError, match=message):
        pck(*arguments, 0.5)


@pytest.mark.parametrize("threshold", [0.0, -1.0, math.nan, math.inf])
def test_errors_of_the_threshold(threshold):
    with pytest.raises(ValueError, match="threshold: got"):
        pck(*poses(2, 3, seed=5), threshold)
