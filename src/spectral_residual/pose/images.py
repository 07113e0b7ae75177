"""Image files, with honest errors for broken ones."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import printable
from .headers import Header, read_header

MOST_PIXELS = 2**28
"""Pixels of the largest image that is decoded where no annotation states its size."""

_MOST_BYTES = 2**31 - 1
_WORKERS_TRACE = re.compile(r"Caught ImageError in .*?\n[\w.]*ImageError: ", re.DOTALL)


class ImageError(ValueError):
    """An image that is missing, truncated, no image, too large, or not of the annotated size.

    A loader's worker puts its stack trace before the message, which is removed here.
    """

    def __init__(self, message: str) -> None:
        super().__init__(_WORKERS_TRACE.sub("", message).rstrip())


def read_image(
    path: str | Path, expected_size: tuple[int, int] | None = None, apply_exif: bool = False
) -> NDArray[np.uint8]:
    """Read an image file.

    Its header is read first: nothing is decoded that is too large or of another size.

    Parameters
    ----------
    path : path
        JPEG, PNG or another format of `read_header`; what follows the end of a JPEG or PNG is
        ignored.
    expected_size : (int, int), optional
        Height and width (H, W) that it must have. Without it, `MOST_PIXELS` is the limit.
    apply_exif : bool
        Turn the picture as its EXIF orientation says. Otherwise the stored raster is returned, to
        which most annotations refer.

    Returns
    -------
    ndarray
        (H, W, 3) uint8, **BGR** as OpenCV reads it.

    Raises
    ------
    ImageError
        If the file is missing, not a regular file, truncated, not an image, too large or of
        another size.
    """
    content, header = _read(path)
    _check_size(path, header, expected_size, apply_exif)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except (cv2.error, MemoryError) as error:
        raise _no_image(path) from error
    if image is None:
        raise _no_image(path)
    if image.shape[:2] != (header.height, header.width):
        got = f"{image.shape[1]}x{image.shape[0]}"
        raise ImageError(
            f"image {printable(path)}: the header says {header.width}x{header.height} pixels "
            f"(W x H), but there are {got}"
        )
    pixels = np.asarray(image, dtype=np.uint8)
    return _upright(pixels, header.orientation) if apply_exif else pixels


def image_size(path: str | Path) -> tuple[int, int]:
    """Height and width (H, W) of an upright image, from its header.

    Raises
    ------
    ImageError
        As for `read_image`.
    """
    _, header = _read(path)
    _check_size(path, header, None, apply_exif=True)
    return header.upright_size()


def _read(path: str | Path) -> tuple[bytes, Header]:
    path, name = Path(path), printable(path)
    try:
        status = path.stat()
        readable = stat.S_ISREG(status.st_mode) and status.st_size <= _MOST_BYTES
        content = path.read_bytes() if readable else b""
    except OSError as error:
        raise ImageError(f"image {name}: {error.strerror or error}") from error
    except ValueError as error:
        raise ImageError(f"image {name}: {error}") from error
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(f"image {name}: not a regular file, expected an image")
    if not readable:
        raise ImageError(
            f"image {name}: got {status.st_size} bytes, at most {_MOST_BYTES} are read"
        )
    if not content:
        raise ImageError(f"image {name}: the file is empty")
    header = read_header(content)
    if header is not None and not header.complete:
        raise ImageError(f"image {name}: the file is truncated ({len(content)} bytes)")
    if header is None:
        raise _no_image(path)
    return content, header


def _no_image(path: str | Path) -> ImageError:
    return ImageError(f"image {printable(path)}: not an image that OpenCV can read")


def _check_size(
    path: str | Path, header: Header, expected: tuple[int, int] | None, apply_exif: bool
) -> None:
    stored = (header.height, header.width)
    size = header.upright_size() if apply_exif else stored
    got = f"{size[1]}x{size[0]}"
    if expected is None:
        if header.height * header.width > MOST_PIXELS:
            raise ImageError(
                f"image {printable(path)}: got {got} pixels (W x H), expected at most "
                f"{MOST_PIXELS} ({MOST_PIXELS / 1e6:.0f} megapixels)"
            )
        return
    if size == tuple(expected):
        return
    message = (
        f"image {printable(path)}: expected {expected[1]}x{expected[0]} pixels (W x H) as "
        f"annotated, got {got}"
    )
    if tuple(expected) in (stored, header.upright_size()):
        message += (
            f"; its EXIF orientation {header.orientation} swaps width and height, and apply_exif "
            f"of the data is {apply_exif}: are the annotations those of the "
            f"{'stored' if apply_exif else 'upright'} picture?"
        )
    raise ImageError(message)


def _upright(image: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Turn a stored raster as its EXIF orientation says."""
    if orientation >= 5:
        image = image.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)
