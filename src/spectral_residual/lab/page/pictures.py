"""Pictures that the page takes: generated people, uploads within limits, boxes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...pose.images import ImageError, image_size, read_image
from ..generated.samples import make_sample

Picture = NDArray[np.uint8]
Box = tuple[float, float, float, float]
Point = tuple[float, float]

MOST_FILE_BYTES = 32 * 2**20
"""Of an uploaded picture or clip."""

MOST_PIXELS = 24_000_000
"""Of an uploaded picture."""

LONGEST_SIDE = 1280
"""Of a picture on the page, in pixels; larger ones are reduced."""

_LEAST_BOX = 8
_SEED = 7
_EXAMPLES = (8, 20, 24, 3, 32, 14)
_EXAMPLE_SIZE = (320, 320)
_BOX_COLOUR = (255, 220, 60)


@dataclass(frozen=True, eq=False)
class Example:
    """A generated picture.

    Attributes
    ----------
    picture : ndarray
        (H, W, 3) uint8 RGB.
    box : tuple of float
        Left, top, width, height of the person who is seen best, in pixels.
    """

    picture: Picture
    box: Box


def examples() -> list[Example]:
    """Generated pictures of people who stand or walk; the same in every run."""
    found = []
    for index in _EXAMPLES:
        scene = make_sample("val", index, image_size=_EXAMPLE_SIZE, seed=_SEED, upright=True).scene
        areas = scene.seen * scene.silhouettes.sum(axis=(1, 2))
        mask = scene.silhouettes[int(areas.argmax())].view(np.uint8)
        x, y, width, height = map(float, cv2.boundingRect(mask))
        found.append(Example(scene.image, (x, y, width, height)))
    return found


def read_picture(path: str | Path) -> Picture:
    """Read an uploaded picture, upright, reduced to a longest side of `LONGEST_SIDE`.

    Parameters
    ----------
    path : path
        Image file; its header is read first.

    Returns
    -------
    ndarray
        (H, W, 3) uint8 RGB.

    Raises
    ------
    ImageError
        If it is no image, is damaged, or is smaller than 8x8 or larger than `MOST_PIXELS`; the
        message names the file without its folder.
    """
    path = Path(path)
    try:
        height, width = image_size(path)
        if height * width > MOST_PIXELS or min(height, width) < _LEAST_BOX:
            raise ImageError(
                f"image {path.name}: got {width}x{height} pixels (W x H), expected at least "
                f"{_LEAST_BOX}x{_LEAST_BOX} and at most {MOST_PIXELS / 1e6:.0f} megapixels"
            )
        picture = read_image(path, apply_exif=True)[:, :, ::-1]
    except ImageError as error:
        raise ImageError(str(error).replace(str(path), path.name)) from error
    scale = LONGEST_SIDE / max(height, width)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    return np.ascontiguousarray(picture)


def whole_box(picture: Picture) -> Box:
    """Left, top, width, height of a picture as one box."""
    return 0.0, 0.0, float(picture.shape[1] - 1), float(picture.shape[0] - 1)


def corner_box(first: Point, second: Point) -> Box:
    """Left, top, width, height of the box between two opposite corners, x and y in pixels.

    Raises
    ------
    ValueError
        If a side is shorter than 8 pixels.
    """
    (left, right), (top, bottom) = (sorted(pair) for pair in zip(first, second, strict=True))
    width, height = right - left, bottom - top
    if min(width, height) < _LEAST_BOX:
        raise ValueError(
            f"the box is {width:.0f}x{height:.0f} pixels (W x H), expected at least "
            f"{_LEAST_BOX}x{_LEAST_BOX}: click on two opposite corners"
        )
    return float(left), float(top), float(width), float(height)


def draw_box(picture: Picture, box: ArrayLike | None, corner: Point | None = None) -> Picture:
    """Copy of a picture with a box, and the first corner of another one, drawn in."""
    canvas = picture.copy()
    thickness = max(2, round(max(picture.shape) / 300))
    if box is not None:
        x, y, width, height = np.rint(np.asarray(box, float)).astype(int).tolist()
        cv2.rectangle(canvas, (x, y), (x + width, y + height), _BOX_COLOUR, thickness)
    if corner is not None:
        place = (round(corner[0]), round(corner[1]))
        cv2.drawMarker(canvas, place, _BOX_COLOUR, cv2.MARKER_CROSS, 8 * thickness, thickness)
    return canvas
