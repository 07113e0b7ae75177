"""PCK against a loop, over batches, over processes, and at its bounds."""

from __future__ import annotations

import math

import pytest
import torch

from spectral_residual.pose import pck
from spectral_residual.pose.pck import PCK


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
    for got in (pck(*data, threshold), filled(threshold, 14, data)):
        assert got["pck"].item() == pytest.approx(overall, rel=1e-6)
        expected = torch.tensor(per_joint)
        torch.testing.assert_close(got["per_joint"], expected, equal_nan=True)
        assert got["per_joint"].isnan().nonzero().flatten().tolist() == [3]


def filled(threshold, joints, *batches):
    metric = PCK(threshold=threshold, num_joints=joints)
    for batch in batches:
        metric.update(*batch)
    return metric.compute()


def test_batches_of_unequal_size_and_merged_instances_equal_one():
    data = poses(31, 5, seed=1)
    first, second = ([value[part] for value in data] for part in (slice(0, 4), slice(4, None)))
    whole = filled(0.2, 5, data)
    in_batches = filled(0.2, 5, first, second)
    left, right = PCK(threshold=0.2, num_joints=5), PCK(threshold=0.2, num_joints=5)
    left.update(*first)
    right.update(*second)
    left.merge_state(right)
    for got in (in_batches, left.compute()):
        assert torch.equal(got["pck"], whole["pck"])
        assert torch.equal(got["per_joint"], whole["per_joint"])


def test_states_are_summed_over_processes_as_integers():
    data = poses(9, 3, seed=2)
    metric = PCK(
        threshold=0.2,
        num_joints=3,
        dist_sync_fn=lambda state, group: [state, state, torch.ones_like(state)],
        distributed_available_fn=lambda: True,
        sync_on_compute=False,
    )
    metric.update(*data)
    alone = metric.counted.clone()
    assert alone.dtype == torch.int64
    with metric.sync_context(dist_sync_fn=metric.dist_sync_fn, distributed_available=lambda: True):
        assert torch.equal(metric.counted, 2 * alone + 1)
    assert torch.equal(metric.counted, alone)


def test_reset_empties():
    metric = PCK(threshold=0.2, num_joints=3)
    metric.update(*poses(9, 3, seed=3))
    metric.reset()
    metric.update(*poses(4, 3, seed=4))
    assert torch.equal(metric.compute()["pck"], pck(*poses(4, 3, seed=4), 0.2)["pck"])


def test_the_bound_counts_as_correct():
    target = torch.zeros(1, 2, 2, dtype=torch.float64)
    predicted = torch.tensor([[[3.0, 4.0], [3.0, 4.0 + 1e-9]]], dtype=torch.float64)
    got = pck(predicted, target, torch.ones(1, 2), torch.tensor([10.0]), 0.5)
    assert got["per_joint"].tolist() == [1.0, 0.0]


def test_overall_weighs_by_visible_joints():
    """Three visible left joints, all right, and one right joint, wrong: 3 of 4."""
    target = torch.zeros(3, 2, 2)
    predicted = target.clone()
    predicted[0, 1] = 50
    visible = torch.tensor([[1, 1], [1, 0], [1, 0]])
    got = pck(predicted, target, visible, torch.full((3,), 10.0), 0.5)
    assert got["pck"].item() == 0.75
    assert got["per_joint"].tolist() == [1.0, 0.0]


def test_nan_is_wrong_where_visible_and_ignored_where_not():
    target = torch.tensor([[[0.0, 0.0], [math.nan, math.nan]]])
    predicted = torch.tensor([[[math.nan, 0.0], [1.0, 1.0]]])
    got = pck(predicted, target, torch.tensor([[True, False]]), torch.tensor([1.0]), 0.5)
    assert got["pck"].item() == 0.0


def test_nothing_visible_is_nan_and_needs_no_length():
    empty = torch.zeros(2, 3, 2)
    got = pck(empty, empty, torch.zeros(2, 3), torch.zeros(2), 0.5)
    assert got["pck"].isnan()
    assert got["per_joint"].isnan().all()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({0: torch.zeros(2, 6)}, r"predicted: got shape \(2, 6\), expected \(N, K, 2\)"),
        ({1: torch.zeros(2, 4, 2)}, r"target: got shape \(2, 4, 2\), expected \(2, 3, 2\)"),
        ({2: torch.ones(2, 3, 1)}, r"visible: got shape \(2, 3, 1\), expected \(2, 3\)"),
        ({3: torch.ones(3)}, r"reference_length: got shape \(3,\), expected \(2,\)"),
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


def test_errors_of_options():
    for threshold in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="threshold: got"):
            PCK(threshold=threshold, num_joints=3)
    with pytest.raises(ValueError, match="num_joints: got 0"):
        PCK(threshold=0.5, num_joints=0)
    with pytest.raises(ValueError, match=r"expected \(N, 4, 2\)"):
        PCK(threshold=0.5, num_joints=4).update(*poses(2, 3, seed=5))
