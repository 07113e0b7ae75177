"""Tables, files and pictures that evaluation and prediction of videos leave behind."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from .classification import class_accuracy, confusion_matrix
from .figures import confusion_figure, prediction_figure
from .reader import VideoError, VideoReader
from .results import VideoScores, write_scores
from .sampling import Clip, Views, view_indices

log = logging.getLogger(__name__)

TOP = 5
"""Guesses that are shown for a video."""

_WORST_CLASSES = 5

_TITLES = {
    "top1": "top-1",
    "top5": "top-5",
    "mean_class": "mean of classes",
    "direction": "direction",
}


def report_missing(paths: Iterable[Path]) -> None:
    """Log each unreadable video, with the reason."""
    for path in paths:
        try:
            with VideoReader(path) as reader:
                reader.read([0])
            log.warning("left out: video %s could not be read before", path)
        except (VideoError, IndexError) as error:
            log.warning("left out: %s", error)


def format_metrics(metrics: Mapping[str, float], num_classes: int) -> str:
    """Lay out metrics as a table of two lines, in percent, with the number of videos."""
    names = [name for name in _TITLES if name in metrics]
    titles = [f"{_TITLES[name]} (%)" for name in names] + ["videos", "missing"]
    cells = [f"{100 * metrics[name]:.2f}" for name in names]
    cells += [f"{metrics[name]:.0f}" for name in ("videos", "missing")]
    widths = [max(len(title), len(cell)) for title, cell in zip(titles, cells, strict=True)]
    lines = [
        "  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True))
        for line in (titles, cells)
    ]
    if num_classes <= TOP:
        lines.append(f"top-5 says nothing with {num_classes} classes")
    return "\n".join(lines)


def format_worst_classes(scores: VideoScores) -> str:
    """List the classes of lowest accuracy, and what they are most often taken for."""
    known = scores.labelled()
    averaged, labels = torch.from_numpy(known.averaged()), torch.from_numpy(known.labels)
    accuracy = class_accuracy(averaged, labels)
    matrix = confusion_matrix(averaged, labels)
    order = accuracy.argsort(stable=True)
    worst = [int(c) for c in order if accuracy[c] < 1][:_WORST_CLASSES]
    names = scores.class_names
    lines = []
    for number in worst:
        others = matrix[number].clone()
        others[number] = 0
        taken = f", most often taken for {names[int(others.argmax())]}" if others.any() else ""
        lines.append(f"  {100 * accuracy[number]:6.2f} %  {names[number]}{taken}")
    return "\n".join(["worst classes:", *lines]) if lines else "all classes are right"


def print_evaluation(scores: VideoScores, metrics: Mapping[str, float]) -> None:
    """Print the table of metrics and the worst classes."""
    print(format_metrics(metrics, len(scores.class_names)))
    if metrics["videos"]:
        print(format_worst_classes(scores))


def write_evaluation(
    folder: Path, split: str, scores: VideoScores, metrics: Mapping[str, float]
) -> None:
    """Write scores, metrics and confusion matrix of a split, and say where.

    Parameters
    ----------
    folder : Path
        Made if it is not there; gets ``scores_<split>.npz``, ``metrics_<split>.json`` and
        ``confusion_<split>.png``.
    split : str
        ``"val"`` or ``"test"``.
    scores : VideoScores
        Of every view.
    metrics : mapping
        As `VideoScores.metrics` gives them; null in the file where there is nothing to measure.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known = scores.labelled()
    matrix = confusion_matrix(torch.from_numpy(known.averaged()), torch.from_numpy(known.labels))
    names = (f"scores_{split}.npz", f"metrics_{split}.json", f"confusion_{split}.png")
    write_scores(folder / names[0], scores)
    known_metrics = {k: None if math.isnan(v) else v for k, v in metrics.items()}
    (folder / names[1]).write_text(json.dumps(known_metrics, indent=1) + "\n")
    (folder / names[2]).write_bytes(confusion_figure(matrix.numpy(), scores.class_names))
    print(f"{', '.join(names)} in {folder}")


def best_guesses(
    scores: NDArray[np.floating], class_names: Sequence[str], count: int = TOP
) -> list[tuple[str, float]]:
    """Classes of the highest scores (classes,), the best first, with their scores."""
    order = np.argsort(-scores, kind="stable")[:count]
    return [(class_names[i], float(scores[i])) for i in order]


def print_guesses(scores: VideoScores) -> None:
    """Print the best guesses of every video, with the true class where it is known."""
    for video, row, truth in zip(scores.videos, scores.averaged(), scores.labels, strict=True):
        print(video if truth < 0 else f"{video} ({scores.class_names[truth]})")
        for name, score in best_guesses(row, scores.class_names):
            print(f"  {100 * score:6.2f} %  {name}")


def write_predictions(folder: Path, scores: VideoScores, clip: Clip) -> None:
    """Write the best guesses of every video as JSON and as pictures, and say where.

    Parameters
    ----------
    folder : Path
        Made if it is not there; gets ``predictions.json`` and ``<number>_<name of the video>.png``
        with the frames of the clip in the middle of each video.
    scores : VideoScores
        Of every view; only videos that could be read.
    clip : Clip
        Frames and stride of a clip.
    """
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for number, (video, row, truth) in enumerate(
        zip(scores.videos, scores.averaged(), scores.labels, strict=True)
    ):
        guesses = best_guesses(row, scores.class_names)
        label = scores.class_names[truth] if truth >= 0 else None
        picture = folder / f"{number:04d}_{Path(video).stem}.png"
        frames = centre_frames(Path(video), clip)
        picture.write_bytes(
            prediction_figure(list(frames), guesses, title=Path(video).name, label=label)
        )
        entries.append(
            {
                "video": video,
                "label": label,
                "guesses": [{"class": name, "score": score} for name, score in guesses],
                "picture": picture.name,
            }
        )
    path = folder / "predictions.json"
    path.write_text(json.dumps({"missing": scores.missing, "videos": entries}, indent=1) + "\n")
    print(f"{path.name} and {len(entries)} pictures in {folder}")


def centre_frames(path: Path, clip: Clip) -> NDArray[np.uint8]:
    """Frames of the clip in the middle of a video, whole, (T, H, W, 3) uint8 RGB."""
    with VideoReader(path) as reader:
        views = Views(clips=1, placing="centre")
        indices = view_indices(clip, views, reader.num_frames, np.random.default_rng(0))
        return reader.read(indices[0])
