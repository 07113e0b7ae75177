"""Drawing of skeletons, heatmaps and learnt filters."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from .skeleton import Skeleton

LEFT_COLOUR = (255, 140, 0)
RIGHT_COLOUR = (0, 160, 255)
MIDDLE_COLOUR = (120, 220, 80)


def draw_poses(
    image: NDArray[np.uint8],
    keypoints: ArrayLike,
    scores: ArrayLike,
    skeleton: Skeleton,
    threshold: float = 0.2,
) -> NDArray[np.uint8]:
    """Draw skeletons: joints of the left side orange, of the right side blue, others green.

    Parameters
    ----------
    image : ndarray
        (H, W, 3) uint8 RGB; it is not changed.
    keypoints : array
        (M, K, 2) x, y in pixels.
    scores : array
        (M, K); joints with a score of at most `threshold` are left out.
    skeleton : Skeleton
        Names, edges and sides.
    threshold : float
        See `scores`.

    Returns
    -------
    ndarray
        (H, W, 3) uint8 RGB.
    """
    keypoints, scores = np.asarray(keypoints, float), np.asarray(scores, float)
    canvas = np.ascontiguousarray(image).copy()
    colours = [_side_colour(name) for name in skeleton.names]
    thickness = max(1, round(min(image.shape[:2]) / 200))
    for points, visible in zip(keypoints, scores > threshold, strict=True):
        at = [_subpixel(p) for p in points]
        for a, b in skeleton.edges:
            if visible[a] and visible[b]:
                colour = colours[a] if colours[a] == colours[b] else MIDDLE_COLOUR
                cv2.line(canvas, at[a], at[b], colour, thickness + 1, cv2.LINE_AA, shift=4)
        for position, colour, shown in zip(at, colours, visible, strict=True):
            if shown:
                cv2.circle(canvas, position, 16 * (thickness + 1), colour, -1, cv2.LINE_AA, 4)
                cv2.circle(canvas, position, 16 * (thickness + 1), (20, 20, 20), 1, cv2.LINE_AA, 4)
    return canvas


def _side_colour(name: str) -> tuple[int, int, int]:
    if name.startswith("left"):
        return LEFT_COLOUR
    return RIGHT_COLOUR if name.startswith("right") else MIDDLE_COLOUR


def _subpixel(point: NDArray[np.float64]) -> tuple[int, int]:
    x, y = np.clip(point, -30000, 30000)
    return round(x * 16), round(y * 16)
