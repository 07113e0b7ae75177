"""Drawing of skeletons, and the pictures that prediction leaves behind."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import printable
from ..report.files import write_file
from .dataset import KeypointDataset
from .images import read_image
from .oks import Poses
from .skeleton import Skeleton

_LEFT_COLOUR = (255, 140, 0)
_RIGHT_COLOUR = (0, 160, 255)
_MIDDLE_COLOUR = (120, 220, 80)
_LONGEST_SIDE = 65500
_FARTHEST = 10**6

log = logging.getLogger(__name__)


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
        Made if it is not there; pictures have the names of the images, see `picture_names`.
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
    instances = {}
    for row, (index, score) in enumerate(zip(poses["index"], poses["score"], strict=True)):
        instance = dataset.instances[index]
        instances[instance.file] = instance
        shown = rows[instance.file]
        if score > threshold:
            shown.append(row)
    names, count = picture_names(rows), 0
    for file, shown in rows.items():
        instance = instances[file]
        image = read_image(file, instance.image_size, instance.apply_exif)[:, :, ::-1]
        drawn = draw_poses(
            image, poses["keypoints"][shown], poses["joint_scores"][shown], skeleton, threshold
        )
        if max(drawn.shape) > _LONGEST_SIDE:
            height, width = drawn.shape[:2]
            log.warning("no picture of %s: no JPEG holds %dx%d", printable(file), width, height)
            continue
        _, encoded = cv2.imencode(".jpg", drawn[:, :, ::-1])
        write_file(folder / f"{names[file]}.jpg", encoded.tobytes())
        count += 1
    return count


def picture_names(files: Iterable[Path]) -> dict[Path, str]:
    """Different names, without suffix, for pictures of image files.

    A file keeps its own name where no other has it, upper and lower case being the same. Of
    those with the same name, the folder comes before it if it differs, and the suffix after it:
    ``cam1_0001`` and ``cam2_0001``, ``a_jpg`` and ``a_png``.
    """
    groups: dict[str, list[Path]] = defaultdict(list)
    for file in sorted(files):
        groups[file.stem.casefold()].append(file)
    names = {group[0]: group[0].stem for group in groups.values() if len(group) == 1}
    taken = {name.casefold() for name in names.values()}
    for group in (group for group in groups.values() if len(group) > 1):
        folders = len({file.parent for file in group}) > 1
        suffixes = len({file.suffix for file in group}) > 1
        for file in group:
            name = f"{file.parent.name}_{file.stem}" if folders else file.stem
            name += f"_{file.suffix[1:]}" if suffixes else ""
            number, names[file] = 1, name
            while names[file].casefold() in taken:
                number += 1
                names[file] = f"{name}_{number}"
            taken.add(names[file].casefold())
    return names


def _side_colour(name: str) -> tuple[int, int, int]:
    if name.startswith("left"):
        return _LEFT_COLOUR
    return _RIGHT_COLOUR if name.startswith("right") else _MIDDLE_COLOUR


def _subpixel(point: NDArray[np.float64]) -> tuple[int, int]:
    x, y = np.clip(point, -_FARTHEST, _FARTHEST)
    return round(x * 16), round(y * 16)
