"""Classify video files with nothing but a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader

from .dataset import ClipDataset
from .network import load_video_network, view_probabilities
from .output import print_guesses, report_missing, write_predictions
from .results import VideoScores, folder_labels
from .sampling import Clip, Views
from .sources import VideoItem


def predict_files(
    checkpoint: str | Path, files: Sequence[str | Path], output: str | Path
) -> VideoScores:
    """Print and write the best guesses for video files; see `write_predictions`.

    Classes, clips, crops and views are those of the training run. Runs on the GPU if there is one.

    Parameters
    ----------
    checkpoint : path
        Written by ``srl video fit``.
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
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"no video file {path}")
    network, stored = load_video_network(checkpoint)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network.to(device)
    height, width = stored["input_size"]
    sampling = stored["sampling"]
    clip, views = Clip(stored["frames"], sampling["stride"]), Views(**sampling["views"])
    dataset = ClipDataset(
        [VideoItem(path, None) for path in paths],
        clip,
        (height, width),
        short_side=sampling["short_side"],
        views=views,
        on_broken="report",
    )
    found, missing = [], []
    for path, batch in zip(paths, DataLoader(dataset), strict=True):
        if batch["broken"] >= 0:
            missing.append(path)
            continue
        scores = view_probabilities(network, batch["video"].to(device), (height, width))
        found.append((str(path), scores[0].cpu().numpy()))
    report_missing(missing)
    if not found:
        raise ValueError(f"none of the {len(paths)} videos could be read")
    videos = [video for video, _ in found]
    result = VideoScores(
        scores=np.stack([scores for _, scores in found]),
        labels=folder_labels(videos, np.full(len(videos), -1), stored["classes"]),
        videos=videos,
        class_names=list(stored["classes"]),
        crops=views.crops,
        missing=[str(path) for path in missing],
    )
    print_guesses(result)
    write_predictions(Path(output), result, clip)
    return result
