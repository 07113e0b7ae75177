"""Boxes, crops and affine maps of top-down pose estimation, in NumPy.

Pixel centres lie at integer coordinates, x to the right, y down. An affine map is a (2, 3) float64
matrix that takes a point (x, y, 1) of the source to a point of the target. The conventions are
SimpleBaseline's (Xiao, Wu and Wei, "Simple Baselines for Human Pose Estimation and Tracking",
ECCV 2018): a crop is a similarity set by the padded width alone, and the centre of the person maps
to (W / 2, H / 2) of the crop.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from .checks import check_shape

_PADDING = 1.25


def _vector(name: str, value: ArrayLike, length: int) -> NDArray[np.float64]:
    vector = np.asarray(value, dtype=np.float64)
    if vector.shape != (length,) or not np.isfinite(vector).all():
        raise ValueError(f"{name}: got {value!r}, expected {length} finite numbers")
    return vector


def _affine(matrix: ArrayLike) -> NDArray[np.float64]:
    affine = np.asarray(matrix, dtype=np.float64)
    check_shape("affine matrix", affine, 2, 3)
    return affine


def clip_box(box_xywh: ArrayLike, width: int, height: int) -> NDArray[np.float64] | None:
    """Clip an annotated box to its image, as SimpleBaseline does for ground-truth boxes.

    The corners are pixel centres: the result's width and height are those of COCO less one pixel.
    Boxes of a detector are used as they are, without this function.

    Parameters
    ----------
    box_xywh : array-like of shape (4,)
        Left, top, width, height in image pixels.
    width, height : int
        Size of the image in pixels.

    Returns
    -------
    float64 array of shape (4,), or None
        x1, y1, x2 - x1, y2 - y1. None where nothing of the box is in the image, or where it is a
        single pixel and so has no extent to crop by.

    Raises
    ------
    ValueError
        If the box is not four finite numbers.
    """
    x, y, w, h = _vector("box_xywh", box_xywh, 4)
    x1, y1 = max(0.0, x), max(0.0, y)
    x2 = min(width - 1.0, x1 + max(0.0, w - 1.0))
    y2 = min(height - 1.0, y1 + max(0.0, h - 1.0))
    if x2 < x1 or y2 < y1 or (x2 == x1 and y2 == y1):
        return None
    return np.array([x1, y1, x2 - x1, y2 - y1])


def fit_aspect(size: ArrayLike, aspect: float) -> NDArray[np.float64]:
    """Grow one side of a size until width / height equals `aspect`.

    Parameters
    ----------
    size : array-like of shape (2,)
        Width and height, not negative and not both zero.
    aspect : float
        Wanted width / height, positive.

    Returns
    -------
    float64 array of shape (2,)
        Width and height, neither smaller than before.

    Raises
    ------
    ValueError
        If `size` or `aspect` is out of its range.
    """
    w, h = _vector("size", size, 2)
    if w < 0 or h < 0 or w + h == 0:
        raise ValueError(f"size: got {w} x {h}, expected a width and height not both zero")
    if not (math.isfinite(aspect) and aspect > 0):
        raise ValueError(f"aspect: got {aspect}, expected a positive width / height")
    return np.array([w, w / aspect] if w > aspect * h else [aspect * h, h])


def box_to_center_size(
    box_xywh: ArrayLike, aspect: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Turn a box into the centre and the padded size of its crop.

    Both sides are multiplied by 1.25 after the aspect is set.

    Parameters
    ----------
    box_xywh : array-like of shape (4,)
        Left, top, width, height in image pixels.
    aspect : float
        Width / height of the network's input.

    Returns
    -------
    center : float64 array of shape (2,)
        x, y in image pixels.
    size : float64 array of shape (2,)
        Padded width and height in image pixels; SimpleBaseline's "scale" is this / 200.

    Raises
    ------
    ValueError
        If the box has no extent, or a number is out of its range.
    """
    x, y, w, h = _vector("box_xywh", box_xywh, 4)
    return np.array([x + w / 2, y + h / 2]), fit_aspect((w, h), aspect) * _PADDING


def check_boxes(boxes: ArrayLike) -> NDArray[np.float64]:
    """Boxes (M, 4) as float64, M may be 0: left, top, width, height in pixels.

    Raises
    ------
    ValueError
        If the shape is wrong, a number is not finite, or a box has no extent.
    """
    corners = np.asarray(boxes, dtype=np.float64)
    corners = corners.reshape(0, 4) if corners.size == 0 else corners
    if corners.ndim != 2 or corners.shape[1] != 4 or not np.isfinite(corners).all():
        raise ValueError(f"boxes: got shape {corners.shape}, expected finite numbers (M, 4)")
    wrong = (corners[:, 2:] < 0).any(axis=1) | (corners[:, 2:].sum(axis=1) == 0)
    if wrong.any():
        shown = {int(i): corners[i].tolist() for i in np.flatnonzero(wrong)[:5]}
        raise ValueError(f"boxes: expected widths and heights not both zero, got {shown}")
    return corners


def crop_matrix(
    center: ArrayLike, size: ArrayLike, rotation_deg: float, output_hw: tuple[int, int]
) -> NDArray[np.float64]:
    """Build the similarity that takes image pixels to crop pixels.

    With s = W / size[0] and R = [[cos r, sin r], [-sin r, cos r]], a point p of the image maps to
    s R (p - center) + (W / 2, H / 2). The padded height is not used.

    Parameters
    ----------
    center : array-like of shape (2,)
        x, y of the crop's centre in image pixels.
    size : array-like of shape (2,)
        Padded width and height in image pixels, both positive.
    rotation_deg : float
        Angle r in degrees.
    output_hw : (int, int)
        Height H and width W of the crop.

    Returns
    -------
    float64 array of shape (2, 3)

    Raises
    ------
    ValueError
        If a size is not positive or a number is not finite.
    """
    cx, cy = _vector("center", center, 2)
    padded = _vector("size", size, 2)
    if (padded <= 0).any() or min(output_hw) <= 0 or not math.isfinite(rotation_deg):
        raise ValueError(
            f"got padded size {padded.tolist()}, output (H, W) {output_hw} and rotation "
            f"{rotation_deg}, expected positive sizes and a finite angle"
        )
    height, width = output_hw
    scale = width / padded[0]
    cos = scale * math.cos(math.radians(rotation_deg))
    sin = scale * math.sin(math.radians(rotation_deg))
    return np.array(
        [
            [cos, sin, width / 2 - cos * cx - sin * cy],
            [-sin, cos, height / 2 + sin * cx - cos * cy],
        ]
    )


def mirror_first(matrix: ArrayLike, image_width: int) -> NDArray[np.float64]:
    """Compose a map with the mirror x -> image_width - 1 - x of the image, which acts first.

    Parameters
    ----------
    matrix : array-like of shape (2, 3)
        Map from pixels of the mirrored image.
    image_width : int
        Width of the image in pixels.

    Returns
    -------
    float64 array of shape (2, 3)
        Map from pixels of the image as it is.

    Raises
    ------
    ValueError
        If the shape is not (2, 3).
    """
    x, y, shift = _affine(matrix).T
    return np.stack([-x, y, (image_width - 1) * x + shift], axis=1)


def apply_affine(points: ArrayLike, matrix: ArrayLike) -> NDArray[np.float64]:
    """Map points.

    Parameters
    ----------
    points : array-like of shape (..., 2)
        x, y.
    matrix : array-like of shape (2, 3)
        Affine map.

    Returns
    -------
    float64 array of shape (..., 2)

    Raises
    ------
    ValueError
        If a shape is wrong.
    """
    affine = _affine(matrix)
    xy = np.asarray(points, dtype=np.float64)
    if xy.ndim == 0 or xy.shape[-1] != 2:
        raise ValueError(f"points: got shape {xy.shape}, expected (..., 2)")
    return xy @ affine[:, :2].T + affine[:, 2]


def warp(image: NDArray[Any], matrix: ArrayLike, output_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Resample an image under an affine map: bilinear, zero outside, no antialiasing.

    Parameters
    ----------
    image : uint8 array of shape (H, W) or (H, W, C)
        Source.
    matrix : array-like of shape (2, 3)
        Map from source to output pixels.
    output_hw : (int, int)
        Height and width of the output.

    Returns
    -------
    uint8 array of shape (*output_hw) or (*output_hw, C)
        OpenCV may round sub-pixel positions to 1/32.

    Raises
    ------
    TypeError
        If the image is not uint8.
    ValueError
        If a shape is wrong.
    """
    if image.dtype != np.uint8:
        raise TypeError(f"image: got dtype {image.dtype}, expected uint8")
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise ValueError(f"image: got shape {image.shape}, expected (H, W) or (H, W, C)")
    height, width = output_hw
    warped = cv2.warpAffine(image, _affine(matrix), (width, height), flags=cv2.INTER_LINEAR)
    return np.asarray(warped, dtype=np.uint8).reshape(height, width, *image.shape[2:])
