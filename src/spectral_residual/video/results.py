"""Results of videos: scores averaged over views, metrics, tables, and the files of them."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from ..errors import listed, printable, unknown_name
from ..report.figures import render
from ..report.files import replacing, write_file, write_metrics
from ..report.table import format_table
from .archive import read_arrays
from .classification import class_accuracy, classification_metrics, confusion_matrix
from .reader import VideoError, VideoReader

log = logging.getLogger(__name__)

_WORST_CLASSES = 5
_MOST_LABELS = 40
_DPI = 100
_TITLES = {
    "top1": "top-1",
    "top5": "top-5",
    "mean_class": "mean of classes",
    "direction": "direction",
}
_TEXTS = ("videos", "class_names", "missing")
_ARRAYS = {"scores": ("f", 3), "labels": ("iu", 1), "crops": ("iu", 0)}
_ARRAYS |= dict.fromkeys(_TEXTS, ("U", 1))
_SUM_TOLERANCE = 1e-2


@dataclass(frozen=True, eq=False)
class VideoScores:
    """Scores of the videos of a split, before averaging over views.

    Attributes
    ----------
    scores : ndarray
        (N, V, classes) float32: class probabilities of V = clips * crops views, clips outermost.
    labels : ndarray
        (N,) int64: true classes, -1 if unknown.
    videos : list of str
        N files.
    class_names : list of str
        In the order of the scores.
    crops : int
        Crops per clip.
    missing : list of str
        Files that could not be read; they have no scores.
    """

    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    videos: list[str]
    class_names: list[str]
    crops: int = 1
    missing: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        expected = (len(self.videos), len(self.labels), len(self.class_names))
        shape = self.scores.shape
        is_right = len(shape) == 3 and (shape[0], shape[0], shape[2]) == expected
        if not is_right or not shape[1] or self.crops < 1 or shape[1] % self.crops:
            raise ValueError(
                f"scores: got shape {shape} with {self.crops} crops, {expected[0]} videos, "
                f"{expected[1]} labels and {expected[2]} classes, expected "
                "(videos, clips * crops, classes)"
            )

    def check(self) -> None:
        """Raise ValueError, naming videos, unless scores are probabilities and labels classes."""
        wrong = []
        for row, label, video in zip(self.scores, self.labels, self.videos, strict=True):
            if not np.isfinite(row).all():
                wrong.append(f"{video}: scores that are not finite")
            elif row.min() < 0 or row.max() > 1:
                wrong.append(f"{video}: scores from {row.min():g} to {row.max():g}")
            elif np.abs(row.sum(axis=1, dtype=np.float64) - 1).max() > _SUM_TOLERANCE:
                wrong.append(f"{video}: scores of a view with a sum other than 1")
            if not -1 <= label < len(self.class_names):
                wrong.append(f"{video}: label {label}")
        if wrong:
            raise ValueError(
                f"expected probabilities of the classes, in [0, 1] and of sum 1, and labels in "
                f"[-1, {len(self.class_names)}), got {len(wrong)} faults:{listed(wrong)}"
            )

    @property
    def clips(self) -> int:
        """Clips of each video."""
        return self.scores.shape[1] // self.crops

    def averaged(self) -> NDArray[np.float32]:
        """Mean over the views, (N, classes)."""
        return self.scores.mean(axis=1)

    def first_clips(self, count: int) -> VideoScores:
        """The same with the first `count` clips of every video only."""
        if not 1 <= count <= self.clips:
            raise ValueError(f"clips: got {count}, expected 1 to {self.clips}")
        return replace(self, scores=self.scores[:, : count * self.crops])

    def labelled(self) -> tuple[Tensor, Tensor]:
        """Averaged scores (N, classes) and classes (N,) of the videos whose class is known."""
        known = self.labels >= 0
        averaged = self.scores[known].mean(axis=1)
        return torch.from_numpy(averaged), torch.from_numpy(self.labels[known])

    def metrics(self, pairs: Sequence[tuple[str, str]] = ()) -> dict[str, float]:
        """Metrics of the averaged scores.

        Parameters
        ----------
        pairs : sequence of (str, str)
            Names of classes that differ in the direction of time, for ``direction``.

        Returns
        -------
        dict of str to float
            As `classification_metrics`, over the videos with a known class; ``videos``, their
            number, and ``missing``, the number of those that could not be read, which count
            neither as right nor as wrong.
        """
        scores, labels = self.labelled()
        return {
            **classification_metrics(scores, labels, class_pairs(pairs, self.class_names)),
            "videos": float(len(labels)),
            "missing": float(len(self.missing)),
        }


def class_pairs(
    pairs: Sequence[tuple[str, str]], class_names: Sequence[str]
) -> list[tuple[int, int]]:
    """Numbers of named pairs of classes.

    Raises
    ------
    ValueError
        If a name is not among the classes, or a pair is not of two different ones.
    """
    numbers = {name: number for number, name in enumerate(class_names)}
    for pair in pairs:
        if len(set(pair)) != 2:
            raise ValueError(f"pairs: got {tuple(pair)}, expected two different classes")
        for name in pair:
            if name not in numbers:
                raise unknown_name("class in the pairs", name, class_names)
    return [(numbers[first], numbers[second]) for first, second in pairs]


def folder_labels(
    videos: Sequence[str], labels: NDArray[np.int64], class_names: Sequence[str]
) -> NDArray[np.int64]:
    """Labels (N,), unknown ones (-1) taken from the video's folder where that is a class.

    An underscore counts as a space.
    """
    numbers = {name.replace("_", " "): number for number, name in enumerate(class_names)}
    folders = [Path(video).parent.name.replace("_", " ") for video in videos]
    found = [numbers.get(folder, -1) for folder in folders]
    return np.where(labels < 0, np.asarray(found, dtype=np.int64), labels)


def read_scores(path: str | Path) -> VideoScores:
    """Read scores that `write_evaluation` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is another file or damaged, holds no video, or has scores that are no probabilities
        or labels that are no classes; the message names the file and the videos.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no scores file {path}")
    arrays = read_arrays(path, _ARRAYS)
    texts = {name: arrays[name].tolist() for name in _TEXTS}
    try:
        if not texts["videos"]:
            raise ValueError("it holds no video")
        if len(set(texts["class_names"])) < len(texts["class_names"]):
            raise ValueError("class_names: expected each name once")
        labels = arrays["labels"].astype(np.int64)
        scores = VideoScores(arrays["scores"], labels, crops=int(arrays["crops"]), **texts)
        scores.check()
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return scores


def report_missing(paths: Iterable[Path]) -> None:
    """Log each unreadable video, with the reason."""
    for path in paths:
        try:
            with VideoReader(path) as reader:
                reader.read([0])
            log.warning("left out: video %s could not be read before", printable(path))
        except (VideoError, IndexError) as error:
            log.warning("left out: %s", printable(error))


def print_evaluation(scores: VideoScores, metrics: Mapping[str, float]) -> None:
    """Print the table of metrics, in percent, and the classes of lowest accuracy."""
    names = [name for name in _TITLES if name in metrics]
    values = [100 * metrics[name] for name in names]
    cells = ["-" if math.isnan(value) else f"{value:.2f}" for value in values]
    cells += [f"{metrics[name]:.0f}" for name in ("videos", "missing")]
    titles = [f"{_TITLES[name]} (%)" for name in names]
    print(format_table([*titles, "videos", "missing"], [cells]))
    classes = len(scores.class_names)
    if classes <= 5:
        print(f"top-5 says nothing with {classes} classes")
    if not metrics["videos"]:
        print("the class of no video is known: there is nothing to measure")
    else:
        print("\n" + _worst_classes(scores))


def _worst_classes(scores: VideoScores) -> str:
    """Table of the classes of lowest accuracy, and what they are most often taken for."""
    averaged, labels = scores.labelled()
    accuracy = class_accuracy(averaged, labels)
    others = confusion_matrix(averaged, labels).fill_diagonal_(0)
    worst = [int(c) for c in accuracy.argsort(stable=True) if accuracy[c] < 1][:_WORST_CLASSES]
    if not worst:
        return "all classes are right"
    names = [printable(name) for name in scores.class_names]
    rows = []
    for number in worst:
        taken = names[int(others[number].argmax())] if others[number].any() else ""
        rows.append([names[number], f"{100 * accuracy[number]:.2f}", taken])
    return format_table(["worst classes", "right (%)", "most often taken for"], rows)


def write_evaluation(
    folder: Path, split: str, scores: VideoScores, metrics: Mapping[str, float]
) -> None:
    """Write scores, metrics and confusion matrix of a split, and say where.

    Parameters
    ----------
    folder : Path
        Made if it is not there; gets ``metrics_<split>.json``, ``confusion_<split>.png`` (rows
        are true classes), and ``scores_<split>.npz``, an archive without pickle whose arrays are
        the attributes of `VideoScores`: ``scores``, ``labels``, ``videos``, ``class_names``,
        ``crops``, ``missing``.
    split : str
        ``"val"`` or ``"test"``.
    scores : VideoScores
        Of every view.
    metrics : mapping
        As `VideoScores.metrics` gives them; null in the file where there is nothing to measure.
    """
    scores.check()
    names = (f"scores_{split}.npz", f"metrics_{split}.json", f"confusion_{split}.png")
    _write_scores(folder / names[0], scores)
    write_metrics(folder / names[1], metrics)
    matrix = confusion_matrix(*scores.labelled()).numpy()
    write_file(folder / names[2], _confusion_figure(matrix, scores.class_names))
    print(f"{', '.join(names)} in {folder}")


def _write_scores(path: Path, scores: VideoScores) -> None:
    arrays: dict[str, Any] = {
        name: np.asarray(getattr(scores, name), dtype=np.str_ if name in _TEXTS else None)
        for name in ("scores", "labels", "crops", *_TEXTS)
    }
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def _confusion_figure(matrix: NDArray[np.int64], class_names: Sequence[str]) -> bytes:
    """Draw counts (classes, classes), rows being true classes and columns guesses, as PNG.

    Each row shows its shares, rows without samples are grey. Colours follow the square root of
    the share, so that rare confusions are seen. Up to 40 classes are named, others numbered.
    """
    classes = len(class_names)
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
        shown = [printable(name) for name in class_names]
        axes.set_xticks(range(classes), shown, rotation=90, parse_math=False)
        axes.set_yticks(range(classes), shown, parse_math=False)
    return render(figure, dpi=_DPI)
