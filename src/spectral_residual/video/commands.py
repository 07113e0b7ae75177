"""``srl video fit | validate | test | predict | score | speed``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

from ..commands import run_function
from ..training.cli import TaskCLI, prepare
from .data_module import VideoDataModule
from .predict import predict_files
from .results import print_evaluation, read_scores
from .task import VideoTask

_OPTIONS_WITHOUT_VALUE = ("-h", "--help", "--print_config")


class VideoCLI(TaskCLI):
    """Lightning's command line for video classifiers: clips and classes come from the data."""

    task = VideoTask
    data = VideoDataModule
    monitor = "val/top1"
    links: ClassVar = {"clip.frames": "clip_frames", "input_size": "input_size"}
    made: ClassVar = {"class_names": "class_names"}

    @classmethod
    def build(cls, arguments: list[str], run: bool = True) -> TaskCLI:
        """As for all tasks; ``--ckpt`` stands for ``--ckpt_path``."""
        return super().build([_full_name(argument) for argument in arguments], run)


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
    options = [option.replace("--ckpt_path", "--ckpt", 1) for option in options]
    return run_function(_predict, [*options, "--", *files], "srl video predict")


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
        Checkpoint of a video model.
    output : str
        Folder to write to.
    """
    prepare()
    predict_files(ckpt, files, output)


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


def split_files(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Part options, each with its value, from the file names between and after them."""
    options: list[str] = []
    files: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            files += rest
        elif argument.startswith("-"):
            options.append(argument)
            if "=" not in argument and argument not in _OPTIONS_WITHOUT_VALUE:
                options += [value for value in [next(rest, None)] if value is not None]
        else:
            files.append(argument)
    return options, files


def _full_name(argument: str) -> str:
    name, equals, value = argument.partition("=")
    return "--ckpt_path" + equals + value if name == "--ckpt" else argument
