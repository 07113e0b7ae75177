"""Writing generated scenes in the files and layout of COCO 2017."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from spectral_residual.data.synthetic.body import KEYPOINT_NAMES, Person
from spectral_residual.data.synthetic.clutter import sample_background, sample_clutter, wear
from spectral_residual.data.synthetic.render import Scene, render_scene
from spectral_residual.data.synthetic.sampling import sample_people

Record = dict[str, Any]

GENERATOR_VERSION = 1
"""Raised whenever the same parameters give other images or labels."""

SKELETON: tuple[tuple[int, int], ...] = (
    (16, 14), (14, 12), (17, 15), (15, 13), (12, 13), (6, 12), (7, 13), (6, 7), (6, 8), (7, 9),
    (8, 10), (9, 11), (2, 3), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7),
)  # fmt: skip
"""COCO's edges between keypoints, counted from 1."""

_SPLITS = ("train", "val")
_VAL_ID_OFFSET = 500_000
_EMPTY_EVERY, _EMPTY_PHASE = 25, 12
_CROWD_INDEX = 49
_MIN_SEEN = 0.15
_JPEG_QUALITY = 92


@dataclass(frozen=True)
class DatasetSummary:
    """What a generated data set holds.

    Parameters
    ----------
    root : Path
        Its folder.
    train_images, val_images : int
        Images per split.
    train_people, val_people : int
        Annotated single people (no crowds) per split.
    """

    root: Path
    train_images: int
    val_images: int
    train_people: int
    val_people: int


@dataclass(frozen=True)
class Sample:
    """One generated image with its labels.

    Parameters
    ----------
    scene : Scene
        Image and labels of the people.
    crowd : ndarray, (H, W), bool, optional
        Region of a crowd whose people are not labelled one by one.
    """

    scene: Scene
    crowd: NDArray[np.bool_] | None = None


def _crowd(rng: np.random.Generator, size: tuple[int, int]) -> list[Person]:
    """Draw a band of small people far away."""
    height, width = size
    tiny = sample_people(rng, (height // 4, width // 3), 9)
    return [
        Person(
            ((i + 0.5 + rng.uniform(-0.3, 0.3)) * width / len(tiny), 0.25 * height),
            0.22 * min(size),
            person.pose,
            person.body,
            person.look,
            person.yaw,
        )
        for i, person in enumerate(tiny)
    ]


def make_sample(
    split: str, index: int, *, image_size: tuple[int, int] = (192, 192), seed: int = 0
) -> Sample:
    """Draw image ``index`` of a split; nothing else decides what it shows.

    Every 25th image shows nobody, and image 49 has a crowd behind its people.

    Parameters
    ----------
    split : str
        "train" or "val".
    index : int
        From 0.
    image_size : tuple of int
        (H, W) in pixels.
    seed : int
        Seed of the whole data set.

    Returns
    -------
    Sample
        People who are less than 15 % seen are left out of the picture.
    """
    entropy = np.random.SeedSequence([seed, _SPLITS.index(split), index])
    rng = np.random.default_rng(entropy)
    empty = index % _EMPTY_EVERY == _EMPTY_PHASE
    people = sample_people(rng, image_size, 0 if empty else int(rng.choice(3, p=(0.5, 0.32, 0.18))) + 1)
    background = sample_background(rng, image_size)
    behind, front = sample_clutter(rng, image_size, people)
    light = (float(rng.uniform(-0.8, 0.8)), -0.8)

    crowd = None
    if index == _CROWD_INDEX:
        distant = render_scene(_crowd(rng, image_size), size=image_size, background=background)
        background, crowd = distant.image, distant.silhouettes.any(axis=0)

    while True:
        scene = render_scene(
            people, size=image_size, background=background, behind=behind, front=front, light=light
        )
        kept = [p for p, seen in zip(people, scene.seen, strict=True) if seen >= _MIN_SEEN]
        if len(kept) == len(people):
            break
        people = kept
    image = wear(rng, scene.image)
    return Sample(Scene(image, scene.keypoints, scene.silhouettes, scene.seen, scene.parts), crowd)
