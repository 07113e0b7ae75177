"""Actions of generated people, in pairs that differ in nothing but the direction of time.

A person moves from one pose to another. Everything is drawn for the first action of a pair; the
second is the same with its frames in reverse order, so that no frame and no set of frames tells
the two apart. Holds, easing and camera follow laws that are the same forwards and backwards.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ...errors import unknown_name
from .body import FloatArray, Limb, Look, Person, Pose, build_skeleton
from .render import Image, render_scene
from .samples import sample_background, sample_object, wear
from .sampling import sample_body, sample_look

ACTION_PAIRS: tuple[tuple[str, str], ...] = (
    ("sit_down", "stand_up"),
    ("raise_arms", "lower_arms"),
    ("bend_down", "straighten_up"),
    ("wave_left_to_right", "wave_right_to_left"),
)
"""Actions of which the second is the first played backwards.

Left and right of a wave are those of the image: a person raises one hand, whichever, and sweeps it
once from one side of the image to the other. A mirrored wave is the other wave, so training must
not flip these videos; the other three pairs may be flipped.
"""

ACTIONS: tuple[str, ...] = tuple(chain.from_iterable(ACTION_PAIRS))
"""Names of all actions."""

_LONGEST_HOLD = 0.15
_EASING = (1.2, 2.4)
_STATURE = (0.76, 0.88)
_LARGEST_YAW = 35.0
_SWAY = 0.02
_MARGIN = 4
_BACKGROUND_CONTRAST = 0.55
_CLOTHES_CONTRAST = 120  # sum over R, G, B of the differences to the background's mean

_Angles = tuple[float, float, float, float, float]  # means, in the order of `Limb`
_ANGLE_SPREAD = 5.0
_HANGING: _Angles = (5, 9, 10, 14, 5)
_STANDING: _Angles = (2, 5, -8, 5, 0)


@dataclass(frozen=True)
class Action:
    """One person doing one thing before a camera: all that decides what its frames show.

    Parameters
    ----------
    people : tuple of Person, T
        The person in each frame, in the pixels of that frame.
    camera : ndarray, (T, 2), float64
        (x, y) by which the background of each frame is shifted, in pixels.
    background : ndarray, (H + 2 M, W + 2 M, 3), uint8
        RGB picture of what lies behind, with a margin M, not below the largest shift.
    margin : int
        M.
    light : tuple of float
        Direction (x, y) in the image from which the light comes.
    wear_seed : int
        Seed of uneven light, blur and grain, which are the same in all frames.
    """

    people: tuple[Person, ...]
    camera: FloatArray
    background: Image
    margin: int
    light: tuple[float, float]
    wear_seed: int


def ease(
    frames: int, holds: tuple[float, float] = (0.0, 0.0), powers: tuple[float, float] = (1.0, 1.0)
) -> FloatArray:
    """Course of a movement from 0 to 1: u^a / (u^a + (1 - u)^b) between two holds.

    Returns (T,) from 0 to 1 that does not fall. Swapping the holds and swapping the powers reverses
    it: the course c becomes 1 - c[::-1]. The holds are the shares of the time to wait before and
    after, from 0 to below 0.5, the powers a and b above 0: 1 starts and ends at full speed, more
    does so gently. Fewer than 2 frames raise ValueError.
    """
    if frames < 2:
        raise ValueError(f"frames must be 2 or more, got {frames}")
    time = np.linspace(0, 1, frames)
    u = np.clip((time - holds[0]) / (1 - holds[0] - holds[1]), 0, 1)
    rising, falling = u ** powers[0], (1 - u) ** powers[1]
    return np.asarray(rising / (rising + falling))


def sample_course(rng: np.random.Generator, frames: int) -> FloatArray:
    """Draw a course (T,), see `ease`; its law is the same forwards and backwards."""
    before, after = rng.uniform(0, _LONGEST_HOLD, 2).tolist()
    start, end = rng.uniform(*_EASING, 2).tolist()
    return ease(frames, (before, after), (start, end))


def blend_poses(first: Pose, second: Pose, share: float) -> Pose:
    """Interpolate every angle between two poses; share 0 gives the first, 1 the second."""

    def between(a: float, b: float) -> float:
        return (1 - share) * a + share * b

    pairs = zip(first[:4], second[:4], strict=True)
    limbs: list[Any] = [Limb(*map(between, *pair)) for pair in pairs]
    return Pose(*limbs, *map(between, first[4:], second[4:]))


def _limb(rng: np.random.Generator, angles: _Angles) -> Limb:
    drawn = np.array(angles) + rng.normal(0, _ANGLE_SPREAD, 5)
    drawn[3] = abs(drawn[3])
    return Limb(*drawn.tolist())


def _standing(rng: np.random.Generator) -> Pose:
    trunk = rng.normal((3, 0, 0), 3).tolist()
    head = rng.normal((2, 0, 0), (5, 4, 10)).tolist()
    limbs: list[Any] = [_limb(rng, angles) for angles in (_HANGING, _HANGING, _STANDING, _STANDING)]
    return Pose(*limbs, *trunk, *head)


def _moved(
    rng: np.random.Generator, pose: Pose, arms: _Angles, legs: _Angles | None = None
) -> Pose:
    """The pose with other arms and, if given, other legs."""
    pose = pose._replace(left_arm=_limb(rng, arms), right_arm=_limb(rng, arms))
    if legs is None:
        return pose
    return pose._replace(left_leg=_limb(rng, legs), right_leg=_limb(rng, legs))


def _sitting(rng: np.random.Generator) -> tuple[Pose, Pose]:
    standing = _standing(rng)
    end = _moved(rng, standing, (35, 5, 25, 40, 5), (92, 12, 0, 92, 0))
    return standing, end._replace(spine_bend=standing.spine_bend + float(rng.normal(8, 4)))


def _arms_up(rng: np.random.Generator) -> tuple[Pose, Pose]:
    standing = _standing(rng)
    return standing, _moved(rng, standing, (10, 160, 0, 12, 5))


def _bent_down(rng: np.random.Generator) -> tuple[Pose, Pose]:
    standing = _standing(rng)
    end = _moved(rng, standing, (88, 4, 0, 12, 5), (16, 6, -8, 8, 0))
    bend, nod = rng.normal((95, 5), (7, 6)).tolist()
    return standing, end._replace(spine_bend=bend, head_nod=nod)


def _waving(rng: np.random.Generator) -> tuple[Pose, Pose]:
    """From image left to right: a right arm comes in from its side, a left arm goes out to it."""
    standing = _standing(rng)
    towards_right, towards_left = rng.uniform(12, 20, 2).tolist()
    out, across = _limb(rng, (8, 78, 0, 12, 5)), _limb(rng, (8, 212, -90, 30, 5))
    # Leaning to the person's right is leaning to the image's left.
    start = standing._replace(spine_side=towards_left)
    end = standing._replace(spine_side=-towards_right)
    if rng.random() < 0.5:
        return start._replace(right_arm=out), end._replace(right_arm=across)
    return start._replace(left_arm=across), end._replace(left_arm=out)


_POSES = (_sitting, _arms_up, _bent_down, _waving)
"""First and last pose of the first action of each of the `ACTION_PAIRS`."""


def _sample_camera(rng: np.random.Generator, frames: int, largest: float) -> FloatArray:
    """Draw the sway of a camera in pixels, (T, 2): a slow swing of any phase in x and in y."""
    size, pulse, phase = rng.uniform(0, [[largest], [2 * np.pi], [2 * np.pi]], (3, 2))
    return np.asarray(size * np.sin(np.linspace(0, pulse, frames) + phase))


def _sample_scenery(rng: np.random.Generator, size: tuple[int, int]) -> Image:
    """Draw a background of mild contrast."""
    picture = sample_background(rng, size)
    mean = picture.mean(axis=(0, 1))
    return np.rint(mean + _BACKGROUND_CONTRAST * (picture - mean)).astype(np.uint8)


def _sample_clothes(rng: np.random.Generator, scenery: Image) -> Look:
    """Draw a look until shirt and trousers stand out from the background."""
    mean = scenery.mean(axis=(0, 1))
    while True:
        look = sample_look(rng)
        differences = np.abs(np.array([look.shirt, look.trousers]) - mean).sum(axis=1)
        if differences.min() > _CLOTHES_CONTRAST:
            return look


def _sample_actor(
    rng: np.random.Generator, size: tuple[int, int], scenery: Image
) -> tuple[FloatArray, Person]:
    """Draw where the feet are, (2,) in pixels, and who stands there."""
    height, width = size
    stature = float(rng.uniform(*_STATURE) * min(size))
    place = rng.uniform(-0.08, 0.08) * min(size), rng.uniform(-0.03, 0.03) * min(size)
    feet = np.array([width / 2 + place[0], (height + 1.05 * stature) / 2 + place[1]])
    person = Person(
        (0.0, 0.0),
        stature,
        body=sample_body(rng),
        look=_sample_clothes(rng, scenery),
        yaw=float(rng.uniform(-_LARGEST_YAW, _LARGEST_YAW)),
        pitch=float(rng.normal(7, 4)),
        roll=float(rng.normal(0, 3)),
    )
    return feet, person


def sample_action(
    name: str,
    rng: np.random.Generator,
    *,
    frames: int = 22,
    image_size: tuple[int, int] = (80, 80),
) -> Action:
    """Draw a person who performs an action, the place, the light and the camera.

    The feet stay where they are. The person faces the camera to within 35 degrees. Two generators
    in the same state give for the two actions of a pair the same frames in opposite order.

    Parameters
    ----------
    name : str
        One of `ACTIONS`.
    rng : numpy.random.Generator
        Source of randomness.
    frames : int
        T, 2 or more.
    image_size : tuple of int
        (H, W) in pixels; the person stands 0.76 to 0.88 times the shorter side tall.

    Raises
    ------
    ValueError
        If the name is unknown or there are fewer than 2 frames.
    """
    if name not in ACTIONS:
        raise unknown_name("action", name, ACTIONS)
    pair, backwards = divmod(ACTIONS.index(name), 2)
    scale = min(image_size)
    first, last = _POSES[pair](rng)
    course = sample_course(rng, frames)
    camera = _sample_camera(rng, frames, _SWAY * scale)

    margin = _MARGIN + int(np.ceil(_SWAY * scale))
    wide = (image_size[0] + 2 * margin, image_size[1] + 2 * margin)
    scenery = _sample_scenery(rng, wide)
    light = (float(rng.uniform(-0.8, 0.8)), -0.8)
    objects = [sample_object(rng, wide) for _ in range(rng.integers(0, 4))]

    feet, standing = _sample_actor(rng, image_size, scenery)
    people = []
    for share, shift in zip(course.tolist(), camera, strict=True):
        person = replace(standing, pose=blend_poses(first, last, share))
        ankles = build_skeleton(person).joints[15:, :2].mean(axis=0)
        x, y = (feet + shift - ankles).tolist()
        people.append(replace(person, position=(x, y)))

    scenery = render_scene([], size=wide, background=scenery, behind=objects, light=light).image
    wear_seed = int(rng.integers(2**32))
    order = -1 if backwards else 1
    people, camera = people[::order], camera[::order]
    return Action(tuple(people), camera, scenery, margin, light, wear_seed)


def render_action(action: Action) -> NDArray[np.uint8]:
    """Draw all frames, (T, H, W, 3), uint8, RGB; the reversed action gives them in reverse."""
    height, width = (side - 2 * action.margin for side in action.background.shape[:2])
    frames = np.empty((len(action.people), height, width, 3), np.uint8)
    for frame, person, shift in zip(frames, action.people, action.camera, strict=True):
        move = np.column_stack([np.eye(2), shift - action.margin])
        behind = np.asarray(cv2.warpAffine(action.background, move, (width, height)), np.uint8)
        scene = render_scene([person], size=(height, width), background=behind, light=action.light)
        frame[:] = wear(np.random.default_rng(action.wear_seed), scene.image)
    return frames
