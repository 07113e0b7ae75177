"""Reading image files, with honest errors for broken ones."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


class ImageError(ValueError):
    """An image that is missing, truncated, no image, or not of the annotated size."""


def read_image(path: str | Path, expected_size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """Read an image file.

    The stored raster is returned: an EXIF orientation is ignored, because annotations refer to
    the raster.

    Parameters
    ----------
    path : path
        JPEG, PNG or another format that OpenCV reads.
    expected_size : (int, int), optional
        Height and width (H, W) that it must have.

    Returns
    -------
    ndarray
        (H, W, 3) uint8, **BGR** as OpenCV reads it.

    Raises
    ------
    ImageError
        If the file is missing, truncated, not an image, or of another size.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ImageError(f"image {path}: {error.strerror or error}") from error
    if _is_truncated(content):
        raise ImageError(f"image {path}: the file is truncated ({len(content)} bytes)")
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None
    if image is None:
        raise ImageError(f"image {path}: not an image that OpenCV can read")
    if expected_size is not None and image.shape[:2] != tuple(expected_size):
        raise ImageError(
            f"image {path}: expected {expected_size[1]}x{expected_size[0]} pixels (W x H) as "
            f"annotated, got {image.shape[1]}x{image.shape[0]}"
        )
    return np.asarray(image, dtype=np.uint8)


def _is_truncated(content: bytes) -> bool:
    """Whether a JPEG or PNG lacks its end; decoders fill the rest of such files with grey."""
    if content.startswith(b"\xff\xd8\xff"):
        return content.rfind(b"\xff\xd9") < content.rfind(b"\xff\xda")
    if content.startswith(b"\x89PNG"):
        return b"IEND" not in content[-16:]
    return False
