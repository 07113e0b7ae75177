"""Pictures and messages that prediction leaves behind."""

from __future__ import annotations

import logging
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np

from .dataset import KeypointDataset
from .drawing import draw_poses
from .images import ImageError, read_image
from .results import Poses
from .skeleton import Skeleton

log = logging.getLogger(__name__)


def report_broken(poses: Poses, dataset: KeypointDataset) -> int:
    """Log each unreadable image once, with the reason, and return their number."""
    instances = [dataset.instances[i] for i in poses["broken"] if i >= 0]
    files = {instance.file: instance.image_size for instance in instances}
    for file, size in sorted(files.items()):
        try:
            read_image(file, size)
            log.warning("left out: image %s could not be read before", file)
        except ImageError as error:
            log.warning("left out: %s", error)
    return len(files)


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
