"""Random views of a person."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from spectral_residual.pose.augment import AugmentConfig, PoseAugment, View
from spectral_residual.pose.geometry import apply_affine, crop_matrix, mirror_first, warp
from spectral_residual.pose.skeleton import COCO, Skeleton

STILL = AugmentConfig(scale=0.0, rotation_probability=0.0, flip_probability=0.0)
WIDTH = 200
ASPECT = 0.75
CENTER, SIZE = np.array([80.0, 70.0]), np.array([90.0, 120.0])


def person(seed=0, hidden=(3, 8), dtype=np.float32):
    joints = np.random.default_rng(seed).uniform(10, 150, (17, 2)).astype(dtype)
    visible = np.ones(17, dtype)
    visible[list(hidden)] = 0
    joints[list(hidden)] = 0
    return joints, visible


def view(config, joints, visible, seed=0, skeleton=COCO):
    augment = PoseAugment(config, skeleton)
    rng = np.random.default_rng(seed)
    return augment(View(CENTER, SIZE, joints, visible), WIDTH, ASPECT, rng)


def test_nothing_drawn_is_the_identity_in_new_arrays():
    joints, visible = person()
    got = view(STILL, joints, visible)
    assert (got.rotation_deg, got.flipped) == (0.0, False)
    for mine, theirs in [
        (got.center, CENTER),
        (got.size, SIZE),
        (got.joints, joints),
        (got.visible, visible),
    ]:
        np.testing.assert_array_equal(mine, theirs)
        assert not np.shares_memory(mine, theirs)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_flip_mirrors_and_swaps(dtype):
    joints, visible = person(dtype=dtype)
    got = view(replace(STILL, flip_probability=1.0), joints, visible)
    assert got.flipped
    assert got.center.tolist() == [199 - 80, 70]
    assert got.joints.dtype == dtype
    for k, name in enumerate(COCO.names):
        side, _, part = name.partition("_")
        other = {"left": "right_", "right": "left_"}.get(side, side) + part
        source = COCO.names.index(other)
        assert got.visible[k] == visible[source]
        x, y = joints[source]
        expected = [199 - x, y] if visible[source] else [0, 0]
        np.testing.assert_allclose(got.joints[k], expected)
    assert got.visible[[4, 7]].tolist() == [0, 0]  # the partners of joints 3 and 8


def test_flip_twice_is_the_identity():
    joints, visible = person()
    augment = PoseAugment(replace(STILL, flip_probability=1.0), COCO)
    rng = np.random.default_rng(0)
    once = augment(View(CENTER, SIZE, joints, visible), WIDTH, ASPECT, rng)
    twice = augment(once, WIDTH, ASPECT, rng)
    np.testing.assert_allclose(twice.joints, joints, atol=1e-5)
    np.testing.assert_array_equal(twice.visible, visible)
    np.testing.assert_array_equal(twice.center, CENTER)


@pytest.mark.parametrize("seed", range(4))
def test_inputs_are_not_modified(seed):
    joints, visible = person()
    center, size = CENTER.copy(), SIZE.copy()
    arrays = (center, size, joints, visible)
    for array in arrays:
        array.flags.writeable = False
    before = [array.copy() for array in arrays]
    config = AugmentConfig(
        rotation_probability=1.0,
        flip_probability=1.0,
        half_body_probability=1.0,
        half_body_upper=COCO.names[:11],
    )
    PoseAugment(config, COCO)(View(*arrays), WIDTH, ASPECT, np.random.default_rng(seed))
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_the_same_generator_gives_the_same_view():
    joints, visible = person()
    first, second = (view(AugmentConfig(), joints, visible, seed=3) for _ in range(2))
    other = view(AugmentConfig(), joints, visible, seed=4)
    np.testing.assert_array_equal(first.size, second.size)
    np.testing.assert_array_equal(first.joints, second.joints)
    assert first.rotation_deg == second.rotation_deg
    assert not np.array_equal(first.size, other.size)


def test_statistics_of_the_defaults():
    joints, visible = person()
    augment = PoseAugment(AugmentConfig(), COCO)
    rng = np.random.default_rng(0)
    count = 100_000
    given = View(CENTER, SIZE, joints, visible)
    views = [augment(given, WIDTH, ASPECT, rng) for _ in range(count)]
    scale = np.array([v.size / SIZE for v in views])
    rotation = np.array([v.rotation_deg for v in views])
    flipped = np.array([v.flipped for v in views])

    def check(observed, probability):
        error = 4 * math.sqrt(probability * (1 - probability) / count)
        assert observed.mean() == pytest.approx(probability, abs=error)

    np.testing.assert_allclose(scale[:, 0], scale[:, 1])
    assert scale.min() == pytest.approx(0.7)
    assert scale.max() == pytest.approx(1.3)
    check(np.isclose(scale[:, 0], 0.7), 0.15866)
    check(np.isclose(scale[:, 0], 1.3), 0.15866)
    check(rotation == 0, 0.4)
    assert np.abs(rotation).max() == 80
    check(np.abs(rotation) == 80, 0.6 * 0.0455)
    check(rotation > 0, 0.3)
    check(flipped, 0.5)
    check((rotation == 0) & flipped, 0.2)
    inner = scale[(scale[:, 0] > 0.701) & (scale[:, 0] < 1.299), 0]
    # The standard deviation of a normal variable truncated at +-1 is 0.5396.
    assert inner.std() == pytest.approx(0.3 * 0.5396, rel=0.03)
    turned = rotation[(rotation != 0) & (np.abs(rotation) < 80)]
    # ... truncated at +-2: 0.8796.
    assert turned.std() == pytest.approx(40 * 0.8796, rel=0.03)


@pytest.mark.parametrize("seed", range(8))
def test_one_warp_brings_the_image_landmark_to_the_mapped_joint(seed):
    hw = (128, 96)
    config = AugmentConfig(rotation_probability=1.0)
    joints, visible = person(hidden=(), dtype=np.float64)
    joints[5] = [85.3, 66.8]  # left_shoulder
    got = view(config, joints, visible, seed=seed)
    yy, xx = np.mgrid[:160, :WIDTH]
    image = 240 * np.exp(-((xx - 85.3) ** 2 + (yy - 66.8) ** 2) / 18)
    crop = crop_matrix(got.center, got.size, got.rotation_deg, hw)
    matrix = mirror_first(crop, WIDTH) if got.flipped else crop
    out = warp(image.round().astype(np.uint8), matrix, hw).astype(np.float64)
    yy, xx = np.mgrid[: hw[0], : hw[1]]
    landmark = np.array([(xx * out).sum(), (yy * out).sum()]) / out.sum()
    joint = 6 if got.flipped else 5
    np.testing.assert_allclose(landmark, apply_affine(got.joints[joint], crop), atol=0.1)


# Half body


HALF = replace(STILL, half_body_probability=1.0, half_body_upper=COCO.names[:11])


def naive_half(joints, ids):
    chosen = [joints[k] for k in ids]
    xs, ys = [float(p[0]) for p in chosen], [float(p[1]) for p in chosen]
    w, h = max(xs) - min(xs), max(ys) - min(ys)
    if w > ASPECT * h:
        h = w / ASPECT
    else:
        w = h * ASPECT
    return np.array([np.mean(xs), np.mean(ys)]), np.array([1.5 * w, 1.5 * h])


def test_half_body_is_upper_69_percent_of_the_time():
    joints, visible = person(hidden=(0, 12))
    upper, lower = naive_half(joints, range(1, 11)), naive_half(joints, (11, 13, 14, 15, 16))
    augment, rng = PoseAugment(HALF, COCO), np.random.default_rng(0)
    count, uppers = 3000, 0
    for _ in range(count):
        got = augment(View(CENTER, SIZE, joints, visible), WIDTH, ASPECT, rng)
        is_upper = np.allclose(got.center, upper[0])
        np.testing.assert_allclose(got.center, (upper if is_upper else lower)[0], rtol=1e-6)
        np.testing.assert_allclose(got.size, (upper if is_upper else lower)[1], rtol=1e-6)
        uppers += is_upper
    probability = 0.5 * (1 + math.erf(0.5 / math.sqrt(2)))
    assert probability == pytest.approx(0.6915, abs=1e-4)
    error = 4 * math.sqrt(probability * (1 - probability) / count)
    assert uppers / count == pytest.approx(probability, abs=error)


@pytest.mark.parametrize(
    ("hidden", "expected"),
    [
        (range(8), "either"),  # 9 labelled: 3 upper, 6 lower
        (range(9), None),  # 8 labelled are not more than 8
        (range(11, 15), "upper"),  # 2 lower
        ((), "either"),
    ],
)
def test_half_body_needs_enough_joints(hidden, expected):
    joints, visible = person(hidden=tuple(hidden))
    shown = [k for k in range(17) if k not in hidden]
    upper = naive_half(joints, [k for k in shown if k < 11])[0] if expected else CENTER
    centers = [view(HALF, joints, visible, seed=seed).center for seed in range(30)]
    matches = [np.allclose(center, upper) for center in centers]
    if expected == "either":
        assert any(matches)
        assert not all(matches)
    else:
        assert all(matches)


def test_half_body_prefers_lower_when_upper_is_too_small():
    skeleton = Skeleton(tuple(f"j{k}" for k in range(8)), (), None, ())
    joints, visible = person(hidden=())
    config = replace(STILL, half_body_probability=1.0, half_body_upper=("j0", "j1"))
    lower = naive_half(joints, range(2, 8))[0]
    for seed in range(20):
        got = view(config, joints[:8], visible[:8], seed=seed, skeleton=skeleton)
        np.testing.assert_allclose(got.center, lower, rtol=1e-6)


def test_half_body_without_extent_or_with_one_joint_changes_nothing():
    joints, visible = person(hidden=())
    joints[:] = 50.0
    np.testing.assert_array_equal(view(HALF, joints, visible).center, CENTER)
    skeleton = Skeleton(("a",), (), None, ())
    config = replace(STILL, half_body_probability=1.0, half_body_upper=("a",))
    got = view(config, joints[:1], visible[:1], skeleton=skeleton)
    np.testing.assert_array_equal(got.size, SIZE)


# Errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 1.0}, "scale: got 1.0"),
        ({"scale": -0.1}, "scale"),
        ({"scale": math.nan}, "scale"),
        ({"rotation": -1}, "rotation: got -1"),
        ({"rotation_probability": 1.1}, "rotation_probability: got 1.1"),
        ({"flip_probability": -0.5}, "flip_probability"),
        ({"half_body_probability": 2}, "half_body_probability"),
        ({"half_body_probability": 0.3}, "half_body_upper: got no joint"),
    ],
)
def test_config_errors(options, message):
    with pytest.raises(ValueError, match=message):
        AugmentConfig(**options)


def test_errors_of_names_and_shapes():
    with pytest.raises(ValueError, match="half_body_upper 'left_sholder'; did you mean"):
        PoseAugment(AugmentConfig(half_body_upper=("left_sholder",)), COCO)
    joints, visible = person()
    with pytest.raises(ValueError, match=r"joints: got shape \(16, 2\), expected \(17, 2\)"):
        view(STILL, joints[:16], visible)
