"""The command line: ``srl``."""

from __future__ import annotations

import importlib
import inspect
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import __version__
from .errors import printable, unknown_name

USAGE = """srl: spectral residual learning for vision networks

usage: srl COMMAND ...

  srl pose fit | validate | test | predict [--config FILE ...] [--KEY VALUE ...]
        train, evaluate and use a pose model on COCO-format keypoint data; --data.root FOLDER alone
        finds its files
  srl pose speed --config FILE [--json]
        images per second of loader, training step and training
  srl video fit | validate | test | predict [--config FILE ...] [--KEY VALUE ...]
        train, evaluate and use a video classifier on Kinetics-style data; --data.root FOLDER alone
        fits to the class folders in it
  srl video predict --ckpt FILE VIDEO ...
        the five best classes of any video file, with pictures
  srl video score FILE
        the table of a scores file again, without decoding
  srl video speed --config FILE [--json]
        clips per second of loader, training step and training
  srl pose predict --ckpt CHECKPOINT IMAGE ...
        the joints of people in any image files, with pictures
  srl pose convert FILE --output FOLDER
        a published SimpleBaseline or HRNet pose network for use with this package
  srl publish --ckpt FILE --output FOLDER
        a trained network as config.json, model.safetensors and a model card, for a hub
  srl export --ckpt FILE --output FOLDER
        a trained network as an ONNX file, compared in ONNX Runtime, for use without torch
  srl data people FOLDER
        generate a COCO-format data set of articulated people
  srl data videos FOLDER
        generate a data set of people's actions as mp4 files in class folders
  srl data split FILE
        part a COCO keypoint file into training and validation
  srl data where [NAME]
        where known data sets come from, and which files are expected
  srl demo pose | video [--output FOLDER]
        generate data, train with and without SRL blocks, compare
  srl demo page [--pose FILE] [--pose-base FILE] [--video FILE] [--port PORT]
        skeletons, receptive fields and classes of your pictures and clips, and the cost of every
        block in your network, as a page in the browser
  srl experiment list | run NAME | viz NAME | report [NAME]
        run a table of the paper, or what can be run here; tabulate the results
  srl viz --ckpt NAME=FILE ... --config FILE
        receptive fields, learnt filters, skeletons and heatmaps of trained pose networks
  srl cost block | model NAME ...
        parameters and operations, per layer and in total
  srl tables [--json]
        the cost columns of the paper's tables 2, 3 and 8, recomputed beside the printed ones
  srl bench [networks] [--device DEVICE] | show FILE
        time and memory of all blocks, or of whole networks, side by side

Each command has a --help; srl --version. Set SRL_TRACEBACK=1 to see where an error was raised.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Arguments without the program's name; by default those of the process.

    Returns
    -------
    int
        0 if all went well, 2 for an error that the user can mend, 141 if whoever read the output
        has gone (as of ``srl ... | head``), which ends the command without a word.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    _show_messages()
    try:
        status = _command(arguments)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # What is left in the buffer would be tried again when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ValueError, OSError, ImportError) as error:
        if os.environ.get("SRL_TRACEBACK"):
            raise
        print(f"srl: error: {_lines(_explained(error, arguments))}", file=sys.stderr)
        return 2


def _explained(error: Exception, arguments: Sequence[str]) -> str:
    """What went wrong; of a package that is not installed, how to get it."""
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if not missing or missing.partition(".")[0] == __package__ or "pip install" in str(error):
        return str(error)
    of_videos = missing == "av" or "video" in arguments[:2] or "videos" in arguments[:2]
    extra = "video" if of_videos else "pose"
    return f'{error}: pip install "{__package__}[{extra}]"'


def _lines(text: str) -> str:
    """Text whose lines hold no control characters."""
    return "\n".join(map(printable, text.split("\n")))


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return _lines(super().format(record))


def _show_messages() -> None:
    """Print this package's log messages; Lightning has a handler of its own."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter("%(levelname)s %(message)s"))
    logger = logging.getLogger("spectral_residual")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False


# Of a command that has subcommands, "" is what it does without one.
_COMMANDS: dict[str, str | dict[str, str]] = {
    "pose": {
        "fit": "pose.commands:fit",
        "validate": "pose.commands:validate",
        "test": "pose.commands:test",
        "predict": "pose.commands:predict",
        "convert": "pose.commands:convert",
        "speed": "pose.commands:speed",
    },
    "video": {
        "fit": "video.commands:fit",
        "validate": "video.commands:validate",
        "test": "video.commands:test",
        "predict": "video.commands:predict",
        "score": "video.commands:score",
        "speed": "video.commands:speed",
    },
    "publish": "cli:publish",
    "export": "cli:export",
    "data": {
        "people": "lab.generated.write_people:people",
        "videos": "lab.generated.write_videos:videos",
        "split": "pose.split:split",
        "where": "configs.where:where",
    },
    "demo": {
        "pose": "lab.demo.pose:pose",
        "video": "lab.demo.video:video",
        "page": "lab.page.command:page",
    },
    "experiment": {
        "list": "lab.experiments.runner:list_",
        "run": "lab.experiments.runner:run",
        "viz": "lab.experiments.views:viz",
        "report": "lab.experiments.report:report",
    },
    "viz": "lab.viz.command:viz",
    "cost": {"block": "lab.cost.command:block", "model": "lab.cost.command:model"},
    "tables": "lab.cost.tables:tables",
    "bench": {
        "": "lab.bench.commands:blocks",
        "networks": "lab.bench.commands:networks",
        "show": "lab.bench.commands:show",
    },
}


def _command(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE)
        return 0
    if arguments[0] == "--version":
        print(f"srl {__version__}")
        return 0
    commands, spoken = _COMMANDS, "srl"
    while arguments:
        name, arguments = arguments[0], arguments[1:]
        if name not in commands:
            raise unknown_name(f"command after '{spoken}'", name, commands)
        found = commands[name]
        if isinstance(found, str):
            return _run(found, arguments, f"{spoken} {name}")
        commands, spoken = dict(found), f"{spoken} {name}"
        if "" in found and not (arguments and arguments[0] in found):
            return _run(found[""], arguments, spoken)
        if arguments[:1] in (["-h"], ["--help"]):
            break
    print(USAGE)
    return 0


def _run(path: str, arguments: list[str], prog: str) -> int:
    function = _function(path)
    if list(inspect.signature(function).parameters) == ["arguments"]:
        return function(arguments)
    from .commands import run_function

    return run_function(function, arguments, prog)


def _function(path: str) -> Callable[..., int]:
    """Import ``module:function``, relative to this package."""
    module, _, name = path.partition(":")
    function: Callable[..., int] = getattr(importlib.import_module(f"{__package__}.{module}"), name)
    return function


def publish(
    *,
    ckpt: str,
    output: Path,
    licence: str | None = None,
    data: str | None = None,
    protocol: str | None = None,
    metrics: list[Path] = [],  # noqa: B006
    half: bool = False,
    name: str | None = None,
) -> None:
    """Write a trained pose or video network as a folder that can be published.

    The folder gets config.json (what the checkpoint says of its network), model.safetensors and
    README.md, a model card. 'srl pose predict', 'srl video predict' and 'srl export' take it as
    --ckpt, from_pretrained by its path; 'hf upload OWNER/NAME FOLDER' brings it to the hub. What
    the card says of training and evaluation comes from the checkpoint, from config.yaml of its
    run and of the evaluations, and from these options.

    Parameters
    ----------
    ckpt : str
        Checkpoint of 'srl pose fit' or 'srl video fit' (last or best: the newest below runs); or
        a folder or name.
    output : Path
        Folder to write to.
    licence : str
        Licence of the weights, e.g. apache-2.0 or cc-by-4.0 (default: not stated).
    data : str
        What it was trained on, in words (default: names of folder and annotations).
    protocol : str
        How it was evaluated, in words (default: options of the evaluations).
    metrics : list of Path
        metrics_val.json, metrics_test.json of evaluations.
    half : bool
        Half precision for weights with two or more axes: half the size.
    name : str
        What the card calls it, OWNER/NAME on the hub (default: name of the folder).
    """
    from .training.callbacks import named_checkpoint
    from .training.pretrained import About
    from .training.publish import gather_about

    ckpt = named_checkpoint(ckpt, Path("runs"))
    model = _model_class(_task_of(ckpt)).from_pretrained(ckpt)
    said = About(data, protocol, licence)
    model.about = gather_about(ckpt, metrics, model.about.updated(said))
    folder = model.save_pretrained(output, half=half, name=name)
    for path in sorted(folder.iterdir()):
        print(f"{path}: {path.stat().st_size} bytes")


def _task_of(ckpt: str | Path) -> str:
    """Task of a checkpoint, folder or name."""
    from .training.checkpoint import checkpoint_key, read_file

    content = read_file(ckpt)
    for task in ("pose", "video"):
        if checkpoint_key(task) in content:
            return task
    raise ValueError(f"{ckpt}: not a checkpoint of 'srl pose fit' or 'srl video fit'")


def _model_class(task: str) -> Any:
    module = importlib.import_module(f"{__package__}.{task}")
    return module.PoseModel if task == "pose" else module.VideoModel


def export(
    *,
    ckpt: str,
    output: Path,
    dynamic_size: bool = False,
    opset: int | None = None,
    tolerance: float | None = None,
    rounds: int = 10,
    json_: bool = False,
) -> None:
    """Write a trained pose or video network as an ONNX file that ONNX Runtime agrees with.

    The folder gets model.onnx, which takes any number of samples, and model.json, which says what
    to do before and after it; spectral_residual.runtime predicts with them. If ONNX Runtime's
    output differs from PyTorch's by more than the tolerance, nothing is written.

    Parameters
    ----------
    ckpt : str
        Checkpoint of 'srl pose fit' or 'srl video fit' (last or best: the newest below runs),
        folder of 'srl publish', packaged network, or owner/name[@revision] on the hub.
    output : Path
        Folder to write to.
    dynamic_size : bool
        Crops of any size, for pose networks whose block takes them, as 'srl' does.
    opset : int
        ONNX operator set (default: 18).
    tolerance : float
        Largest error, as a share of the output's range (default: 1e-4).
    rounds : int
        Rounds of timing ONNX Runtime and PyTorch.
    json_ : bool
        Print one JSON object.
    """
    from .export import OPSET, TOLERANCE, check_packages, report_lines

    check_packages()
    from .training.callbacks import named_checkpoint

    ckpt = named_checkpoint(ckpt, Path("runs"))
    task = _task_of(ckpt)
    if dynamic_size and task != "pose":
        raise ValueError(f"--dynamic-size is for pose networks, {ckpt} is of a video network")
    common: dict[str, Any] = {
        "opset": OPSET if opset is None else opset,
        "tolerance": TOLERANCE if tolerance is None else tolerance,
        "rounds": rounds,
    }
    if task == "pose":
        from .pose.export import export_pose

        report = export_pose(ckpt, output, dynamic_size=dynamic_size, **common)
    else:
        from .video.export import export_video

        report = export_video(ckpt, output, **common)
    if json_:
        print(json.dumps({"task": task, **asdict(report), "path": str(report.path)}))
    else:
        print("\n".join([*report_lines(report), f"{output / 'model.json'}: what it needs"]))
