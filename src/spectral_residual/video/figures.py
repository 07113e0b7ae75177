"""Pictures of video classification, drawn by matplotlib without its global state."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..report.figures import COLOURS, contact_sheet, render

_UNKNOWN, _WRONG, _TRUE = COLOURS[:3]
_DPI = 100
_MOST_LABELS = 40
_FRAME_HEIGHT = 150
_FRAMES_PER_ROW = 8
_SHEET_WIDTH = 6.5


def confusion_figure(matrix: NDArray[np.int64], class_names: Sequence[str]) -> bytes:
    """Draw a confusion matrix: each row shows the shares of one true class.

    Colours follow the square root of the share, so that rare confusions are seen.

    Parameters
    ----------
    matrix : ndarray
        (classes, classes) counts: row the true class, column the guess.
    class_names : sequence of str
        Written beside the matrix for up to 40 classes; otherwise their numbers are.

    Returns
    -------
    bytes
        PNG. Rows without samples are grey.
    """
    classes = len(class_names)
    if matrix.shape != (classes, classes):
        raise ValueError(
            f"matrix: got shape {matrix.shape}, expected {(classes, classes)} for {classes} names"
        )
    samples = matrix.sum(axis=1, keepdims=True)
    shares = np.where(samples > 0, matrix / np.maximum(samples, 1), np.nan)
    labelled = classes <= _MOST_LABELS
    side = min(max(4.0, 0.32 * classes), 12.0)
    figure = Figure(figsize=(side + 3, side + 2), layout="constrained")
    axes = figure.subplots()
    axes.set_facecolor("#b0b0b0")
    colours = PowerNorm(0.5, vmin=0, vmax=1)
    image = axes.imshow(shares, cmap="Blues", norm=colours, interpolation="nearest")
    figure.colorbar(image, ax=axes, shrink=0.7, label="share of the true class")
    axes.set_xlabel("guessed class" if labelled else "number of the guessed class")
    axes.set_ylabel("true class" if labelled else "number of the true class")
    if labelled:
        axes.set_xticks(range(classes), class_names, rotation=90, parse_math=False)
        axes.set_yticks(range(classes), class_names, parse_math=False)
    return render(figure, dpi=_DPI)


def prediction_figure(
    frames: Sequence[NDArray[np.uint8]],
    guesses: Sequence[tuple[str, float]],
    *,
    title: str,
    label: str | None,
) -> bytes:
    """Draw the frames of a clip above the best guesses, as in the paper's figure 5.

    Parameters
    ----------
    frames : sequence of ndarray
        Each (H, W, 3) uint8 RGB, all of one size; eight in a row.
    guesses : sequence of (str, float)
        Class and score in [0, 1], the best first.
    title : str
        Name of the video.
    label : str or None
        True class, in green; wrong guesses are orange. None if it is not known.

    Returns
    -------
    bytes
        PNG.
    """
    height, width = frames[0].shape[:2]
    size = (max(1, round(width * _FRAME_HEIGHT / height)), _FRAME_HEIGHT)
    small = [
        np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        for frame in frames
    ]
    sheet = contact_sheet(small, columns=min(len(small), _FRAMES_PER_ROW))
    heights = (sheet.shape[0] / _DPI, 0.3 * len(guesses))
    figure_width = max(sheet.shape[1] / _DPI, _SHEET_WIDTH)
    figure = Figure(figsize=(figure_width, sum(heights) + 0.6), layout="constrained")
    picture, bars = figure.subplots(2, height_ratios=heights)
    picture.imshow(sheet)
    picture.set_axis_off()
    picture.set_anchor("W")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, parse_math=False)
    if label is not None:
        figure.text(
            0.99, 0.98, label, va="top", ha="right", fontsize=12, weight="bold", color=_TRUE,
            parse_math=False,
        )  # fmt: skip
    bars.set_axis_off()
    bars.set_xlim(0, 1)
    bars.set_ylim(len(guesses) - 0.5, -0.5)
    for row, (name, score) in enumerate(guesses):
        colour = _UNKNOWN if label is None else _TRUE if name == label else _WRONG
        bars.barh(row, 0.3 * score, height=0.6, color=colour)
        for x, text, side in ((0.41, f"{100 * score:.1f} %", "right"), (0.43, name, "left")):
            bars.text(
                x, row, text, ha=side, va="center", fontsize=11, color=colour, parse_math=False
            )
    return render(figure, dpi=_DPI)
