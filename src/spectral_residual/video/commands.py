"""``srl video fit | validate | test | predict | score``."""

from __future__ import annotations

import argparse
import json

from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from ..training.cli import build_cli, prepare
from .data_module import VideoDataModule
from .predict import predict_files
from .results import print_evaluation, read_scores
from .task import VideoTask

_OPTIONS_WITHOUT_VALUE = ("-h", "--help", "--print_config")


class VideoCLI(LightningCLI):
    """LightningCLI for `VideoTask` and `VideoDataModule`.

    Frames, input size and classes of the model come from the data.
    """

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Link what the model takes from the data."""
        parser.link_arguments("data.clip.frames", "model.clip_frames")
        parser.link_arguments("data.input_size", "model.input_size")
        parser.link_arguments("data.class_names", "model.class_names", apply_on="instantiate")


def video_cli(arguments: list[str], run: bool = True) -> VideoCLI:
    """Parse arguments, build trainer, model and data, and run the subcommand if asked to.

    Parameters
    ----------
    arguments : list of str
        Subcommand (if `run`) and its options; ``--ckpt`` stands for ``--ckpt_path``.
    run : bool
        False only builds ``cli.trainer``, ``cli.model`` and ``cli.datamodule``.
    """
    return build_cli(
        VideoCLI,
        VideoTask,
        VideoDataModule,
        [_full_name(argument) for argument in arguments],
        name="video",
        monitor="val/top1",
        run=run,
    )


def fit(arguments: list[str]) -> int:
    """Command ``srl video fit``."""
    video_cli(["fit", *arguments])
    return 0


def validate(arguments: list[str]) -> int:
    """Command ``srl video validate``."""
    video_cli(["validate", *arguments])
    return 0


def test(arguments: list[str]) -> int:
    """Command ``srl video test``."""
    video_cli(["test", *arguments])
    return 0


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
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        prog="srl video predict",
        description="Print the five best classes of each video, and write them as JSON and as "
        "pictures of the sampled frames. Everything needed is in the checkpoint. With --config "
        "the options are those of 'srl video fit'; without files it then predicts on the test "
        "split.",
    )
    parser.add_argument("--ckpt", "--ckpt_path", required=True, help="checkpoint of a video model")
    parser.add_argument(
        "--output", default="runs/video/predictions",
        help="folder to write to (default: runs/video/predictions)",
    )  # fmt: skip
    parser.add_argument("files", nargs="+", metavar="VIDEO", help="video files")
    own = parser.parse_args([*options, "--", *files])
    prepare()
    predict_files(own.ckpt, own.files, own.output)
    return 0


def score(arguments: list[str]) -> int:
    """Command ``srl video score``: the table again, from a scores file."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        prog="srl video score",
        description="Print the table of a scores file of 'srl video validate' or 'srl video "
        "test' again, without decoding a video.",
    )
    parser.add_argument("file", help="scores_val.npz or scores_test.npz")
    parser.add_argument("--clips", type=int, help="average the first clips only (default: all)")
    parser.add_argument(
        "--pair", nargs=2, action="append", default=[], metavar="CLASS",
        help="two classes that differ in the direction of time; may be repeated",
    )  # fmt: skip
    own = parser.parse_args(arguments)
    scores = read_scores(own.file)
    if own.clips is not None:
        scores = scores.first_clips(own.clips)
    print_evaluation(scores, scores.metrics([(first, second) for first, second in own.pair]))
    return 0


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
