"""Articulated person: joint angles, proportions, place and facing, and the 3-D joints they give.

Axes of the body are left (x), up (y), forward (z): right-handed. Axes of the camera are right (x),
down (y), away (z), in pixels; the projection is orthographic, so that (x, y) of a camera point is
its place in the image. At ``yaw`` 0 a person faces the camera and their left is on the image's
right. The sides of the body have the same lengths; only the pose can tell them apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Colour = tuple[int, int, int]

NOSE, EYE, EAR = (0, -12, 1.2), (24, 10, 0.95), (95, -5, 1.06)
"""Azimuth to the own side and elevation in degrees, and distance in radii of the skull."""

# At yaw, pitch and roll 0: left is right, up is minus down, forward is towards the camera.
_FACING_CAMERA = np.diag([1.0, -1.0, -1.0])


class Limb(NamedTuple):
    """Angles of one arm or leg in degrees; all 0 is hanging straight down.

    Both sides use the same signs (outward and inward, not left and right), so that swapping the
    two limbs of a pair mirrors the pose. The upper part swings forward by the flexion, outward by
    the abduction (negative crosses the midline), and turns inward about its own axis by the
    rotation. The bend is that of the elbow (forearm forward) or knee (shin backward), 0 is
    straight; the tip is the flexion of the wrist, or toes pointing down.
    """

    flexion: float = 0.0
    abduction: float = 0.0
    rotation: float = 0.0
    bend: float = 0.0
    tip: float = 0.0


class Pose(NamedTuple):
    """Joint angles of a whole person in degrees, independent of place, size and facing.

    Spine: the chest over the pelvis; head: over the chest. Bend and nod lean forward, side and
    tilt to the person's right; turns are to the person's left.
    """

    left_arm: Limb = Limb()
    right_arm: Limb = Limb()
    left_leg: Limb = Limb()
    right_leg: Limb = Limb()
    spine_bend: float = 0.0
    spine_side: float = 0.0
    spine_turn: float = 0.0
    head_nod: float = 0.0
    head_tilt: float = 0.0
    head_turn: float = 0.0


class Body(NamedTuple):
    """Lengths of a symmetric body, as shares of the stature.

    The trunk reaches from the pelvis to the middle of the shoulders, the neck from there to the
    lower end of the skull. Shoulder and hip are half the distance between the two; the head is the
    radius of the skull. The build is the thickness of trunk and limbs; 1 is average.
    """

    trunk: float = 0.285
    shoulder: float = 0.105
    hip: float = 0.065
    upper_arm: float = 0.165
    forearm: float = 0.145
    hand: float = 0.03
    thigh: float = 0.235
    shin: float = 0.23
    foot: float = 0.085
    neck: float = 0.045
    head: float = 0.078
    build: float = 1.0


@dataclass(frozen=True)
class Look:
    """Colours (RGB, 0 to 255) and clothes of a person; the same on both sides.

    Where sleeves or trousers are not long, forearms or shins show skin; long hair falls down to the
    shoulders.
    """

    skin: Colour = (224, 172, 134)
    hair: Colour = (60, 40, 25)
    shirt: Colour = (70, 110, 180)
    trousers: Colour = (60, 60, 75)
    shoes: Colour = (40, 35, 35)
    long_sleeves: bool = False
    long_trousers: bool = True
    long_hair: bool = False


@dataclass(frozen=True)
class Person:
    """A pose given a body, a look, a place, a size and a facing.

    Parameters
    ----------
    position : tuple of float
        (x, y) of the pelvis in pixels.
    stature : float
        Height of the upright body in pixels, above 0.
    pose, body, look : Pose, Body, Look
        Joint angles, proportions, colours and clothes.
    yaw : float
        Turn about the body's vertical axis in degrees: 0 faces the camera, 90 faces the image's
        right (the person has turned to their left), 180 faces away.
    pitch : float
        Tilt towards the camera in degrees: above 0 the person is seen from above.
    roll : float
        Clockwise turn in the image in degrees: 90 lies with the head to the right, 180 is
        upside-down.
    depth : float
        Distance behind the other people, any unit: people of smaller depth cover those of larger.

    Raises
    ------
    ValueError
        If the stature is not positive.
    """

    position: tuple[float, float]
    stature: float
    pose: Pose = field(default_factory=Pose)
    body: Body = field(default_factory=Body)
    look: Look = Look()
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    depth: float = 0.0

    def __post_init__(self) -> None:
        if not self.stature > 0:
            raise ValueError(f"Person.stature must be above 0 pixels, got {self.stature}")


@dataclass(frozen=True)
class Skeleton3D:
    """Points of a posed person in camera axes (right, down, away), pixels, float64.

    Parameters
    ----------
    joints : ndarray, (17, 3)
        COCO keypoints in COCO's order.
    pelvis, neck, head : ndarray, (3,)
        Middle of the hips, middle of the shoulders, middle of the skull.
    hands, heels, toes : ndarray, (2, 3)
        Ends of the limbs, left first.
    head_axes, chest_axes : ndarray, (3, 3)
        Columns are the unit vectors left, up and forward of the head and of the chest.
    """

    joints: FloatArray
    pelvis: FloatArray
    neck: FloatArray
    head: FloatArray
    hands: FloatArray
    heels: FloatArray
    toes: FloatArray
    head_axes: FloatArray
    chest_axes: FloatArray


def _about_left(degrees: float) -> FloatArray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])


def _about_up(degrees: float) -> FloatArray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


def _about_forward(degrees: float) -> FloatArray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def _turned(base: FloatArray, turn: float, side: float, bend: float) -> FloatArray:
    """Axes of the chest on the pelvis or the head on the chest; angles as in `Pose`."""
    return base @ _about_up(turn) @ _about_forward(side) @ _about_left(bend)


def _upper_axes(base: FloatArray, limb: Limb, side: int) -> FloatArray:
    """Axes of an upper arm or a thigh; ``side`` is +1 for left and -1 for right."""
    swing = _about_left(-limb.flexion) @ _about_forward(side * limb.abduction)
    return base @ swing @ _about_up(-side * limb.rotation)


def direction(azimuth: float, elevation: float) -> FloatArray:
    """Unit vector (3,) in the axes of the head: degrees from forward to the left, and upward."""
    a, e = np.radians(azimuth), np.radians(elevation)
    return np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])


def _arm(person: Person, chest: FloatArray, neck: FloatArray, side: int) -> list[FloatArray]:
    """Shoulder, elbow, wrist, end of the hand."""
    body, size = person.body, person.stature
    limb = person.pose.left_arm if side > 0 else person.pose.right_arm
    upper = _upper_axes(chest, limb, side)
    fore = upper @ _about_left(-limb.bend)
    shoulder = neck + chest[:, 0] * side * body.shoulder * size
    elbow = shoulder - upper[:, 1] * body.upper_arm * size
    wrist = elbow - fore[:, 1] * body.forearm * size
    hand = wrist - (fore @ _about_left(-limb.tip))[:, 1] * body.hand * size
    return [shoulder, elbow, wrist, hand]


def _leg(person: Person, root: FloatArray, pelvis: FloatArray, side: int) -> list[FloatArray]:
    """Hip, knee, ankle, heel, toe."""
    body, size = person.body, person.stature
    limb = person.pose.left_leg if side > 0 else person.pose.right_leg
    thigh = _upper_axes(root, limb, side)
    shin = thigh @ _about_left(limb.bend)
    hip = pelvis + root[:, 0] * side * body.hip * size
    knee = hip - thigh[:, 1] * body.thigh * size
    ankle = knee - shin[:, 1] * body.shin * size
    foot = shin @ _about_left(limb.tip)
    sole = ankle - foot[:, 1] * 0.02 * size
    heel = sole - foot[:, 2] * 0.2 * body.foot * size
    return [hip, knee, ankle, heel, sole + foot[:, 2] * body.foot * size]


def build_skeleton(person: Person) -> Skeleton3D:
    """Forward kinematics: from joint angles to points in pixels, whose depth is from the pelvis."""
    pose, body, size = person.pose, person.body, person.stature
    facing = _about_forward(person.roll) @ _FACING_CAMERA
    root = facing @ _about_left(person.pitch) @ _about_up(person.yaw)
    chest = _turned(root, pose.spine_turn, pose.spine_side, pose.spine_bend)
    axes = _turned(chest, pose.head_turn, pose.head_tilt, pose.head_nod)

    pelvis = np.array([*person.position, 0.0])
    neck = pelvis + chest[:, 1] * body.trunk * size
    radius = body.head * size
    head = neck + axes[:, 1] * (body.neck * size + radius)

    joints = np.empty((17, 3))
    hands, heels, toes = np.empty((3, 2, 3))
    joints[0] = head + axes @ (NOSE[2] * radius * direction(*NOSE[:2]))
    for index, side in enumerate((1, -1)):
        for first, (azimuth, elevation, distance) in ((1, EYE), (3, EAR)):
            towards = direction(side * azimuth, elevation)
            joints[first + index] = head + axes @ (distance * radius * towards)
        *arm, hands[index] = _arm(person, chest, neck, side)
        *leg, heels[index], toes[index] = _leg(person, root, pelvis, side)
        joints[5 + index :: 2][:6] = arm + leg
    return Skeleton3D(joints, pelvis, neck, head, hands, heels, toes, axes, chest)
