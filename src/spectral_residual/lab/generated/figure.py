"""From a posed person to drawable parts: convex hulls of spheres, with a part number and a depth.

Left and right parts are built by the same lines with the same radii and colours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from functools import partial

import numpy as np

from .body import Colour, FloatArray, Person, Skeleton3D, build_skeleton, direction

_FACE_HALF_ANGLE = 62.0
_FACE_ELEVATION = -18.0
_EYE_WHITE: Colour = (245, 245, 240)
_PUPIL: Colour = (25, 20, 20)

Part = IntEnum(
    "Part",
    "CLUTTER TORSO PELVIS NECK HAIR FACE MOUTH NOSE LEFT_EYE RIGHT_EYE LEFT_EAR RIGHT_EAR "
    "LEFT_UPPER_ARM RIGHT_UPPER_ARM LEFT_FOREARM RIGHT_FOREARM LEFT_HAND RIGHT_HAND "
    "LEFT_THIGH RIGHT_THIGH LEFT_SHIN RIGHT_SHIN LEFT_FOOT RIGHT_FOOT",
    start=0,
)
"""Numbers of the parts of a person; a left part is followed by the right one."""

_FLAT = {Part.NOSE, Part.MOUTH, Part.LEFT_EYE, Part.RIGHT_EYE}


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
    unit: float,
    stature: float,
    part: int,
    points: list[FloatArray],
    radii: list[float],
    colour: Colour,
    nearer: float = 0.0,
) -> Solid:
    """A part whose radii are in units of so many pixels; ``nearer`` is a share of the stature."""
    depth = sum(float(point[2]) for point in points) / len(points) - nearer * stature
    return Solid(Part(part), np.array(points), np.array([r * unit for r in radii]), colour, depth)


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
    forward = direction(0, _FACE_ELEVATION)
    frame = np.stack([[1.0, 0.0, 0.0], direction(0, 90 + _FACE_ELEVATION), forward])
    rim = (wide * turn @ frame + high * forward) @ axes.T
    seen = np.concatenate([rim[rim[:, 2] < 0], turn[turn @ (axes @ forward) > high]])
    return centre + radius * seen if len(seen) >= 3 else None


def _head(person: Person, skeleton: Skeleton3D) -> list[Solid]:
    """Parts of the head; all but falling hair share the depth of the skull, ranked far to near."""
    size, look, joints = person.stature, person.look, skeleton.joints
    centre, axes, radius = skeleton.head, skeleton.head_axes, person.body.head * person.stature
    shadow, lips = _mix(look.skin, (70, 20, 10), 0.3), _mix(look.skin, (150, 20, 30), 0.7)

    def at(azimuth: float, elevation: float, share: float) -> FloatArray:
        return centre + axes @ (share * radius * direction(azimuth, elevation))

    part = partial(_solid, radius, size)
    solids = [
        part(Part.HAIR, [centre, at(180, 20, 0.12)], [1.0, 1.0], look.hair),
        part(Part.FACE, [at(0, -50, 0.55), at(0, -62, 0.78)], [0.62, 0.4], look.skin),
        part(Part.NOSE, [at(0, 6, 0.98), joints[0]], [0.06, 0.17], shadow),
        part(Part.MOUTH, [at(-15, -40, 1.0), at(15, -40, 1.0)], [0.08, 0.08], lips),
    ]
    for side in (0, 1):
        eye, ear = joints[1 + side], joints[3 + side]
        solids.append(part(Part.LEFT_EAR + side, [ear], [0.26], shadow))
        if eye[2] < centre[2]:
            solids.append(part(Part.LEFT_EYE + side, [eye], [0.22], _EYE_WHITE))
            solids.append(part(Part.LEFT_EYE + side, [eye], [0.13], _PUPIL, 1e-3))
    outline = _face_outline(centre, axes, radius)
    if outline is not None:
        depth = min(solids[0].depth, float(centre[2])) - 1e-3 * size
        solids.append(Solid(Part.FACE, outline, np.zeros(len(outline)), look.skin, depth))

    solids.sort(key=lambda solid: -solid.depth)
    base = float(centre[2]) - 0.02 * size
    head = [
        replace(solid, depth=base - 1e-6 * size * rank, shaded=solid.part not in _FLAT)
        for rank, solid in enumerate(solids)
    ]
    if look.long_hair:
        falling = [at(180, 0, 0.45), at(180, -62, 1.75)]
        head.append(part(Part.HAIR, falling, [0.85, 0.6], look.hair, 0.012))
    return head


def _body(person: Person, skeleton: Skeleton3D) -> list[Solid]:
    """Trunk, neck and limbs."""
    size, look, joints = person.stature, person.look, skeleton.joints
    thick = person.body.build * size
    up = skeleton.chest_axes[:, 1] * size
    waist = [0.9 * hip + 0.1 * skeleton.pelvis + 0.05 * up for hip in (joints[11], joints[12])]
    nape = skeleton.neck - 0.02 * up
    throat = skeleton.head - 0.6 * person.body.head * size * skeleton.head_axes[:, 1]
    sleeve = look.shirt if look.long_sleeves else look.skin
    trouser = look.trousers if look.long_trousers else look.skin
    part = partial(_solid, thick, size)

    trunk = [joints[5], joints[6], *waist]
    solids = [
        part(Part.TORSO, trunk, [0.042, 0.042, 0.052, 0.052], look.shirt, 0.01),
        part(Part.PELVIS, [joints[11], joints[12]], [0.058, 0.058], look.trousers),
        part(Part.NECK, [nape, throat], [0.034, 0.03], look.skin),
    ]
    for side in (0, 1):
        shoulder, elbow, wrist, hip, knee, ankle = joints[5 + side :: 2][:6]
        hand, heel, toe = skeleton.hands[side], skeleton.heels[side], skeleton.toes[side]
        solids += [
            part(Part.LEFT_UPPER_ARM + side, [shoulder, elbow], [0.038, 0.031], look.shirt, 0.02),
            part(Part.LEFT_FOREARM + side, [elbow, wrist], [0.030, 0.023], sleeve, 0.025),
            part(Part.LEFT_HAND + side, [wrist, hand], [0.022, 0.030], look.skin, 0.024),
            part(Part.LEFT_THIGH + side, [hip, knee], [0.056, 0.042], look.trousers, 0.005),
            part(Part.LEFT_SHIN + side, [knee, ankle], [0.040, 0.028], trouser, 0.004),
            part(
                Part.LEFT_FOOT + side, [ankle, heel, toe], [0.027, 0.022, 0.02], look.shoes, 0.006
            ),
        ]
    return solids


def build_figure(person: Person) -> tuple[list[Solid], Skeleton3D]:
    """Build all parts of a person, the farthest first, and the points they are built on."""
    skeleton = build_skeleton(person)
    solids = _body(person, skeleton) + _head(person, skeleton)
    solids.sort(key=lambda solid: -solid.depth)
    return solids, skeleton
