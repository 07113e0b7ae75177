"""How all figures look, and how figures and pictures become files."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .files import write_file

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#777777")
"""Colour-blind-safe colours: Okabe and Ito, "Color Universal Design", 2008; black and grey."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")

_DPI = 160


def render(figure: Figure, kind: str = "png", dpi: int = _DPI) -> bytes:
    """A figure as the content of a file, drawn without matplotlib's global state.

    Parameters
    ----------
    figure : Figure
        Not made by pyplot.
    kind : str
        What matplotlib can write: ``"png"``, ``"svg"``, ``"pdf"``.
    dpi : int
        Pixels per inch of the figure.

    Raises
    ------
    ValueError
        If matplotlib cannot write files of this kind.
    """
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=dpi, facecolor="white")
    return buffer.getvalue()


def plain(axes: Axes) -> None:
    """A light grid and no frame above and on the right."""
    axes.grid(True, color="#d9d9d9", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)


def encode(image: NDArray[np.uint8], suffix: str = ".png", quality: int = 90) -> bytes:
    """A picture as the content of a file.

    Parameters
    ----------
    image : ndarray
        (H, W, 3) uint8 RGB, H and W positive.
    suffix : str
        ``".png"`` or ``".jpg"``; JPEG keeps full resolution of the colours.
    quality : int
        Of JPEG, up to 100.

    Raises
    ------
    ValueError
        If the image has another shape or dtype, or OpenCV cannot encode it.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.size == 0 or image.dtype != np.uint8:
        got = f"shape {image.shape} and dtype {image.dtype}"
        raise ValueError(f"image: got {got}, expected (H, W, 3) and uint8")
    options = [
        *(cv2.IMWRITE_JPEG_QUALITY, quality),
        *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
    ]
    bgr = np.ascontiguousarray(image[:, :, ::-1])
    done, content = cv2.imencode(suffix, bgr, options if suffix == ".jpg" else [])
    if not done:
        raise ValueError(f"could not encode an image of shape {image.shape} as {suffix}")
    return content.tobytes()


def contact_sheet(images: Sequence[NDArray[np.uint8]], columns: int) -> NDArray[np.uint8]:
    """Arrange pictures of one size in rows.

    Parameters
    ----------
    images : sequence of ndarray
        Each (H, W, 3) uint8.
    columns : int
        Pictures per row; the last row is filled with white.

    Returns
    -------
    ndarray
        (rows * (H + 4), columns * (W + 4), 3) uint8.
    """
    if not images:
        raise ValueError("a contact sheet needs at least one picture")
    height, width = images[0].shape[:2]
    rows = -(-len(images) // columns)
    sheet = np.full((rows * (height + 4), columns * (width + 4), 3), 255, np.uint8)
    for i, image in enumerate(images):
        y, x = (i // columns) * (height + 4), (i % columns) * (width + 4)
        sheet[y : y + height, x : x + width] = image
    return sheet


def save_figure(path: str | Path, figure: Figure) -> None:
    """Write a figure in one step, of the kind that the file's suffix names; see `render`."""
    write_file(path, render(figure, Path(path).suffix.removeprefix(".").lower() or "png"))
