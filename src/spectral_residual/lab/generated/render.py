"""Rendering of people over a background, and which joints can be seen in the result.

Parts are drawn far to near on a canvas of twice the size (pixel i of the image is centred at
2 i + 0.5 there), next to a map which holds the owner of every pixel; the visibility of a joint is
read from that map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .body import FloatArray, Person, Skeleton3D
from .figure import Part, Solid, build_figure

Image = NDArray[np.uint8]

PART_STRIDE = 32
"""Code of a pixel in `Scene.parts` is ``PART_STRIDE * (person + 1) + part``; 0 is no person."""

_SHIFT = 4
_CIRCLE = np.stack([func(np.arange(24) * (2 * np.pi / 24)) for func in (np.cos, np.sin)], axis=-1)
_EDGE_SHADE = 0.66
_CORE_WIDTH = 0.68
_LEFT_CHAINS = (
    (Part.LEFT_EYE,),
    (Part.LEFT_EAR,),
    (Part.LEFT_UPPER_ARM,),
    (Part.LEFT_UPPER_ARM, Part.LEFT_FOREARM),
    (Part.LEFT_FOREARM, Part.LEFT_HAND),
    (Part.LEFT_THIGH,),
    (Part.LEFT_THIGH, Part.LEFT_SHIN),
    (Part.LEFT_SHIN, Part.LEFT_FOOT),
)
KEYPOINT_PARTS: tuple[frozenset[int], ...] = (
    frozenset({Part.NOSE}),
    *(frozenset(part + side for part in chain) for chain in _LEFT_CHAINS for side in (0, 1)),
)
"""For each COCO keypoint the numbers of the parts it lies on (trunk joints: also the trunk)."""

_TRUNK = frozenset({Part.TORSO, Part.PELVIS})
_TRUNK_PARTNER = {5: 6, 6: 5, 11: 12, 12: 11}


@dataclass(frozen=True)
class Scene:
    """A rendered image with exact labels.

    Parameters
    ----------
    image : ndarray, (H, W, 3), uint8
        RGB.
    keypoints : ndarray, (P, 17, 3), float64
        x, y, v of each person in the order given: v = 2 seen; 1 inside the image but covered by
        a nearer part of anybody, by clutter, or (face) turned away; 0 outside, with x = y = 0.
    silhouettes : ndarray, (P, H, W), bool
        Whole silhouette of each person inside the image, also where others cover it.
    seen : ndarray, (P,), float64
        Share of the silhouette that nothing covers; 0 for a person outside the image.
    parts : ndarray, (2 H, 2 W), int32
        Owner of each half pixel, see `PART_STRIDE`.
    """

    image: Image
    keypoints: FloatArray
    silhouettes: NDArray[np.bool_]
    seen: FloatArray
    parts: NDArray[np.int32]


def _outline(centres: FloatArray, radii: FloatArray) -> NDArray[np.int32]:
    """Convex hull of discs as fixed-point vertices on the double canvas."""
    points = centres[:, None, :2] + radii[:, None, None] * _CIRCLE
    fixed = np.rint((2 * points.reshape(-1, 2) + 0.5) * (1 << _SHIFT)).astype(np.int32)
    return cv2.convexHull(fixed)


def _draw(
    canvas: Image, owners: NDArray[np.int32], solid: Solid, code: int, light: FloatArray
) -> NDArray[np.int32]:
    """Draw one solid and record its code; return its outline."""
    outline = _outline(solid.centres, solid.radii)
    cv2.fillConvexPoly(owners, outline, code, cv2.LINE_8, _SHIFT)
    if not solid.shaded:
        cv2.fillConvexPoly(canvas, outline, solid.colour, cv2.LINE_AA, _SHIFT)
        return outline
    edge = tuple(round(_EDGE_SHADE * level) for level in solid.colour)
    cv2.fillConvexPoly(canvas, outline, edge, cv2.LINE_AA, _SHIFT)
    if solid.radii.any():
        centres = solid.centres[:, :2] + (1 - _CORE_WIDTH) * 0.6 * solid.radii[:, None] * light
        core = _outline(centres, _CORE_WIDTH * solid.radii)
    else:
        middle = solid.centres.mean(axis=0)
        core = _outline(middle + 0.9 * (solid.centres - middle), solid.radii)
    cv2.fillConvexPoly(canvas, core, solid.colour, cv2.LINE_AA, _SHIFT)
    return outline


def _in_near_half(joints: FloatArray, index: int) -> bool:
    """Whether a shoulder or hip lies on the side of the trunk that is turned to the camera."""
    if index not in _TRUNK_PARTNER:
        return False
    across = joints[index] - joints[_TRUNK_PARTNER[index]]
    return bool(across[2] < 0.8 * np.linalg.norm(across))


def _keypoints(skeleton: Skeleton3D, owners: NDArray[np.int32], person: int) -> FloatArray:
    """x, y, v of one person, read from the finished map of owners."""
    height, width = owners.shape[0] // 2, owners.shape[1] // 2
    result = np.zeros((17, 3))
    for index, (x, y, _) in enumerate(skeleton.joints):
        if not (0 <= x <= width - 1 and 0 <= y <= height - 1):
            continue
        code = int(owners[round(2 * y + 0.5), round(2 * x + 0.5)])
        owner, part = divmod(code, PART_STRIDE)
        seen = owner == person + 1 and (
            part in KEYPOINT_PARTS[index]
            or (part in _TRUNK and _in_near_half(skeleton.joints, index))
        )
        result[index] = x, y, 2.0 if seen else 1.0
    return result


def _canvas(background: Image | None, size: tuple[int, int]) -> Image:
    """The background, grey if None, at twice the size."""
    height, width = size
    if background is None:
        background = np.full((height, width, 3), 128, np.uint8)
    if background.shape != (height, width, 3) or background.dtype != np.uint8:
        raise ValueError(
            f"background must be uint8 of shape {(height, width, 3)}, "
            f"got {background.dtype} of shape {background.shape}"
        )
    double = (2 * width, 2 * height)
    return np.asarray(cv2.resize(background, double, interpolation=cv2.INTER_LINEAR), np.uint8)


def _halved(picture: Image) -> Image:
    height, width = picture.shape[:2]
    half = cv2.resize(picture, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    return np.asarray(half, np.uint8)


def render_scene(
    people: Sequence[Person],
    *,
    size: tuple[int, int] = (192, 192),
    background: Image | None = None,
    behind: Sequence[Solid] = (),
    front: Sequence[Solid] = (),
    light: tuple[float, float] = (0.0, -1.0),
) -> Scene:
    """Draw people and clutter; the result depends on the arguments only.

    Parameters
    ----------
    people : sequence of Person
        Drawn by falling depth, each as a whole.
    size : tuple of int
        (H, W) in pixels.
    background : ndarray, (H, W, 3), uint8, optional
        RGB picture to draw on; grey if not given.
    behind, front : sequence of Solid
        Clutter drawn before and after the people; its part numbers are ignored.
    light : tuple of float
        Direction (x, y) in the image from which the light comes.

    Raises
    ------
    ValueError
        If the background is not uint8 of shape (H, W, 3).
    """
    height, width = size
    canvas = _canvas(background, size)
    owners = np.zeros((2 * height, 2 * width), np.int32)
    direction = np.asarray(light, np.float64)
    for solid in behind:
        _draw(canvas, owners, solid, 0, direction)

    masks = np.zeros((len(people), 2 * height, 2 * width), np.uint8)
    figures = [build_figure(person) for person in people]
    for index in sorted(range(len(people)), key=lambda i: -people[i].depth):
        for solid in figures[index][0]:
            code = PART_STRIDE * (index + 1) + solid.part
            outline = _draw(canvas, owners, solid, code, direction)
            cv2.fillConvexPoly(masks[index], outline, 255, cv2.LINE_8, _SHIFT)
    for solid in front:
        _draw(canvas, owners, solid, 0, direction)

    owner = owners // PART_STRIDE
    uncovered = [np.count_nonzero(owner == i + 1) for i in range(len(people))]
    whole = [np.count_nonzero(mask) for mask in masks]
    keypoints = [_keypoints(skeleton, owners, i) for i, (_, skeleton) in enumerate(figures)]
    return Scene(
        image=_halved(canvas),
        keypoints=np.array(keypoints).reshape(-1, 17, 3),
        silhouettes=np.array([_halved(m) for m in masks]).reshape(-1, height, width) >= 128,
        seen=np.array(uncovered, np.float64) / np.maximum(1, whole),
        parts=owners,
    )
