"""From a posed person to drawable parts: convex hulls of spheres, with a part number and a depth.

Left and right parts are built by the same lines with the same radii and colours.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from .body import Colour, FloatArray, Person, Skeleton3D, build_skeleton, face_point

_FACE_HALF_ANGLE = 62.0
_FACE_ELEVATION = -18.0
_EYE_WHITE: Colour = (245, 245, 240)
_PUPIL: Colour = (25, 20, 20)


class Part(IntEnum):
    """Numbers of the parts of a person; a left part is followed by the right one."""

    CLUTTER = 0
    TORSO = 1
    PELVIS = 2
    NECK = 3
    HAIR = 4
    FACE = 5
    MOUTH = 6
    NOSE = 7
    LEFT_EYE = 8
    RIGHT_EYE = 9
    LEFT_EAR = 10
    RIGHT_EAR = 11
    LEFT_UPPER_ARM = 12
    RIGHT_UPPER_ARM = 13
    LEFT_FOREARM = 14
    RIGHT_FOREARM = 15
    LEFT_HAND = 16
    RIGHT_HAND = 17
    LEFT_THIGH = 18
    RIGHT_THIGH = 19
    LEFT_SHIN = 20
    RIGHT_SHIN = 21
    LEFT_FOOT = 22
    RIGHT_FOOT = 23


LIMBS: tuple[tuple[Part, Part, Part], ...] = tuple(
    (Part(first + side), Part(first + side + 2), Part(first + side + 4))
    for first in (Part.LEFT_UPPER_ARM, Part.LEFT_THIGH)
    for side in (0, 1)
)
"""Parts of each limb from the body outward: left arm, right arm, left leg, right leg."""


@dataclass(frozen=True)
class Solid:
    """One part: the convex hull of spheres, drawn in one colour.

    Parameters
    ----------
    part : Part
        What it is.
    centres : ndarray, (N, 3)
        Centres in camera axes (right, down, away), pixels.
    radii : ndarray, (N,)
        Radii in pixels, 0 or more.
    colour : tuple of int
        RGB.
    depth : float
        Key of the painter's algorithm: solids of larger depth are drawn first.
    shaded : bool
        Whether edges are darker than the middle.
    """

    part: Part
    centres: FloatArray
    radii: FloatArray
    colour: Colour
    depth: float
    shaded: bool = True


def _solid(
    part: Part,
    points: list[FloatArray],
    radii: list[float],
    colour: Colour,
    nearer: float = 0.0,
) -> Solid:
    depth = sum(float(point[2]) for point in points) / len(points)
    return Solid(part, np.array(points), np.array(radii), colour, depth - nearer)


def _mix(first: Colour, second: Colour, share: float) -> Colour:
    """Blend two colours; ``share`` is the part of the second, from 0 to 1."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def _face_outline(centre: FloatArray, axes: FloatArray, radius: float) -> FloatArray | None:
    """Corners of the part of the face that can be seen, or None when it is turned away.

    The face is a cap of the skull's sphere; what can be seen of it ends at the cap's rim and at
    the outline of the skull.
    """
    angles = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    turn = np.stack([np.cos(angles), np.sin(angles), np.zeros(36)], axis=1)
    wide, high = np.sin(np.radians(_FACE_HALF_ANGLE)), np.cos(np.radians(_FACE_HALF_ANGLE))
    forward = face_point(1.0, 0, _FACE_ELEVATION)
    frame = np.stack([[1.0, 0.0, 0.0], face_point(1.0, 0, 90 + _FACE_ELEVATION), forward])
    rim = (wide * turn @ frame + high * forward) @ axes.T
    seen = np.concatenate([rim[rim[:, 2] < 0], turn[turn @ (axes @ forward) > high]])
    return centre + radius * seen if len(seen) >= 3 else None


def _head(person: Person, skeleton: Skeleton3D) -> list[Solid]:
    """Parts of the head; all but falling hair share the depth of the skull, ranked far to near."""
    size, look = person.stature, person.look
    centre, axes, radius = skeleton.head, skeleton.head_axes, person.body.head * person.stature
    shadow = _mix(look.skin, (70, 20, 10), 0.3)

    def at(azimuth: float, elevation: float, share: float = 1.0) -> FloatArray:
        return centre + axes @ face_point(share * radius, azimuth, elevation)

    skull = [centre + 0.0, at(180, 20, 0.12)]
    solids = [_solid(Part.HAIR, skull, [radius, radius], look.hair)]
    jaw = [at(0, -50, 0.55), at(0, -62, 0.78)]
    solids.append(_solid(Part.FACE, jaw, [0.62 * radius, 0.4 * radius], look.skin))
    nose = [at(0, 6, 0.98), skeleton.joints[0]]
    solids.append(_solid(Part.NOSE, nose, [0.06 * radius, 0.17 * radius], shadow))
    mouth = [at(-15, -40, 1.0), at(15, -40, 1.0)]
    solids.append(
        _solid(Part.MOUTH, mouth, [0.08 * radius] * 2, _mix(look.skin, (150, 20, 30), 0.7))
    )
    for side in (0, 1):
        ear = skeleton.joints[3 + side]
        solids.append(_solid(Part(Part.LEFT_EAR + side), [ear], [0.26 * radius], shadow))
        eye, part = skeleton.joints[1 + side], Part(Part.LEFT_EYE + side)
        if eye[2] < centre[2]:
            solids.append(_solid(part, [eye], [0.22 * radius], _EYE_WHITE))
            solids.append(_solid(part, [eye], [0.13 * radius], _PUPIL, nearer=1e-3 * size))

    outline = _face_outline(centre, axes, radius)
    if outline is not None:
        depth = min(solids[0].depth, float(centre[2])) - 1e-3 * size
        solids.append(Solid(Part.FACE, outline, np.zeros(len(outline)), look.skin, depth))

    solids.sort(key=lambda solid: -solid.depth)
    base = float(centre[2]) - 0.02 * size
    details = (Part.NOSE, Part.MOUTH, Part.LEFT_EYE, Part.RIGHT_EYE)
    head = [
        Solid(
            s.part, s.centres, s.radii, s.colour, base - 1e-6 * size * rank, s.part not in details
        )
        for rank, s in enumerate(solids)
    ]
    if look.long_hair:
        falling = [at(180, 0, 0.45), at(180, -62, 1.75)]
        widths = [0.85 * radius, 0.6 * radius]
        head.append(_solid(Part.HAIR, falling, widths, look.hair, 0.012 * size))
    return head


def _limbs(person: Person, skeleton: Skeleton3D) -> list[Solid]:
    size, look, joints = person.stature, person.look, skeleton.joints
    thick = person.body.build * size
    sleeve = look.shirt if look.long_sleeves else look.skin
    trouser = look.trousers if look.long_trousers else look.skin
    solids = []
    for side in (0, 1):
        shoulder, elbow, wrist, hip, knee, ankle = joints[5 + side :: 2][:6]
        hand, heel, toe = skeleton.hands[side], skeleton.heels[side], skeleton.toes[side]
        for first, points, radii, colour, nearer in (
            (Part.LEFT_UPPER_ARM, [shoulder, elbow], [0.038, 0.031], look.shirt, 0.02),
            (Part.LEFT_FOREARM, [elbow, wrist], [0.030, 0.023], sleeve, 0.025),
            (Part.LEFT_HAND, [wrist, hand], [0.022, 0.030], look.skin, 0.024),
            (Part.LEFT_THIGH, [hip, knee], [0.056, 0.042], look.trousers, 0.005),
            (Part.LEFT_SHIN, [knee, ankle], [0.040, 0.028], trouser, 0.004),
            (Part.LEFT_FOOT, [ankle, heel, toe], [0.027, 0.022, 0.020], look.shoes, 0.006),
        ):
            widths = [radius * thick for radius in radii]
            solids.append(_solid(Part(first + side), points, widths, colour, nearer * size))
    return solids


def build_figure(person: Person) -> tuple[list[Solid], Skeleton3D]:
    """Build all parts of a person.

    Parameters
    ----------
    person : Person
        The person.

    Returns
    -------
    solids : list of Solid
        Sorted for the painter's algorithm: the farthest first.
    skeleton : Skeleton3D
        The points they were built on.
    """
    skeleton = build_skeleton(person)
    size, look, joints = person.stature, person.look, skeleton.joints
    thick = person.body.build * size
    up = skeleton.chest_axes[:, 1] * size
    waist = [0.9 * hip + 0.1 * skeleton.pelvis + 0.05 * up for hip in (joints[11], joints[12])]
    trunk = [joints[5], joints[6], *waist]
    nape = skeleton.neck - 0.02 * up
    throat = skeleton.head - 0.6 * person.body.head * size * skeleton.head_axes[:, 1]
    torso = [radius * thick for radius in (0.042, 0.042, 0.052, 0.052)]
    solids = [
        _solid(Part.TORSO, trunk, torso, look.shirt, 0.01 * size),
        _solid(Part.PELVIS, [joints[11], joints[12]], [0.058 * thick] * 2, look.trousers),
        _solid(Part.NECK, [nape, throat], [0.034 * thick, 0.03 * thick], look.skin),
        *_limbs(person, skeleton),
        *_head(person, skeleton),
    ]
    solids.sort(key=lambda solid: -solid.depth)
    return solids, skeleton
