"""One generated image: who is in it, what lies about, and how the camera saw it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ...errors import unknown_name
from .body import Colour, Person
from .figure import Part, Solid, build_figure
from .render import Image, Scene, render_scene
from .sampling import sample_people, sample_person

SPLITS: tuple[str, ...] = ("train", "val")
"""Names of the splits."""

_EMPTY_EVERY, _EMPTY_PHASE = 25, 12
_CROWD_INDEX = 49
_MIN_SEEN = 0.15
_LEFT_LIMBS = (
    (Part.LEFT_UPPER_ARM, Part.LEFT_FOREARM, Part.LEFT_HAND),
    (Part.LEFT_THIGH, Part.LEFT_SHIN, Part.LEFT_FOOT),
)
_LIMBS = [[part + side for part in limb] for limb in _LEFT_LIMBS for side in (0, 1)]


@dataclass(frozen=True)
class Sample:
    """One generated image with its labels.

    Parameters
    ----------
    scene : Scene
        Image and labels of the people.
    crowd : ndarray, (H, W), bool, optional
        Whole silhouettes, together, of a crowd whose people are not labelled one by one.
    """

    scene: Scene
    crowd: NDArray[np.bool_] | None = None


def _colour(rng: np.random.Generator) -> Colour:
    levels = rng.uniform(20, 236, 3)
    # Saturated colours are rare outside of clothes and signs.
    levels += rng.uniform(0, 0.85) * (levels.mean() - levels)
    red, green, blue = levels.astype(int).tolist()
    return red, green, blue


def sample_background(rng: np.random.Generator, size: tuple[int, int]) -> Image:
    """Draw a textured background: a gradient, soft clouds and often stripes or a checkerboard."""
    height, width = size
    corners = np.array([[_colour(rng) for _ in range(2)] for _ in range(2)], np.float32)
    picture = np.asarray(
        cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR), np.float32
    )
    for cells, strength in ((4, 22.0), (12, 14.0), (40, 9.0)):
        clouds = rng.standard_normal((cells, cells, 1), np.float32) * strength
        clouds = clouds + rng.standard_normal((cells, cells, 3), np.float32) * (0.35 * strength)
        picture = picture + cv2.resize(clouds, (width, height), interpolation=cv2.INTER_CUBIC)
    if rng.random() < 0.5:
        angle, pulse = rng.uniform(0, np.pi), 2 * np.pi / rng.uniform(8, 40)
        across, along = pulse * np.cos(angle), pulse * np.sin(angle)
        ys, xs = np.arange(height)[:, None], np.arange(width)
        waves = np.sin((xs * across + ys * along).astype(np.float32))
        if rng.random() < 0.5:
            waves *= np.sin((ys * across - xs * along).astype(np.float32))
        picture += np.float32(rng.uniform(6, 24)) * np.sign(waves)[..., None]
    return np.clip(picture, 0, 255).astype(np.uint8)


def sample_object(rng: np.random.Generator, size: tuple[int, int]) -> Solid:
    """Draw a pole across the image or a blob, in one colour."""
    height, width = size
    middle = rng.uniform((0, 0, 0), (width, height, 0))
    scale = min(size)
    if rng.random() < 0.5:
        angle = np.pi / 2 + rng.choice([0.0, 0.0, 1.2]) * rng.standard_normal()
        along = np.array([np.cos(angle), np.sin(angle), 0.0]) * rng.uniform(0.3, 2.0) * scale
        centres = np.stack([middle - along, middle + along])
        radii = np.full(2, rng.uniform(0.01, 0.04) * scale)
    else:
        centres = middle + rng.normal(0, 0.08 * scale, (3, 3)) * (1, 1, 0)
        radii = rng.uniform(0.01, 0.09, 3) * scale
    return Solid(Part.CLUTTER, centres, radii, _colour(rng), 0.0)


def _loose_limb(
    rng: np.random.Generator, size: tuple[int, int], worn_by: Person | None
) -> list[Solid]:
    """Draw an arm or a leg without a body, in anybody's clothes or somebody's."""
    height, width = size
    owner = sample_person(rng, size)
    if worn_by is not None:
        owner = replace(owner, look=worn_by.look)
    limb = _LIMBS[rng.integers(len(_LIMBS))]
    solids = [solid for solid in build_figure(owner)[0] if solid.part in limb]
    place = np.array([*rng.uniform((0, 0), (width, height)), 0.0])
    shift = place - solids[0].centres[0]
    return [replace(s, part=Part.CLUTTER, centres=s.centres + shift) for s in solids]


def _clutter(
    rng: np.random.Generator, size: tuple[int, int], people: list[Person]
) -> tuple[list[Solid], list[Solid]]:
    """Clutter behind and in front; half of the loose limbs wear what somebody there wears."""
    behind = [sample_object(rng, size) for _ in range(rng.integers(2, 9))]
    front: list[Solid] = []
    for _ in range(rng.choice(5, p=(0.25, 0.25, 0.25, 0.15, 0.1))):
        worn_by = people[rng.integers(len(people))] if people and rng.random() < 0.5 else None
        (front if rng.random() < 0.25 else behind).extend(_loose_limb(rng, size, worn_by))
    if rng.random() < 0.2:
        front.append(sample_object(rng, size))
    return behind, front


def _crowd(rng: np.random.Generator, size: tuple[int, int]) -> list[Person]:
    """Draw a band of small people far away."""
    height, width = size
    crowd = []
    for i, person in enumerate(sample_people(rng, (height // 4, width // 3), 9)):
        place = (i + 0.5 + rng.uniform(-0.3, 0.3)) * width / 9, 0.25 * height
        looks = person.pose, person.body, person.look, person.yaw
        crowd.append(Person(place, 0.22 * min(size), *looks))
    return crowd


def wear(rng: np.random.Generator, image: Image) -> Image:
    """Apply uneven light, blur and noise to a picture: what a camera might have recorded."""
    height, width = image.shape[:2]
    gains = rng.uniform(0.75, 1.2, (2, 2)).astype(np.float32)
    light = cv2.resize(gains, (width, height), interpolation=cv2.INTER_LINEAR)
    picture = image * light[..., None]
    if rng.random() < 0.4:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.4, 1.1))))
    grain = rng.standard_normal((height, width, 1), np.float32)
    picture += grain * np.float32(rng.uniform(1, 9))
    return np.clip(picture, 0, 255).astype(np.uint8)


def make_sample(
    split: str,
    index: int,
    *,
    image_size: tuple[int, int] = (192, 192),
    seed: int = 0,
    upright: bool = False,
) -> Sample:
    """Draw image ``index`` (from 0) of a split, "train" or "val"; nothing else decides on it.

    Every 25th image shows nobody, and image 49 has a crowd behind its people. People who are less
    than 15 % seen are left out of the picture.

    Parameters
    ----------
    image_size : tuple of int
        (H, W) in pixels.
    seed : int
        Seed of the whole data set.
    upright : bool
        Only people who stand or walk upright, seen from any side.

    Raises
    ------
    ValueError
        If there is no such split.
    """
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    count = 1 + int(rng.choice(3, p=(0.5, 0.32, 0.18)))
    is_empty = index % _EMPTY_EVERY == _EMPTY_PHASE
    people = [] if is_empty else sample_people(rng, image_size, count, upright)
    background = sample_background(rng, image_size)
    behind, front = _clutter(rng, image_size, people)
    light = (float(rng.uniform(-0.8, 0.8)), -0.8)

    crowd = None
    if index == _CROWD_INDEX:
        distant = render_scene(_crowd(rng, image_size), size=image_size, background=background)
        background, crowd = distant.image, np.asarray(distant.silhouettes.any(axis=0))

    while True:
        scene = render_scene(
            people, size=image_size, background=background, behind=behind, front=front, light=light
        )
        shown = scene.silhouettes.any(axis=(1, 2)) & (scene.seen >= _MIN_SEEN)
        if shown.all():
            return Sample(replace(scene, image=wear(rng, scene.image)), crowd)
        people = [person for person, keep in zip(people, shown, strict=True) if keep]
