"""``srl video fit | validate | test | predict | score | speed``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

from ..commands import run_function
from ..training.callbacks import named_checkpoint
from ..training.cli import TaskCLI, prepare, short_names, split_files
from .data_module import VideoDataModule
from .predict import predict_files
from .results import print_evaluation, read_scores
from .task import VideoTask


class VideoCLI(TaskCLI):
    """Lightning's command line for video classifiers: clips and classes come from the data."""

    task = VideoTask
    data = VideoDataModule
    monitor = "val/top1"
    links: ClassVar = {"clip.frames": "clip_frames", "input_size": "input_size"}
    made: ClassVar = {"class_names": "class_names"}


video_cli = VideoCLI.build
fit = VideoCLI.command("fit")
validate = VideoCLI.command("validate")
test = VideoCLI.command("test")
speed = VideoCLI.speed


def predict(arguments: list[str]) -> int:
    """Command ``srl video predict``.

    With ``--config`` the command line is Lightning's, and video files may follow the options;
    without it a checkpoint and video files are all that is needed.
    """
    options, files = split_files(arguments)
    if any(option.partition("=")[0] in ("-c", "--config") for option in options):
        more = ["--data.predict", json.dumps(files)] if files else []
        video_cli(["predict", *options, *more])
        return 0
    options = short_names(options)
    return run_function(
        _predict, [*options, *(["--"] if files else []), *files], "srl video predict"
    )


def _predict(files: list[str], *, ckpt: str, output: str = "runs/video/predictions") -> None:
    """Print the five best classes of each video.

    They are also written as JSON and as pictures of the sampled frames. Everything needed is in
    the checkpoint. With --config the options are those of 'srl video fit'; without files it then
    predicts on the test split.

    Parameters
    ----------
    files : list of str
        Video files.
    ckpt : str
        Checkpoint of 'srl video fit' (last or best: the newest below runs/video), folder of
        'srl publish', name of a network of this package, or owner/name[@revision] on the hub.
    output : str
        Folder to write to.
    """
    prepare()
    predict_files(named_checkpoint(ckpt, Path("runs/video")), files, output)


def score(
    file: Path,
    *,
    clips: int | None = None,
    pair: list[tuple[str, str]] = [],  # noqa: B006
) -> None:
    """Print the table of a scores file of 'srl video validate' or 'srl video test' again.

    No video is decoded.

    Parameters
    ----------
    file : Path
        scores_val.npz or scores_test.npz.
    clips : int
        Average the first clips only (default: all).
    pair : list of (str, str)
        Two classes that differ in the direction of time; may be repeated.
    """
    scores = read_scores(file)
    if clips is not None:
        scores = scores.first_clips(clips)
    print_evaluation(scores, scores.metrics([(first, second) for first, second in pair]))
