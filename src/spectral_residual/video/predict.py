"""Classify video files with nothing but a checkpoint; the best guesses as text and pictures."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from matplotlib.figure import Figure
from torch.utils.data import DataLoader

from ..errors import counted, printable
from ..report.figures import COLOURS, contact_sheet, render
from ..report.files import prepare_folder, write_file
from ..training.checkpoint import is_number
from .dataset import ClipDataset, OnBroken
from .network import load_video_network, view_probabilities
from .reader import Frames, VideoError, VideoReader
from .results import VideoScores, folder_labels, report_missing
from .sampling import Clip, Views, view_indices
from .sources import VideoItem, is_file

log = logging.getLogger(__name__)

RESULTS = "predictions.json"
"""Name of the file that `write_predictions` writes into a folder."""

_GUESSES = 5
_UNKNOWN, _WRONG, _TRUE = COLOURS[:3]
_DPI = 100
_FRAME_HEIGHT = 150
_LARGEST_FRAME_WIDTH = 600
_FRAMES_PER_ROW = 8
_SHEET_WIDTH = 6.5
_LONGEST_STEM = 100
_LARGEST_STRIDE = 10**6
_LONGEST_SHORT_SIDE = 8192
_MOST_CLIPS = 10**4
_MOST_BYTES = 2**32


def predict_files(
    checkpoint: str | Path, files: Sequence[str | Path], output: str | Path
) -> VideoScores:
    """Print and write the best guesses for video files; see `write_predictions`.

    Classes, clips, crops and views are those of the training run. Runs on the GPU if there is one.

    Parameters
    ----------
    checkpoint : path
        Written by ``srl video fit``, or folder or name; see `locate`.
    files : sequence of path
        Videos. Unreadable ones are named in the log and left out. The class of a video whose
        folder is named as a class is taken to be known.
    output : path
        Folder for ``predictions.json`` and the pictures; made if it is not there.

    Returns
    -------
    VideoScores
        Of every view.

    Raises
    ------
    FileNotFoundError
        If the checkpoint or a video does not exist.
    ValueError
        If it is not a checkpoint of a video model, or no video can be read.
    """
    paths = [Path(file) for file in files]
    absent = [printable(path) for path in paths if not is_file(path)]
    if absent:
        raise FileNotFoundError(f"no video file {', '.join(absent)}")
    network, stored = load_video_network(checkpoint)
    dataset = stored_views(checkpoint, paths, stored)
    prepare_folder(output, [RESULTS])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network.to(device)
    videos, found, missing = [], [], []
    for path, batch in zip(paths, DataLoader(dataset), strict=True):
        if batch["broken"] >= 0:
            missing.append(path)
            continue
        views = batch["video"].to(device)
        found.append(view_probabilities(network, views, dataset.input_size).cpu().numpy())
        videos.append(str(path))
    report_missing(missing)
    if not found:
        raise ValueError("none of the videos could be read")
    result = VideoScores(
        scores=np.concatenate(found),
        labels=folder_labels(videos, np.full(len(videos), -1), stored["classes"]),
        videos=videos,
        class_names=list(stored["classes"]),
        crops=dataset.views.crops,
        missing=[str(path) for path in missing],
    )
    print_guesses(result)
    write_predictions(Path(output), result, dataset.clip)
    return result


def print_guesses(scores: VideoScores) -> None:
    """Print the best guesses of every video, with the true class where it is known."""
    for video, label, guesses in _best_guesses(scores):
        print(printable(video if label is None else f"{video} ({label})"))
        for name, score in guesses:
            print(f"  {100 * score:6.2f} %  {printable(name)}")


def write_predictions(folder: Path, scores: VideoScores, clip: Clip) -> None:
    """Write the best guesses of every video as JSON and as pictures, and say where.

    Parameters
    ----------
    folder : Path
        Made if it is not there; gets ``predictions.json`` and ``<number>_<name of the video>.png``
        with the frames of the clip in the middle of each video, if they can be read.
    scores : VideoScores
        Of every view; only videos that could be read.
    clip : Clip
        Frames and stride of a clip.
    """
    entries = []
    for number, (video, label, guesses) in enumerate(_best_guesses(scores)):
        picture = _write_picture(folder, number, Path(video), clip, guesses, label)
        named = [{"class": name, "score": score} for name, score in guesses]
        entries.append({"video": video, "label": label, "guesses": named, "picture": picture})
    content = json.dumps({"missing": scores.missing, "videos": entries}, indent=1)
    name = write_file(folder / RESULTS, content + "\n").name
    count = sum(entry["picture"] is not None for entry in entries)
    print(f"{name} and {counted(count, 'picture')} in {printable(folder)}")


def _write_picture(
    folder: Path,
    number: int,
    video: Path,
    clip: Clip,
    guesses: Sequence[tuple[str, float]],
    label: str | None,
) -> str | None:
    """Write the picture of a video and return its name; None if these frames cannot be read."""
    try:
        frames = _centre_frames(video, clip)
    except VideoError as error:
        log.warning("no picture of this video: %s", printable(error))
        return None
    drawn = _prediction_figure(frames, guesses, video.name, label)
    stem = printable(video.stem).replace("\\", "_")
    stem = stem.encode()[:_LONGEST_STEM].decode(errors="ignore")
    return write_file(folder / f"{number:04d}_{stem}.png", drawn).name


def stored_views(
    source: str | Path,
    paths: Sequence[Path],
    stored: Mapping[str, Any],
    on_broken: OnBroken = "report",
) -> ClipDataset:
    """Views of videos as the training run of a network evaluates them.

    Parameters
    ----------
    source : str or path
        Where the description comes from, for the message.
    paths : sequence of Path
        Videos.
    stored : mapping
        Description of a network; see `load_video_network`.
    on_broken : {"raise", "report"}
        See `ClipDataset`.

    Raises
    ------
    ValueError
        If the description does not say how clips are sampled, or nothing that can be done.
    """
    height, width = stored["input_size"]
    try:
        sampling = stored["sampling"]
        views = Views(**sampling["views"])
        clip = Clip(stored["frames"], sampling["stride"])
        sizes = {
            "stride": (clip.stride, _LARGEST_STRIDE),
            "short_side": (sampling["short_side"], _LONGEST_SHORT_SIDE),
            "views.clips": (views.clips, _MOST_CLIPS),
        }
        for name, (value, most) in sizes.items():
            if not is_number(value, most):
                raise ValueError(f"{name}: got {str(value)[:40]}, expected a number up to {most}")
        size = views.clips * views.crops * clip.frames * height * width * 3
        if size > _MOST_BYTES:
            raise ValueError(f"the views of one video take {size} bytes, more than {_MOST_BYTES}")
        return ClipDataset(
            [VideoItem(path, None) for path in paths],
            clip,
            (height, width),
            short_side=sampling["short_side"],
            views=views,
            on_broken=on_broken,
        )
    except (KeyError, TypeError, ValueError) as error:
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise ValueError(
            f"{printable(source)}: its sampling cannot be used: {kind}{printable(error)}"
        ) from error


def _best_guesses(
    scores: VideoScores,
) -> Iterator[tuple[str, str | None, list[tuple[str, float]]]]:
    """File, true class and the classes of the highest scores, the best first, of every video."""
    names = scores.class_names
    for video, row, truth in zip(scores.videos, scores.averaged(), scores.labels, strict=True):
        order = np.argsort(-row, kind="stable")[:_GUESSES]
        label = names[truth] if truth >= 0 else None
        yield video, label, [(names[i], float(row[i])) for i in order]


def _centre_frames(path: Path, clip: Clip) -> Frames:
    """Frames of the clip in the middle of a video, whole, (T, H, W, 3) uint8 RGB."""
    with VideoReader(path) as reader:
        views = Views(clips=1, placing="centre")
        indices = view_indices(clip, views, reader.num_frames, np.random.default_rng(0))
        return reader.read(indices[0])


def _prediction_figure(
    frames: Frames, guesses: Sequence[tuple[str, float]], title: str, label: str | None
) -> bytes:
    """Draw a clip (T, H, W, 3) above the guesses, as in the paper's figure 5, as PNG.

    The true class is green and wrong guesses are orange; without one all are blue.
    """
    height, width = frames.shape[1:3]
    size = (max(1, round(width * _FRAME_HEIGHT / height)), _FRAME_HEIGHT)
    if size[0] > _LARGEST_FRAME_WIDTH:
        size = (_LARGEST_FRAME_WIDTH, max(1, round(height * _LARGEST_FRAME_WIDTH / width)))
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
    figure.suptitle(printable(title), x=0.01, ha="left", fontsize=12, parse_math=False)
    if label is not None:
        figure.text(
            0.99, 0.98, printable(label), va="top", ha="right", fontsize=12, weight="bold",
            color=_TRUE, parse_math=False,
        )  # fmt: skip
    bars.set_axis_off()
    bars.set_xlim(0, 1)
    bars.set_ylim(len(guesses) - 0.5, -0.5)
    for row, (name, score) in enumerate(guesses):
        colour = _UNKNOWN if label is None else _TRUE if name == label else _WRONG
        bars.barh(row, 0.3 * score, height=0.6, color=colour)
        for x, text, side in (
            (0.41, f"{100 * score:.1f} %", "right"),
            (0.43, printable(name), "left"),
        ):
            bars.text(
                x, row, text, ha=side, va="center", fontsize=11, color=colour, parse_math=False
            )
    return render(figure, dpi=_DPI)
