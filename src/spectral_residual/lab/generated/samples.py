"""One generated image: who is in it, what lies about, and how the camera saw it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...errors import unknown_name
from .body import Person
from .figure import Part, Solid, build_figure
from .render import Scene, render_scene
from .sampling import sample_people, sample_person
from .scenery import sample_background, sample_object, wear

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
