"""Random people: poses within the limits of the joints, bodies, clothes, facing and place."""

from __future__ import annotations

import colorsys
from collections.abc import Callable

import numpy as np

from .body import Body, Colour, Limb, Look, Person, Pose, build_skeleton

_Limits = tuple[Limb, Limb]
ARM_LIMITS: _Limits = (Limb(-50, -40, -60, 0, -20), Limb(170, 165, 100, 145, 30))
"""Smallest and largest angles of an arm in degrees."""

LEG_LIMITS: _Limits = (Limb(-25, -28, -30, 0, -15), Limb(115, 50, 30, 135, 40))
"""Smallest and largest angles of a leg in degrees."""

# fmt: off
_SKINS: tuple[Colour, ...] = (
    (246, 208, 178), (229, 180, 143), (203, 148, 110), (165, 110, 75), (120, 78, 52), (86, 56, 40),
)
_HAIRS: tuple[Colour, ...] = (
    (28, 22, 20), (62, 40, 24), (104, 66, 34), (150, 60, 30), (196, 160, 92), (150, 150, 152),
)
# fmt: on
_HAIR_CONTRAST = 130  # sum over R, G, B of the differences between hair and skin

# Rows are mean and spread of flexion, abduction, rotation, bend, tip.
_Style = tuple[tuple[float, float], ...]
_ARM_STYLES: dict[str, _Style] = {
    "hang": ((5, 8), (10, 6), (10, 15), (15, 12), (5, 8)),
    "front": ((35, 15), (-8, 12), (60, 20), (95, 25), (5, 8)),
    "across": ((35, 8), (-12, 8), (78, 10), (105, 12), (5, 8)),
    "akimbo": ((-5, 8), (48, 10), (75, 12), (95, 15), (5, 8)),
    "behind": ((-35, 10), (12, 8), (75, 15), (70, 20), (5, 8)),
    "out": ((10, 15), (85, 15), (-20, 40), (30, 35), (5, 8)),
    "up": ((20, 25), (150, 15), (0, 30), (40, 35), (5, 8)),
    "reach": ((85, 25), (0, 18), (0, 25), (25, 25), (5, 8)),
}
_ARM_SHARES = (0.2, 0.14, 0.14, 0.1, 0.06, 0.12, 0.12, 0.12)
_LEG_STYLES: dict[str, _Style] = {
    "stand": ((2, 5), (5, 4), (-8, 8), (5, 5), (0, 5)),
    "wide": ((5, 10), (24, 8), (-15, 10), (15, 15), (0, 8)),
    "sit": ((85, 12), (10, 10), (0, 10), (85, 15), (0, 8)),
    "squat": ((95, 15), (22, 12), (-10, 10), (115, 15), (0, 8)),
    "kick": ((60, 25), (10, 15), (0, 10), (30, 30), (10, 10)),
    "back": ((-12, 8), (4, 6), (0, 8), (60, 30), (15, 10)),
}
_LEG_SHARES = (0.36, 0.18, 0.14, 0.1, 0.12, 0.1)
_UPRIGHT_LEG_SHARES = (0.7, 0.3, 0.0, 0.0, 0.0, 0.0)


def _limb(rng: np.random.Generator, style: _Style, limits: _Limits) -> Limb:
    means, spreads = np.array(style).T
    angles = np.clip(means + spreads * rng.standard_normal(len(means)), *limits)
    return Limb(*angles.tolist())


def _pair(
    rng: np.random.Generator,
    styles: dict[str, _Style],
    shares: tuple[float, ...],
    limits: _Limits,
    alike: float,
) -> tuple[Limb, Limb]:
    """Draw a left and a right limb, of one style with probability ``alike``."""
    names = list(styles)
    left, right = rng.choice(names, 2, p=shares)
    if rng.random() < alike:
        right = left
    return _limb(rng, styles[left], limits), _limb(rng, styles[right], limits)


def _walking(rng: np.random.Generator, limits: _Limits, swing: float) -> tuple[Limb, Limb]:
    """Draw limbs that swing against each other; ``swing`` is the left one's in degrees."""
    pair = []
    for flexion in (swing, -swing):
        bend = (20, 12) if limits is ARM_LIMITS else (max(5.0, 20 - flexion), 8)
        pair.append(_limb(rng, ((flexion, 4), (6, 4), (0, 5), bend, (5, 5)), limits))
    return pair[0], pair[1]


def _crossed(rng: np.random.Generator) -> tuple[Limb, Limb]:
    """Draw legs of which one crosses in front of the other."""
    near: _Style = ((14, 5), (-14, 5), (0, 8), (10, 6), (5, 8))
    far: _Style = ((-8, 4), (-9, 4), (0, 8), (8, 5), (5, 8))
    styles = (near, far) if rng.random() < 0.5 else (far, near)
    return _limb(rng, styles[0], LEG_LIMITS), _limb(rng, styles[1], LEG_LIMITS)


def sample_pose(rng: np.random.Generator, upright: bool = False) -> Pose:
    """Draw a pose within `ARM_LIMITS` and `LEG_LIMITS`; no side is preferred.

    If ``upright``, the person stands or walks.
    """
    kind = rng.random()
    if kind < 0.18:
        swing = float(rng.uniform(15, 40) * rng.choice([-1, 1]))
        arms = _walking(rng, ARM_LIMITS, -0.9 * swing)
        legs = _walking(rng, LEG_LIMITS, swing)
    else:
        arms = _pair(rng, _ARM_STYLES, _ARM_SHARES, ARM_LIMITS, alike=0.45)
        leg_shares = _UPRIGHT_LEG_SHARES if upright else _LEG_SHARES
        legs = _pair(rng, _LEG_STYLES, leg_shares, LEG_LIMITS, alike=0.7)
        if kind < 0.33:
            legs = _crossed(rng)
    spine = np.clip(rng.standard_normal(3) * (12, 7, 10) + (6, 0, 0), (-15, -20, -25), (40, 20, 25))
    head = np.clip(rng.standard_normal(3) * (8, 7, 16), (-20, -18, -40), (25, 18, 40))
    return Pose(*arms, *legs, *spine.tolist(), *head.tolist())


def sample_body(rng: np.random.Generator) -> Body:
    """Draw lengths within 12 % of the average, and a build from 0.8 to 1.3."""
    lengths = np.array(Body()) * rng.uniform(0.88, 1.12, len(Body()))
    return Body(*lengths.tolist())._replace(build=float(rng.uniform(0.8, 1.3)))


def sample_look(rng: np.random.Generator) -> Look:
    """Draw skin and hair from palettes, clothes of any colour."""

    def near(palette: tuple[Colour, ...]) -> Colour:
        levels = np.array(palette[rng.integers(len(palette))]) + rng.normal(0, 6, 3)
        red, green, blue = np.clip(np.rint(levels), 0, 255).astype(int).tolist()
        return red, green, blue

    def cloth(darkest: float, brightest: float) -> Colour:
        hue, strength, value = rng.uniform((0, 0.05, darkest), (1, 0.85, brightest)).tolist()
        red, green, blue = (round(255 * c) for c in colorsys.hsv_to_rgb(hue, strength, value))
        return red, green, blue

    skin = near(_SKINS)
    # A head seen from behind must not pass for a face without features.
    hairs = [hair for hair in _HAIRS if np.abs(np.subtract(hair, skin)).sum() > _HAIR_CONTRAST]
    return Look(
        skin=skin,
        hair=near(tuple(hairs)),
        shirt=cloth(0.25, 1.0),
        trousers=cloth(0.2, 0.85),
        shoes=cloth(0.1, 0.6),
        long_sleeves=bool(rng.random() < 0.5),
        long_trousers=bool(rng.random() < 0.65),
        long_hair=bool(rng.random() < 0.35),
    )


def _roll(rng: np.random.Generator, upright: bool) -> float:
    """Roll in degrees; unless ``upright``: 68 % upright, 14 % leaning, 11 % lying, 7 % inverted."""
    if upright:
        return float(rng.normal(0, 7))
    kinds = ((0.0, 7.0), (0.0, 30.0), (90.0, 14.0), (180.0, 20.0))
    mean, spread = kinds[rng.choice(4, p=(0.68, 0.14, 0.11, 0.07))]
    return float(rng.choice([-1, 1]) * (mean + spread * rng.standard_normal()))


def _facing(rng: np.random.Generator) -> float:
    """Yaw in degrees: any for 40 %, near the front for 30 %, near the back for 30 %."""
    kind = rng.random()
    if kind < 0.4:
        return float(rng.uniform(-180, 180))
    return float((0 if kind < 0.7 else 180) + 25 * rng.standard_normal())


def sample_person(
    rng: np.random.Generator,
    size: tuple[int, int],
    accept: Callable[[Person], bool] = lambda person: True,
    upright: bool = False,
) -> Person:
    """Draw a person of whom at least 9 joints lie inside the image.

    The stature is 0.42 to 1.1 times the shorter side of the image. If ``upright``, the person
    stands or walks, seen from any side. `accept` is a further condition on the place, given up
    after 20 draws.
    """
    height, width = size
    pose, body, look = sample_pose(rng, upright), sample_body(rng), sample_look(rng)
    stature = float(min(size) * np.exp(rng.uniform(np.log(0.42), np.log(1.1))))
    yaw, pitch = _facing(rng), float(rng.normal(7, 7))
    roll = _roll(rng, upright)
    for _ in range(20):
        place = (float(rng.uniform(0.1, 0.9) * width), float(rng.uniform(0.22, 0.75) * height))
        depth = float(rng.random())
        person = Person(place, stature, pose, body, look, yaw, pitch, roll, depth)
        joints = build_skeleton(person).joints
        inside = (joints[:, :2] >= 0).all(1) & (joints[:, 0] < width) & (joints[:, 1] < height)
        if inside.sum() >= 9 and accept(person):
            break
    return person


def sample_people(
    rng: np.random.Generator, size: tuple[int, int], count: int, upright: bool = False
) -> list[Person]:
    """Draw people of random depths who may overlap but do not stand in the same place."""
    people: list[Person] = []

    def apart(person: Person) -> bool:
        return all(
            np.hypot(*np.subtract(person.position, other.position))
            > 0.22 * (person.stature + other.stature)
            for other in people
        )

    for _ in range(count):
        people.append(sample_person(rng, size, apart, upright))
    return people
