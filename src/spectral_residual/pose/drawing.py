"""Drawing of skeletons, and the pictures that prediction leaves behind."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from .dataset import KeypointDataset, read_image
from .oks import Poses
from .skeleton import Skeleton

_LEFT_COLOUR = (255, 140, 0)
_RIGHT_COLOUR = (0, 160, 255)
_MIDDLE_COLOUR = (120, 220, 80)


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
                colour = colours[a] if colours[a] == colours[b] else _MIDDLE_COLOUR
                cv2.line(canvas, at[a], at[b], colour, thickness + 1, cv2.LINE_AA, shift=4)
        for position, colour, shown in zip(at, colours, visible, strict=True):
            if shown:
                cv2.circle(canvas, position, 16 * (thickness + 1), colour, -1, cv2.LINE_AA, 4)
                cv2.circle(canvas, position, 16 * (thickness + 1), (20, 20, 20), 1, cv2.LINE_AA, 4)
    return canvas


def write_overlays(
    folder: Path, poses: Poses, dataset: KeypointDataset, skeleton: Skeleton, threshold: float
) -> int:
    """Write every predicted image with its skeletons drawn in, as JPEG.

    Parameters
    ----------
    folder : Path
        Made if it is not there; pictures have the names of the images.
    poses : dict of ndarray
        Rescored poses; see `rescored_poses`.
    dataset : KeypointDataset
        Gives the image files.
    skeleton : Skeleton
        What to draw.
    threshold : float
        Joints with at most this score are not drawn, nor are poses with at most this score.

    Returns
    -------
    int
        Number of pictures written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows: dict[Path, list[int]] = defaultdict(list)
    for row, (index, score) in enumerate(zip(poses["index"], poses["score"], strict=True)):
        shown = rows[dataset.instances[index].file]
        if score > threshold:
            shown.append(row)
    for file, shown in rows.items():
        image = np.ascontiguousarray(read_image(file)[:, :, ::-1])
        drawn = draw_poses(
            image, poses["keypoints"][shown], poses["joint_scores"][shown], skeleton, threshold
        )
        path = folder / f"{file.stem}.jpg"
        if not cv2.imwrite(str(path), drawn[:, :, ::-1]):
            raise OSError(f"could not write {path}")
    return len(rows)


def _side_colour(name: str) -> tuple[int, int, int]:
    if name.startswith("left"):
        return _LEFT_COLOUR
    return _RIGHT_COLOUR if name.startswith("right") else _MIDDLE_COLOUR


def _subpixel(point: NDArray[np.float64]) -> tuple[int, int]:
    x, y = np.clip(point, -30000, 30000)
    return round(x * 16), round(y * 16)
