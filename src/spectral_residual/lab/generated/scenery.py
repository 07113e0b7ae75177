"""Backgrounds, clutter without limbs, and the wear of a camera."""

from __future__ import annotations

import cv2
import numpy as np

from .body import Colour
from .figure import Part, Solid
from .render import Image


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
