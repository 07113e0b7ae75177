"""OKS, its suppression and rescoring against numbers worked out by hand and naive loops."""

from __future__ import annotations

import math

import numpy as np
import pytest

from spectral_residual.pose.oks import oks, oks_nms, rescore, rescored_poses

HALF_BODY = [0.026, *[0.025] * 2, *[0.035] * 2, *[0.079] * 2, *[0.072] * 2, *[0.062] * 2]
COCO_SIGMAS = np.array([*HALF_BODY, *[0.107] * 2, *[0.087] * 2, *[0.089] * 2])


def naive_oks(a, b, area_a, area_b, sigmas):
    total = 0.0
    for j, sigma in enumerate(sigmas):
        squared = (a[j][0] - b[j][0]) ** 2 + (a[j][1] - b[j][1]) ** 2
        total += math.exp(-squared / (2 * (2 * sigma) ** 2 * (area_a + area_b) / 2))
    return total / len(sigmas)


def naive_nms(poses, scores, areas, sigmas, threshold):
    kept = []
    for index in sorted(range(len(poses)), key=lambda i: -scores[i]):
        similar = (naive_oks(poses[k], poses[index], areas[k], areas[index], sigmas) for k in kept)
        if all(value <= threshold for value in similar):
            kept.append(index)
    return kept


@pytest.mark.parametrize(("shift", "expected"), [(1, 0.993990), (5, 0.871155), (10, 0.646995)])
@pytest.mark.parametrize("direction", [(1.0, 0.0), (0.6, -0.8)])
def test_shift_of_all_joints(shift, expected, direction):
    pose = np.random.default_rng(0).uniform(0, 100, (17, 2))
    moved = pose + shift * np.array(direction)
    assert oks(pose, moved[None], 1e4, np.array([1e4]), COCO_SIGMAS)[0] == pytest.approx(
        expected, abs=5e-7
    )


def test_distance_of_the_nose_at_half_similarity():
    nose, other = np.zeros((1, 2)), np.array([[[6.1225, 0.0]]])
    value = oks(nose, other, 1e4, np.array([1e4]), np.array([0.026]))[0]
    assert value == pytest.approx(0.5, abs=1e-5)


@pytest.mark.parametrize("joints", [1, 14, 17])
def test_equals_the_loop(joints):
    rng = np.random.default_rng(joints)
    sigmas = rng.uniform(0.02, 0.12, joints)
    a = rng.uniform(0, 60, (joints, 2))
    b = a + rng.normal(0, 12, (7, joints, 2))
    areas = rng.uniform(200, 9000, 7)
    got = oks(a, b, 3000.0, areas, sigmas)
    expected = [naive_oks(a, b[m], 3000.0, areas[m], sigmas) for m in range(7)]
    np.testing.assert_allclose(got, expected, rtol=1e-13)


def test_no_others_and_no_area():
    none = oks(np.zeros((3, 2)), np.zeros((0, 3, 2)), 1.0, np.zeros(0), np.full(3, 0.1))
    assert none.shape == (0,)
    pose = np.zeros((2, 2))
    got = oks(pose, np.stack([pose, pose + 1]), 0.0, np.zeros(2), np.full(2, 0.1))
    np.testing.assert_array_equal(got, [1.0, 0.0])


def test_nms_drops_duplicates_and_keeps_the_distant():
    pose = np.random.default_rng(1).uniform(0, 100, (17, 2))
    poses = np.stack([pose, pose + 300, pose, pose + 300])
    scores = np.array([0.5, 0.9, 0.8, 0.7])
    assert oks_nms(poses, scores, np.full(4, 1e4), COCO_SIGMAS, 0.9) == [1, 2]


def test_nms_threshold_is_strict():
    pose = np.random.default_rng(2).uniform(0, 100, (17, 2))
    poses = np.stack([pose, pose + 2])
    similarity = oks(poses[0], poses[1:], 1e4, np.array([1e4]), COCO_SIGMAS)[0]
    assert 0.9 < similarity < 1
    arguments = (poses, np.array([1.0, 0.5]), np.full(2, 1e4), COCO_SIGMAS)
    assert oks_nms(*arguments, threshold=similarity) == [0, 1]
    assert oks_nms(*arguments, threshold=np.nextafter(similarity, 0)) == [0]


def test_nms_is_greedy_not_transitive():
    """The middle pose falls to the first and no longer stands against the last."""
    pose = np.random.default_rng(3).uniform(0, 100, (17, 2))
    poses = pose + np.array([0.0, 3.0, 6.0])[:, None, None] * np.array([1.0, 0.0])
    areas = np.full(3, 1e4)
    assert oks(poses[0], poses[1:], 1e4, areas[1:], COCO_SIGMAS) == pytest.approx(
        [0.95, 0.83], abs=0.02
    )
    assert oks_nms(poses, np.array([3, 2, 1]), areas, COCO_SIGMAS, 0.9) == [0, 2]
    assert oks_nms(poses, np.array([2, 3, 1]), areas, COCO_SIGMAS, 0.9) == [1]


@pytest.mark.parametrize("threshold", [0.3, 0.9])
def test_nms_equals_the_loop(threshold):
    rng = np.random.default_rng(4)
    centres = rng.uniform(0, 400, (8, 14, 2))
    poses = (centres[:, None] + rng.normal(0, 3, (8, 5, 14, 2))).reshape(40, 14, 2)
    scores = rng.integers(0, 12, 40) / 12
    areas = rng.uniform(2000, 9000, 40)
    sigmas = rng.uniform(0.05, 0.1, 14)
    expected = naive_nms(poses, scores, areas, sigmas, threshold)
    assert 8 <= len(expected) < 40
    assert oks_nms(poses, scores, areas, sigmas, threshold) == expected


def test_nms_of_nothing():
    assert oks_nms(np.zeros((0, 17, 2)), np.zeros(0), np.zeros(0), COCO_SIGMAS, 0.9) == []
    nothing = {name: values[:0] for name, values in poses_of(2, 17).items()}
    kept = rescored_poses(nothing, COCO_SIGMAS, 0.2, 0.9)
    assert {name: len(values) for name, values in kept.items()} == dict.fromkeys(kept, 0)
    assert kept["image_id"].dtype == np.int64


def poses_of(count, joints):
    return {
        "index": np.arange(count),
        "image_id": np.ones(count, dtype=np.int64),
        "keypoints": np.random.default_rng(0).uniform(0, 300, (count, joints, 2)),
        "joint_scores": np.full((count, joints), 0.8, dtype=np.float32),
        "box_score": np.ones(count),
        "area": np.full(count, 1e4),
        "broken": np.full(count, -1),
    }


def test_rescore():
    joints = np.array([[0.2, 0.3, 0.5], [0.1, 0.2, -1.0], [0.9, 0.9, 0.9]])
    got = rescore(np.array([1.0, 0.7, 0.5]), joints, 0.2)
    np.testing.assert_allclose(got, [0.4, 0.0, 0.45], rtol=1e-15)
    assert rescore(np.zeros(0), np.zeros((0, 17)), 0.2).shape == (0,)


def test_rescore_of_another_threshold():
    assert rescore(np.ones(1), np.array([[0.1, 0.6]]), 0.0)[0] == pytest.approx(0.35)


def test_poses_of_unreadable_images_are_left_out():
    poses = poses_of(3, 17)
    poses["broken"][1] = 1
    kept = rescored_poses(poses, COCO_SIGMAS, 0.2, 0.9)
    assert kept["index"].tolist() == [0, 2]
    np.testing.assert_allclose(kept["score"], np.float64(np.float32(0.8)), rtol=1e-15)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"keypoints": np.zeros((2, 3))}, r"keypoints: got shape \(2, 3\), expected \(2, 3, 2\)"),
        ({"keypoints": np.zeros((2, 4, 2))}, "keypoints: got shape"),
        ({"keypoints": np.full((2, 3, 2), np.nan)}, "keypoints: got NaN"),
        ({"joint_scores": np.ones((2, 1))}, r"joint_scores: .*\(2, 1\), expected \(2, 3\)"),
        ({"area": np.array([1.0, -1.0])}, "area: got -1"),
        ({"area": np.array([1.0, np.inf])}, "area: got NaN or inf"),
        ({"box_score": np.ones((2, 1))}, r"box_score: got shape \(2, 1\), expected \(2\)"),
    ],
)
def test_errors_of_poses(changed, message):
    with pytest.raises(ValueError, match=message):
        rescored_poses({**poses_of(2, 3), **changed}, [0.1] * 3, 0.2, 0.9)


@pytest.mark.parametrize("sigmas", [[], [0.0, 0.1, 0.1], [0.1, math.nan, 0.1], [[0.1] * 3]])
def test_errors_of_sigmas(sigmas):
    with pytest.raises(ValueError, match="sigmas"):
        rescored_poses(poses_of(2, 3), sigmas, 0.2, 0.9)
