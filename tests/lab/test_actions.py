"""Generated actions: what moves where, and that a pair differs in the direction of time alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spectral_residual.lab.generated.actions import (
    ACTION_PAIRS,
    ACTIONS,
    blend_poses,
    ease,
    render_action,
    sample_action,
    sample_course,
)
from spectral_residual.lab.generated.body import Limb, Pose, build_skeleton
from spectral_residual.lab.generated.render import render_scene
from spectral_residual.lab.generated.samples import wear

DRAWS = 60
LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_WRIST, RIGHT_WRIST, LEFT_HIP, LEFT_ANKLE = 5, 6, 9, 10, 11, 15


def joints_of(action):
    """Joints of all frames in the image, (T, 17, 2)."""
    return np.array([build_skeleton(person).joints[:, :2] for person in action.people])


@pytest.fixture(scope="module")
def many():
    """Joints (N, 5, 17, 2) of many short actions of each class, each of a seed of its own."""
    return {
        name: np.array(
            [
                joints_of(sample_action(name, np.random.default_rng([label, n]), frames=5))
                for n in range(DRAWS)
            ]
        )
        for label, name in enumerate(ACTIONS)
    }


def scores(first, second):
    """Differences of the means and mean squares of two samples (N, ...), in standard errors."""
    result = []
    for power in (1, 2):
        a, b = (((joints - 40) / 40) ** power for joints in (first, second))
        error = np.sqrt(a.var(axis=0, ddof=1) / len(a) + b.var(axis=0, ddof=1) / len(b))
        result.append((a.mean(axis=0) - b.mean(axis=0)) / error)
    return np.abs(result)


def test_the_names():
    assert len(ACTION_PAIRS) == 4
    assert [name for pair in ACTION_PAIRS for name in pair] == list(ACTIONS)
    assert len(set(ACTIONS)) == 8
    assert all(name.replace("_", "").isalpha() and name.islower() for name in ACTIONS)


@pytest.mark.parametrize("pair", ACTION_PAIRS, ids=lambda pair: pair[0])
def test_the_second_of_a_pair_is_the_first_backwards(pair):
    first, second = (sample_action(name, np.random.default_rng(3)) for name in pair)
    assert second.people == first.people[::-1]
    assert first.people != first.people[::-1]
    np.testing.assert_array_equal(second.camera, first.camera[::-1])
    assert (second.light, second.wear_seed) == (first.light, first.wear_seed)
    np.testing.assert_array_equal(second.background, first.background)
    np.testing.assert_array_equal(render_action(second), render_action(first)[::-1])


@pytest.mark.parametrize("pair", ACTION_PAIRS, ids=lambda pair: pair[0])
def test_joints_follow_the_reversed_law(many, pair):
    """Independent draws: 340 means agree, and those at equal times, not reversed, do not."""
    first, second = (many[name] for name in pair)
    assert scores(first, second[:, ::-1]).max() < 4.5
    assert scores(first, second).max() > 8


def test_a_course_is_reversed_by_swapping_its_numbers():
    course = ease(22, (0.1, 0.03), (1.3, 2.2))
    np.testing.assert_allclose(1 - course[::-1], ease(22, (0.03, 0.1), (2.2, 1.3)), atol=1e-12)
    assert np.abs(1 - course[::-1] - course).max() > 0.1


def test_a_course_waits_moves_and_waits():
    time = np.linspace(0, 1, 101)
    course = ease(101, (0.2, 0.1), (2.0, 2.0))
    assert (course[time <= 0.2] == 0).all()
    np.testing.assert_allclose(course[time >= 0.9], 1)
    assert (np.diff(course)[(time[1:] > 0.21) & (time[1:] < 0.89)] > 0).all()
    np.testing.assert_allclose(ease(11), np.linspace(0, 1, 11), atol=1e-12)
    with pytest.raises(ValueError, match="frames must be 2 or more, got 1"):
        ease(1)


def test_courses_have_the_same_law_forwards_and_backwards():
    courses = np.array([sample_course(np.random.default_rng(n), 12) for n in range(3000)])
    assert (courses[:, 0] == 0).all()
    assert (courses[:, -1] == 1).all()
    inner = courses[:, 1:-1]
    backwards = 1 - inner[:, ::-1]
    for power in (1, 2, 3):
        difference = inner**power - backwards**power
        error = difference.std(axis=0) / np.sqrt(len(inner))
        assert (np.abs(difference.mean(axis=0)) < 4.5 * error).all()
    assert inner.std(axis=0).max() > 0.05


def test_blended_poses():
    first = Pose(left_arm=Limb(10, 20, 30, 40, 50), spine_bend=8)
    second = Pose(left_arm=Limb(20, 20, 0, 40, 10), right_leg=Limb(bend=4), head_nod=2)
    assert blend_poses(first, second, 0) == first
    assert blend_poses(first, second, 1) == second
    assert blend_poses(first, second, 0.25) == Pose(
        left_arm=Limb(12.5, 20, 22.5, 40, 40), right_leg=Limb(bend=1), spine_bend=6, head_nod=0.5
    )


@pytest.mark.parametrize("name", ACTIONS)
def test_feet_stay_and_the_person_stays_in_the_picture(name):
    for n in range(10):
        action = sample_action(name, np.random.default_rng(n), frames=8)
        joints = joints_of(action)
        ankles = joints[:, LEFT_ANKLE : LEFT_ANKLE + 2].mean(axis=1) - action.camera
        np.testing.assert_allclose(ankles, np.broadcast_to(ankles[0], (8, 2)), atol=1e-9)
        assert ((joints >= 0) & (joints <= 79)).mean() > 0.95
        assert np.abs([person.yaw for person in action.people]).max() <= 35
        assert 0.76 * 80 <= action.people[0].stature <= 0.88 * 80


def test_sitting_lowers_the_hips_and_bending_the_shoulders(many):
    """In every draw, in pixels of a person who is 61 to 70 tall."""
    sit = many["sit_down"][:, -1, :, 1] - many["sit_down"][:, 0, :, 1]
    bend = many["bend_down"][:, -1, :, 1] - many["bend_down"][:, 0, :, 1]
    assert sit[:, LEFT_HIP].min() > 6
    assert np.abs(bend[:, LEFT_HIP]).max() < 6
    assert bend[:, LEFT_SHOULDER].min() > 10
    assert sit[:, LEFT_SHOULDER].min() > 6


def test_raised_arms_end_above_the_head(many):
    arms = many["raise_arms"]
    wrists, shoulders = arms[:, :, [LEFT_WRIST, RIGHT_WRIST], 1], arms[:, :, [5, 6], 1]
    assert (wrists[:, 0] > shoulders[:, 0] + 10).all()
    assert (wrists[:, -1] < arms[:, -1, :1, 1]).all()


@pytest.mark.parametrize(
    ("name", "sign"), [("wave_left_to_right", 1), ("wave_right_to_left", -1)], ids=str
)
def test_a_hand_sweeps_across_the_image(many, name, sign):
    """One hand goes at least 15 pixels and 25 on average; either arm does it as often."""
    wrists = many[name][:, :, [LEFT_WRIST, RIGHT_WRIST]]
    middle = wrists[:, 2, :, 1]
    waving = middle.argmin(axis=1)  # the raised one
    path = wrists[np.arange(len(wrists)), :, waving, 0]
    sweep = sign * (path[:, -1] - path[:, 0])
    assert sweep.min() > 15
    assert sweep.mean() > 25
    assert 0.3 * DRAWS <= waving.sum() <= 0.7 * DRAWS


def test_a_mirrored_wave_is_the_other_wave(many):
    """A left arm seen in a mirror is a right arm, so joints swap places: flipping must be off."""
    swapped = [0, *(index + (1 if index % 2 else -1) for index in range(1, 17))]
    mirrored = many["wave_left_to_right"][:, :, swapped] * (-1, 1) + (80, 0)
    assert scores(mirrored, many["wave_right_to_left"]).max() < 4.5
    assert scores(mirrored, many["wave_left_to_right"]).max() > 8


def test_frames_show_the_people_before_the_shifted_background():
    """A camera that moves by whole pixels cuts windows out of the background."""
    drawn = sample_action("sit_down", np.random.default_rng(1), frames=3, image_size=(96, 80))
    assert np.abs(drawn.camera).max() <= drawn.margin
    action = replace(drawn, camera=np.array([[0, 0], [2, -1], [-3, 1]], float))
    frames = render_action(action)
    assert frames.shape == (3, 96, 80, 3)
    assert frames.dtype == np.uint8
    for frame, person, (x, y) in zip(
        frames, action.people, [(0, 0), (2, -1), (-3, 1)], strict=True
    ):
        top, left = action.margin - y, action.margin - x
        window = action.background[top : top + 96, left : left + 80]
        scene = render_scene([person], size=(96, 80), background=window, light=action.light)
        expected = wear(np.random.default_rng(action.wear_seed), scene.image)
        np.testing.assert_array_equal(frame, expected)


def test_people_stand_out_from_a_mild_background():
    for n in range(20):
        action = sample_action("bend_down", np.random.default_rng(n), frames=2)
        look, mean = action.people[0].look, action.background.mean(axis=(0, 1))
        for colour in (look.shirt, look.trousers):
            assert np.abs(colour - mean).sum() > 60


def test_actions_differ_from_seed_to_seed_and_not_within_one():
    first, again, other = (
        sample_action("raise_arms", np.random.default_rng(seed), frames=3) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(render_action(first), render_action(again))
    assert (render_action(first) != render_action(other)).mean() > 0.5
    assert len({person.look for person in first.people}) == 1
    assert len({person.body for person in first.people}) == 1


def test_wrong_arguments_are_refused():
    with pytest.raises(
        ValueError, match="unknown action 'wave_right'; did you mean 'wave_right_to"
    ):
        sample_action("wave_right", np.random.default_rng(0))
    with pytest.raises(ValueError, match="frames must be 2 or more, got 1"):
        sample_action("sit_down", np.random.default_rng(0), frames=1)
